"""One interface: its frames come in, its answers go out, for as long as the link is there."""
