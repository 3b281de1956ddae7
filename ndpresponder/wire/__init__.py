"""Octets and their meaning: the frames of neighbor discovery and the filters that tell them apart. Pure."""
