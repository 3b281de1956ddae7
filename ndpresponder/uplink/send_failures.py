"""Frames that were sent unasked, which are counted, and those that the kernel refused, which are also said."""

import os
from collections.abc import Iterable, Sequence

from ndpresponder.linux.packet.sender import Sender
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.outcome import Outcome
from ndpresponder.wire.layout import ICMP_TYPE, NEIGHBOR_ADVERTISEMENT


def count_refused(
    refused: Iterable[tuple[int, int]], outcomes: Sequence[Outcome], tally: Tally, log: UplinkLog
) -> None:
    """Take back the `outcomes` of answers that did not leave: position and errno of each are in `refused`."""
    for position, error in refused:
        tally.ended[outcomes[position]] -= 1
        tally.ended[Outcome.SEND_FAILED] += 1
        say_refused(error, tally, log)


def say_refused(error: int, tally: Tally, log: UplinkLog) -> None:
    """Count and say that the kernel refused one frame with this errno."""
    tally.send_errors[error] = tally.send_errors.get(error, 0) + 1
    log.limited("the kernel refused to send", error=os.strerror(error))


def send_unasked(sender: Sender, frames: Iterable[bytes], tally: Tally, log: UplinkLog) -> None:
    """Send what nobody solicited, and count the advertisements among it."""
    for frame in frames:
        if error := sender.send_one(frame):
            say_refused(error, tally, log)
        elif frame[ICMP_TYPE] == NEIGHBOR_ADVERTISEMENT:
            tally.unsolicited += 1
