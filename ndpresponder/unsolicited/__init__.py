"""What the daemon says unasked: announcements, group memberships, and where targets have moved."""
