"""Containers of a real engine behind the lab, and how a test sees that they are followed."""

import json

from container_engines import Docker
from daemon_process import Installed, total

from ndpresponder.lab import Lab, wait_until

SUBNETS = ("--subnet", "172.26.0.0/16", "--subnet", "2001:db8::/112")
WEB, DB = "2001:db8::a", "2001:db8::b"
FOLLOW_S = 5.0
REACH_S = 10.0


def follow(lab: Lab, docker: Docker, name: str = "exposed") -> Installed:
    return Installed(lab["vps"], "-i", "uplink", "-N", name, "--docker-url", docker.url)


def live(installed: Installed, source: str = "docker") -> int:
    """Return how many addresses the daemon has of a kind of source."""
    (line,) = (
        line
        for line in installed.scrape().splitlines()
        if line.startswith("ndpresponder_addresses{") and f'source="{source}"' in line
    )
    return int(float(line.rpartition(" ")[2]))


def is_up(installed: Installed) -> bool:
    return any(
        line.startswith("ndpresponder_source_up{") and 'source="docker"' in line and line.endswith(" 1.0")
        for line in installed.scrape().splitlines()
    )


def reachable(lab: Lab, address: str, deadline: float = 1.0) -> bool:
    """Tell whether a container answers a ping from the internet, address resolution included."""
    lab.forget(address)
    lab.resolve_gateway()
    return bool(lab.ping("inet", address, deadline=deadline))


def await_reachable(lab: Lab, *targets: str) -> None:
    """Wait until containers answer: right after a change the first packet may be lost behind the host."""
    for target in targets:
        wait_until(lambda target=target: reachable(lab, target), REACH_S, f"{target} to answer")


def await_live(installed: Installed, count: int, source: str = "docker") -> None:
    wait_until(lambda: live(installed, source) == count, FOLLOW_S, f"{count} addresses")


def bridge_of(lab: Lab) -> str:
    """Return the name of the bridge that the engine has made."""
    (bridge,) = json.loads(lab.run("vps", "ip", "-j", "link", "show", "type", "bridge").stdout)
    return str(bridge["ifname"])


def assert_ignored(installed: Installed, lab: Lab, address: str) -> None:
    """Fail unless solicitations for an address are soon ignored, all of them, as not ours."""

    def ignored() -> bool:
        before = installed.counters("uplink")
        assert not reachable(lab, address, 0.3)
        caused = installed.counters("uplink") - before
        return caused["ignored not_ours"] == total(caused, "received") > 0

    wait_until(ignored, FOLLOW_S, "solicitations to be ignored")
