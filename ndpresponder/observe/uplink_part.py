"""A part of an uplink: the events that it is told of, and the record that it is given of the uplink."""

from collections.abc import Callable
from dataclasses import dataclass

from ndpresponder.linux.netlink import Link
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import TargetTable


@dataclass(frozen=True, slots=True)
class UplinkContext:
    """What the parts of one uplink share."""

    tally: Tally
    log: UplinkLog
    clock: Callable[[], float]  # monotonic, in seconds
    send: Callable[[list[bytes]], None]  # frames that nobody solicited; nothing is sent while there is no socket


class UplinkPart:
    """The protocol of a part: each event does nothing unless the part needs it."""

    def open(self, link: Link) -> None:
        """Begin: a packet socket was opened on `link`."""

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Adapt to the link as it is now, and to the state in which it is answered on, None while it is down."""

    def lose_link(self) -> None:
        """Give back what belongs to the link, which is gone; another may come."""
        self.close()

    def set_table(self, table: TargetTable) -> None:
        """Go by the targets of `table`."""

    def collect(self) -> None:
        """Add to the tally what was counted elsewhere, and try again what failed."""

    def say_farewell(self) -> None:
        """Say what ends with this part, while there is a socket to say it."""

    def close(self) -> None:
        """Give back everything."""
