"""What waited in a packet socket while nobody read it, from one process to the next.

Who asks does so three times, a second apart, and then gives up: what has waited for longer is counted, not answered.
"""

import time
from typing import Final

from ndpresponder.linux.packet_socket import PacketSocket
from ndpresponder.linux.sender import BATCH
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Outcome
from ndpresponder.wire.solicitation import kind_of

BACKLOG_S: Final = 3.0


def begin(socket: PacketSocket, tally: Tally) -> bool:
    """Go to the first frame that is to be answered, past those that waited for too long; return False if none waits."""
    if not socket.seek():
        return False
    while count := socket.count_before(time.time() - BACKLOG_S):
        for frame, _ in socket.receive(min(count, BATCH)):
            tally.received[kind_of(frame)] += 1
            tally.ended[Outcome.TOO_OLD] += 1
        socket.release()
    return True
