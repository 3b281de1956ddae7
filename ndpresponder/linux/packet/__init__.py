"""Packet sockets: frames in from a shared ring, answers out in batches, both handed over to a successor."""
