"""Import a library without the parts of the standard library that it loads and the daemon never uses.

asyncio and prometheus_client bring OpenSSL along, and the latter an HTTP client and server: 9 MB in all. The daemon
speaks no TLS, and serves HTTP by itself.
"""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


class _StandIn(ModuleType):
    """A module in which each name is a class of its own: enough for annotations, base classes and `except`."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__[name] = stand_in = type(name, (Exception,), {})
        return stand_in


@contextlib.contextmanager
def without(*modules: str) -> Iterator[None]:
    """Have what is imported meanwhile get a stand-in for each of these `modules` that is not loaded yet."""
    absent = [name for name in modules if name not in sys.modules]
    sys.modules.update({name: _StandIn(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
