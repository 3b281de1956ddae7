"""The slots of a receive ring, and where to go on in one that another process has read from until it ended.

The kernel fills slot after slot and marks each as ours; the reader marks them as the kernel's in the same order. So the
slots that wait are one run, which may wrap. Only the marks tell where it begins. Works on any memory: no socket here.
"""

from typing import Final

SLOTS: Final = 8192
SLOT_SIZE: Final = 256
SLOT_WORDS: Final = SLOT_SIZE // 4
OURS: Final = 1  # TP_STATUS_USER

# The words of a slot
STATUS, SECONDS, NANOSECONDS = 0, 4, 5


def find_first(words: "memoryview[int]") -> int | None:
    """Return the slot whose frame has waited longest, None if none waits."""
    waiting = [status & OURS for status in words[STATUS::SLOT_WORDS].tolist()]
    if not any(waiting):
        return None
    if not all(waiting):
        first = next(slot for slot in range(SLOTS) if waiting[slot] and not waiting[slot - 1])
        for slot in range(first - 1, first - SLOTS, -1):  # the kernel may have filled earlier slots meanwhile
            if not words[slot % SLOTS * SLOT_WORDS] & OURS:
                return (slot + 1) % SLOTS
    return _oldest(words)


def _oldest(words: "memoryview[int]") -> int:
    """Return where a full ring begins: after the newest frame, where the time goes back furthest."""
    seconds, fractions = words[SECONDS::SLOT_WORDS].tolist(), words[NANOSECONDS::SLOT_WORDS].tolist()
    times = [second * 10**9 + fraction for second, fraction in zip(seconds, fractions, strict=True)]
    return max(range(SLOTS), key=lambda slot: times[slot - 1] - times[slot])
