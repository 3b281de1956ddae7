"""The command line: commands, their flags, and the text that they print."""
