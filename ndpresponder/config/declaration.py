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


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field's annotation cannot say about the setting it holds."""

    help: str
    parse: Callable[[object], object] | None = None  # one raw value; None: the annotation says it all
    flag: str = ""  # as --help shows it: "-l, --log-level LEVEL"; a value in brackets may be left out
    env: str = ""
    key: str = ""  # in TOML, when it is not the field's name
    example: str = '"eth0"'  # of a value that must be written

    @property
    def flags(self) -> tuple[str, ...]:
        """The spellings of the flag, the long one last."""
        return tuple(word for word in self.flag.replace(",", " ").split() if word.startswith("-"))

    @property
    def metavar(self) -> str:
        """What stands for the flag's value."""
        return self.flag.rpartition(" ")[2].strip("[]")

    @property
    def bare(self) -> bool:
        """Whether the flag may stand without a value."""
        return self.flag.endswith("]")


def setting(
    default: T,
    help: str,  # noqa: A002  the word of argparse
    parse: Callable[[object], object] | None = None,
    flag: str = "",
    env: str = "",
    *,
    key: str = "",
    example: str = '"eth0"',
) -> T:
    """Declare the setting of a field; its default is `REQUIRED` where the key must be written."""
    declared: T = field(default=default, metadata={"setting": Setting(help, parse, flag, env, key, example)})
    return declared


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a TOML table, as its field declares it."""

    name: str
    attribute: str
    setting: Setting
    default: Any  # MISSING: the key must be written
    kind: Any  # of the value, or of each element
    many: bool  # an array

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def table(self) -> type[Any] | None:
        """The dataclass behind a table or an array of tables."""
        return self.kind if isinstance(self.kind, type) and is_dataclass(self.kind) else None

    def parse(self, raw: object) -> object:
        """Return the setting's value, or that of an element.

        Raises:
            Wrong: it is none.
        """
        if self.setting.parse is not None:
            return self.setting.parse(raw)
        return values.choice(get_args(self.kind))(raw) if get_origin(self.kind) is Literal else values.boolean(raw)


def keys(table: type[Any]) -> dict[str, Key]:
    """Return the keys a TOML table may hold, by name."""
    found = {}
    for each in fields(table):
        kind, declared = each.type, each.metadata["setting"]
        many = get_origin(kind) is tuple
        element = get_args(kind)[0] if many or NoneType in get_args(kind) else kind  # a table may be absent
        name = declared.key or each.name
        found[name] = Key(name, each.name, declared, each.default, element, many)
    return found
