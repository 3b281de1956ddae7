"""A hundred thousand spoofed requesters take no more memory than ten thousand, and the router is still answered."""

import os
import struct
from pathlib import Path

from frames import advertisement, packed, solicitation
from sample_responder import make_responder

from ndpresponder.outcome import Outcome

TEN_THOUSAND = 10_000
SLACK = 2_000_000  # octets: what an allocator may keep for itself


def resident() -> int:
    """Return the octets of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_is_flat_under_a_hundred_thousand_requesters() -> None:
    responder = make_responder()
    frame = solicitation(source=packed("fe80::")[:8] + struct.pack("!4H", 0, 0xFFFF, 0, 0xFFFF))
    held = []
    for number in range(10 * TEN_THOUSAND):
        high, low = divmod(number, 1 << 16)
        # each word stands with its complement, so the checksum stays right
        words = struct.pack("!4H", high, 0xFFFF - high, low, 0xFFFF - low)
        outcome, _ = responder.respond(frame[:30] + words + frame[38:])
        assert outcome is Outcome.ANSWERED_MULTICAST
        if number % TEN_THOUSAND == TEN_THOUSAND - 1:
            held.append(resident())
            assert responder.respond(solicitation())[1] == advertisement()
    assert max(held) < held[0] + SLACK
