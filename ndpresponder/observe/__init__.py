"""What people and machines read about the daemon: its counters and its log."""
