"""Which addresses are ours, and who says so."""
