"""Which frames are answered while more come than can be: some of each requester that was known before, and no others.

Pure. What a stranger costs is many times what it takes to pass over it, and a known one that floods costs what a
hundred routers do: passing over both, a ring is read faster than it is filled, so that whoever asks at a modest rate
loses nothing. Gateways are always known, if only by their address: as anybody can write that, all who do have one share
together. It must never judge a frame: what is held back is counted as `overloaded`.
"""

from collections.abc import Container, Iterable
from typing import Final

from ndpresponder.outcome import Kind
from ndpresponder.wire.layout import REQUESTER, SOURCE
from ndpresponder.wire.solicitation import kind_of

SHARE: Final = 8  # of each requester in one batch of 64

Frame = tuple[bytes, bool]


def fair_share(
    frames: Iterable[Frame], known: Container[bytes], gateways: Container[bytes]
) -> tuple[list[Frame], dict[Kind, int]]:
    """Return the frames to answer, and how many others there were of each kind.

    `known` are the octets `REQUESTER` of frames, `gateways` are addresses.
    """
    chosen: list[Frame] = []
    others = dict.fromkeys(Kind, 0)
    shares: dict[bytes, int] = {}
    for each in frames:
        frame = each[0]
        who = frame[REQUESTER]
        if who not in known:
            who = frame[SOURCE]
            if who not in gateways:  # most of a flood ends here
                others[kind_of(frame)] += 1
                continue
        had = shares.get(who, 0)
        if had < SHARE:
            shares[who] = had + 1
            chosen.append(each)
        else:
            others[kind_of(frame)] += 1
    return chosen, others
