"""What the kernel answers or counts by itself, so that nobody wakes the daemon for it."""
