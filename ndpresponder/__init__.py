"""An IPv6 neighbor discovery responder whose advertisements are sourced from the target itself."""

__version__ = "0.1.0"
