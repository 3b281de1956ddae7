"""One interface: solicitations come in and advertisements go out while the link is there."""
