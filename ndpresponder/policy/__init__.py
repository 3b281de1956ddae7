"""How a solicitation ends: the pure decision, from the octets of a frame to an advertisement or a named reason."""
