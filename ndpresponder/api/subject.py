"""What the control socket sees of the daemon, which makes one of these and is otherwise unknown here."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from ndpresponder.config import Config
from ndpresponder.observe.logs import Logs
from ndpresponder.targets.board import TargetBoard
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink.uplink import Uplink

Change = Callable[[], Awaitable[str | None]]  # returns what is wrong, None when it is done


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration in force."""

    config: Config
    loaded_s: float  # Unix time when it was read
    problem: str | None = None  # why the last reload failed
    file: str = ""  # empty: flags and environment only


@dataclass(frozen=True, slots=True)
class Subject:
    """The daemon: what it is made of now, and what can be asked of it."""

    started_s: float  # Unix time
    loaded: Callable[[], Loaded]
    uplinks: Callable[[], Collection[Uplink]]
    board: Callable[[], TargetBoard]
    temporary: TemporaryPrefixes
    logs: Logs
    reload: Change
    upgrade: Change
