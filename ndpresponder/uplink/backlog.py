"""What waited in a packet socket while nobody read it, from one process to the next.

Who asks does so three times, a second apart, and then gives up: what has waited for longer is counted, not answered.
"""

from typing import Final

from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.linux.packet.timestamps import AgeLimit, stamp_now
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Outcome
from ndpresponder.wire.solicitation import kind_of

BACKLOG_S: Final = 3.0


def begin(socket: PacketSocket, tally: Tally, step_s: float = 0.0) -> bool:
    """Go to the first frame that is to be answered, past those that waited for too long; return False if none waits.

    `step_s` is by how much the clock of the stamps was set since the frames began to wait.
    """
    if not socket.seek():
        return False
    if step_s:
        tally.durations.distrust()
    ages = AgeLimit(stamp_now(), step_s, BACKLOG_S)
    while count := socket.count_while(ages.is_old, BATCH):
        for frame, _ in socket.receive(count):
            tally.received[kind_of(frame)] += 1
            tally.ended[Outcome.TOO_OLD] += 1
        socket.release()
    return True
