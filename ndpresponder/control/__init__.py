"""The control socket: what a person, or a program, can ask of the running daemon and tell it, as JSON over HTTP.

It must never hold up an answer: what it needs is imported when the first client comes, every client is bounded in
what it sends and how long it takes, and a fault in here ends a request, not the daemon.
"""
