"""What a person types: the words after `ndpresponder`, their flags, and what they print."""
