"""How a field of the settings tree declares its setting, and how such declarations are read.

Validation, `--help`, `ndpresponder check` and the test of the reference file read them.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from ndpresponder.config import values

T = TypeVar("T")
REQUIRED: Final[Any] = MISSING
_Check = Callable[[object], object]


def setting(default: T, meaning: str, check: _Check | None = None, flag: str = "", env: str = "", **more: str) -> T:
    """Declare the setting of a field; its default is `REQUIRED` where the key must be written.

    `more` may be the key's `name`, when it is not the field's, and an `example` of a value that must be written.
    """
    about = {"meaning": meaning, "check": check, "flag": flag, "env": env, **more}
    declared: T = field(default=default, metadata=about)
    return declared


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a TOML table, as its field declares it."""

    attribute: str
    default: Any  # MISSING: the key must be written
    kind: Any  # of the value, or of each element
    many: bool  # an array
    meaning: str
    check: _Check | None  # of one raw value; None: the kind says it all
    flag: str  # as --help shows it: "-l, --log-level LEVEL"; a value in brackets may be left out
    env: str
    name: str
    example: str = '"eth0"'

    @property
    def flags(self) -> tuple[str, ...]:
        """The spellings of the flag, the long one last."""
        return tuple(word for word in self.flag.replace(",", " ").split() if word.startswith("-"))

    @property
    def bare(self) -> bool:
        """Whether the flag may stand without a value."""
        return self.flag.endswith("]")

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def table(self) -> type[Any] | None:
        """The dataclass behind a table or an array of tables."""
        return self.kind if isinstance(self.kind, type) and is_dataclass(self.kind) else None

    def parse(self, raw: object) -> object:
        """Return the setting's value, or that of an element; raise `Wrong` if it is none."""
        if self.check is not None:
            return self.check(raw)
        return values.choice(get_args(self.kind))(raw) if get_origin(self.kind) is Literal else values.boolean(raw)


def keys(table: type[Any]) -> dict[str, Key]:
    """Return the keys a TOML table may hold, by name."""
    found = {}
    for each in fields(table):
        about: dict[str, Any] = {"name": each.name, **each.metadata}
        many = get_origin(each.type) is tuple
        element = get_args(each.type)[0] if many or NoneType in get_args(each.type) else each.type  # may be absent
        found[about["name"]] = Key(each.name, each.default, element, many, **about)
    return found
