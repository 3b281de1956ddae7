"""Which interface takes the frames of an uplink: said by the link watcher soon after it is so."""

from daemon_process import FOLLOW_DEADLINE_S, within
from watcher_thread import Watching


def test_a_change_is_followed_in_time(wire):
    wire.near.ip("link add m0 type bridge")
    with Watching(wire.near) as watching:

        def there_and_back() -> float:
            there = watching.follows(
                lambda: wire.near.ip("link set up0 master m0"), lambda link: link.taken_by == "m0" and not link.hears
            )
            back = watching.follows(lambda: wire.near.ip("link set up0 nomaster"), lambda link: link.hears)
            return max(there, back)

        within(FOLLOW_DEADLINE_S, there_and_back)


def test_a_bridge_that_is_renamed_is_named_as_it_is_now(wire):
    wire.near.ip("link add m0 type bridge", "link set up0 master m0")
    with Watching(wire.near) as watching:
        watching.wait(lambda links: links["up0"].taken_by == "m0")
        wire.near.ip("link set m0 down", "link set m0 name vmbr0")
        watching.wait(lambda links: links["up0"].taken_by == "vmbr0")
