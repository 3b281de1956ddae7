"""The commands that compare the configuration with this host: check and explain."""
