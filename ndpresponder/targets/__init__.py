"""Which addresses are ours: the sources that publish them, and which of them count on an uplink."""
