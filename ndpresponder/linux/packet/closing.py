"""Close packet sockets in threads: each waits for RCU grace periods, some 15 ms, and all that wait share them.

The event loop goes on meanwhile, and an end with many uplinks takes hardly longer than with one.
"""

import threading
from collections.abc import Callable
from typing import Final

_NAME: Final = "closing"


def close_in_thread(close: Callable[[], None]) -> None:
    """Call `close` in a thread, or here if the system has none left. The end of the process waits for it."""
    try:
        threading.Thread(target=close, name=_NAME).start()
    except RuntimeError:
        close()


def wait_closed() -> None:
    """Wait until all that began to close is closed."""
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join()
