"""How a field of the settings tree declares its setting."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field's annotation cannot say about the setting it holds."""

    help: str
    parse: Callable[[object], object] | None = None  # one raw value; None: the annotation says it all
    key: str = ""  # in TOML, when it is not the field's name
    flags: tuple[str, ...] = ()
    env: str = ""
    metavar: str = ""
    example: str = '"eth0"'  # of a value that must be written
    bare: bool = False  # the flag may stand without a value
    group: str = "how it is answered"  # heading in --help; sources have their own
