"""What the daemon serves over HTTP: metrics and health on one socket, its commands on the other.

It must never hold up an answer: the daemon imports it when the first client may come, every client is bounded in
octets and time, and a fault in here ends a request, not the daemon.
"""
