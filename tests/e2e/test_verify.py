"""With --verify a claimed target is answered for once it was found behind the VPS, and who is not there is not."""

import time
from collections.abc import Callable, Iterator

import pytest
from control_client import ask
from daemon_process import Installed

from ndpresponder.lab import Lab, wait_until

C1, C2 = "2001:db8::c1", "2001:db8::c2"
NOBODY = "2001:db8::dead"
BRIDGE = "2001:db8::1"
LONG_S = 35  # who was found is remembered for 30 s, and so long a neighbor is reachable for the kernel, on average


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Installed]:
    lab.filter("strict")
    flags = ("-i", "uplink", "-n", "2001:db8::/112", "--verify")
    with Installed(lab["vps"], *flags) as daemon:
        yield daemon


def state(lab: Lab, target: str) -> str:
    """Return what the VPS's kernel knows of a neighbor behind it."""
    words = lab.run("vps", "ip", "-6", "neigh", "show", target, "dev", "br-ct").stdout.split()
    return words[-1] if words else ""


def find_cold(lab: Lab) -> None:
    lab.run("vps", "ip", "-6", "neigh", "flush", "dev", "br-ct")
    assert state(lab, C1) == ""


def find_stale(lab: Lab) -> None:
    assert lab.ping("vps", C1)
    lab.run("vps", "ip", "-6", "neigh", "change", C1, "dev", "br-ct", "nud", "stale")
    assert state(lab, C1) == "STALE"


def find_confirmed(lab: Lab) -> None:
    assert lab.ping("vps", C1)
    lab.run("vps", "ip", "-6", "neigh", "change", C1, "dev", "br-ct", "nud", "reachable")


@pytest.mark.parametrize("prepare", [find_cold, find_stale, find_confirmed])
def test_a_container_that_is_there_is_answered_for_without_loss(
    lab: Lab, daemon: Installed, prepare: Callable[[Lab], None]
) -> None:
    prepare(lab)
    lab.forget(C1)
    ping = lab.ping("inet", C1, count=3, deadline=3)
    assert ping.received == ping.sent
    assert state(lab, C1) in ("REACHABLE", "DELAY", "STALE", "PROBE")
    assert daemon.counters("uplink")["ignored not_verified"] == 0


def test_who_is_there_is_answered_for_on_and_on(lab: Lab, daemon: Installed) -> None:
    """Longer than anything is remembered here, by the daemon or the kernel, and however often somebody asks."""
    end_s = time.monotonic() + LONG_S
    while time.monotonic() < end_s:
        lab.forget(C1)
        ping = lab.ping("inet", C1, count=10, deadline=3, interval=0.05)
        assert ping.received == ping.sent
    assert daemon.counters("uplink")["ignored not_verified"] == 0
    assert daemon.counters("uplink")["sent solicited"] >= LONG_S // 2


def test_an_address_of_this_host_needs_no_neighbor(lab: Lab, daemon: Installed) -> None:
    assert lab.ping("inet", BRIDGE, deadline=3)


def test_nobody_is_not_answered_for_and_counted(lab: Lab, daemon: Installed) -> None:
    assert not lab.ping("inet", NOBODY, deadline=3)
    wait_until(lambda: daemon.counters("uplink")["ignored not_verified"] >= 1, 5, "the reason")
    assert lab.neighbour(NOBODY).get("lladdr") is None


def test_explain_looks_for_nobody_and_knows_who_was_found(lab: Lab, daemon: Installed) -> None:
    def explained() -> tuple[str, list[str]]:
        (uplink,) = ask(daemon.control, "GET", f"/explain?target={C1}")[1]["uplinks"]
        return uplink["outcome"], uplink["yet"]

    find_cold(lab)
    assert explained() == explained() == ("not_verified", [])
    assert state(lab, C1) == ""
    assert lab.ping("inet", C1, deadline=3)
    assert explained() == ("answered_multicast", [])


def leave(lab: Lab) -> None:
    lab["c2"].ip(f"address del {C2}/112 dev eth0")


def test_who_left_is_forgotten_and_who_comes_is_found_soon(lab: Lab, daemon: Installed) -> None:
    try:
        leave(lab)
        lab.run("vps", "ip", "-6", "neigh", "flush", "dev", "br-ct")
        lab.forget(C2)
        assert not lab.ping("inet", C2, deadline=3)
    finally:
        lab["c2"].ip(f"address add {C2}/112 dev eth0 nodad")
        lab["c2"].ip("route replace ::/0 via 2001:db8::1")
    wait_until(lambda: bool(lab.ping("inet", C2, deadline=1)), 5, "the container that is back")


def test_who_is_stale_and_gone_is_not_answered_for(lab: Lab, daemon: Installed) -> None:
    try:
        assert lab.ping("vps", C2)
        leave(lab)
        lab.run("vps", "ip", "-6", "neigh", "change", C2, "dev", "br-ct", "nud", "stale")
        lab.forget(C2)
        assert not lab.ping("inet", C2, deadline=2)
        wait_until(lambda: daemon.counters("uplink")["ignored not_verified"] >= 1, 5, "the reason")
    finally:
        lab["c2"].ip(f"address add {C2}/112 dev eth0 nodad")
        lab["c2"].ip("route replace ::/0 via 2001:db8::1")
