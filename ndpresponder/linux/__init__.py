"""The kernel and systemd: each module speaks one of their interfaces, and nothing else does."""
