"""What the parts of an uplink are given, for tests that need no kernel."""

import time
from collections.abc import Callable

from ndpresponder.config import InterfaceConfig
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.observe.uplink_part import UplinkContext


def uplink_context(
    send: Callable[[list[bytes]], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
) -> UplinkContext:
    """Return a record whose frames go to `send`."""
    return UplinkContext(Tally(), UplinkLog(InterfaceConfig("eth0"), clock), clock, send)
