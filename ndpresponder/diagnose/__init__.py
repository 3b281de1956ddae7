"""What a person runs to find out: the commands that compare the configuration with this host."""
