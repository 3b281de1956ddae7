"""The commands in the guide to the sources do what they are there for: run as they stand, behind a provider's filter.

What stands in: busybox for nginx, a vxlan for GRE, wireguard-go for the kernel's WireGuard, and a temporary folder.
"""

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from container_engines import NEEDS_DOCKER, UNTIL_TOLD, Docker, image
from daemon_process import Installed
from requirements import require
from wireguard_tunnel import PEER, tunnel

from ndpresponder.cli.commands import parser_of
from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER
from ndpresponder.targets import sources

README = (Path(sources.__file__).parent / "README.md").read_text()
SECTIONS = dict(re.findall(r"^#+ (\w+).*\n((?:(?!#).*\n)*)", README, re.MULTILINE))
COMMAND = re.compile(r"^ {4}(ndpresponder .*)$", re.MULTILINE)
REACH_S = 15.0

pytestmark = pytest.mark.needs("ip", "nft", "ping")


def block(section: str, first_word: str) -> list[str]:
    """Return the lines of the example that begins with a word, without indentation, continued lines joined."""
    (found,) = re.findall(rf"^    {re.escape(first_word)}.*\n(?:    .*\n)*", SECTIONS[section], re.MULTILINE)
    return [line[4:] for line in found.replace("\\\n", " ").splitlines()]


def flags(line: str) -> list[str]:
    """Return the flags of a line that starts the daemon."""
    command, *flags = shlex.split(line)
    assert command == "ndpresponder"
    return flags


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return a lab whose uplink may be called eth0, as in the guide."""
    lab = make_lab(containers=1)
    lab["vps"].ip("link property add dev uplink altname eth0")
    lab.filter("strict")
    return lab


@contextlib.contextmanager
def following(lab: Lab, line: str) -> Iterator[Installed]:
    with Installed(lab["vps"], *flags(line)) as installed:
        yield installed


def await_reached(lab: Lab, target: str) -> None:
    """Wait until a target answers pings from the internet, address resolution included."""

    def reached() -> bool:
        lab.forget(target)
        return bool(lab.ping("inet", target))

    wait_until(reached, REACH_S, f"{target} to answer")


@pytest.mark.parametrize("line", COMMAND.findall(README))
def test_each_command_is_one(line: str) -> None:
    parser_of().parse(flags(line))


def test_each_section_with_a_command_is_run_here() -> None:
    here = {name.removeprefix("test_run_") for name in globals() if name.startswith("test_run_")}
    assert {name.lower() for name, text in SECTIONS.items() if COMMAND.search(text)} == here


@pytest.mark.needs(*NEEDS_DOCKER)
def test_run_docker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab["vps"].ip("link del br-ct")
    with Docker(lab["vps"]) as docker:
        monkeypatch.setenv("DOCKER_HOST", docker.url)
        words = ", ".join(f'"{word}"' for word in UNTIL_TOLD)
        docker.cli("import", "--change", f"CMD [{words}]", "-", "nginx", octets=image())
        (line,) = block("docker", "ndpresponder")
        with following(lab, line):
            lab.run("vps", "sh", "-ec", "\n".join(block("docker", "docker network create")))
            await_reached(lab, "2001:db8::a")


def test_run_bridge(lab: Lab) -> None:
    lab["vps"].ip("link del br-ct", "link set v-c1 down", "link set v-c1 name veth0")
    *lines, last = block("bridge", "ip link add br0")
    assert f"{CONTAINER}/112 and a default route via 2001:db8::1" in " ".join(lines)  # as the lab's container has
    lab.run("vps", "sh", "-ec", "\n".join(lines))
    with following(lab, last):
        await_reached(lab, CONTAINER)


def test_run_routes(lab: Lab) -> None:
    end, behind = "2001:db8:f::1", "2001:db8::5:0:0:5"
    lab["vps"].ip(f"route add {end} via {CONTAINER}")
    lab["c1"].ip(
        f"address add {end}/128 dev eth0 nodad",
        f"link add gre1 type vxlan id 7 dstport 4789 local {end} remote 2001:db8::1",
        f"address add {behind}/80 dev gre1 nodad",
        "link set gre1 up",
    )
    *lines, last = block("routes", "ip link add gre1")
    lab.run("vps", "sh", "-ec", "\n".join(lines).replace("type ip6gre", "type vxlan id 7 dstport 4789"))
    with following(lab, last):
        await_reached(lab, behind)


def test_run_file(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    (line,) = block("file", "ndpresponder")
    with following(lab, line.replace("/etc/ndpresponder/addresses", str(path))) as installed:
        path.write_text("\n".join(block("file", "# the mail server")))
        await_reached(lab, CONTAINER)
        assert not installed.lines("is not an IPv6")


def test_run_wireguard(lab: Lab, tmp_path: Path) -> None:
    require("wireguard-go", "wg")
    name = f"wgr{os.getpid()}"
    made, *lines, last = (re.sub(r"\bwg0(?!\.key)\b", name, line) for line in block("wireguard", "ip link add wg0"))
    assert made == f"ip link add {name} type wireguard"
    with tunnel(lab["vps"], name, "2001:db8::1") as near, tunnel(lab["c1"], f"{name}c", CONTAINER) as far:
        (tmp_path / "wg0.key").write_text(near.private)
        far.namespace.ip(
            f"address add {PEER}/128 dev {far.name} nodad", f"route replace ::/0 dev {far.name} src {PEER}"
        )
        script = "\n".join([f"cd {tmp_path}", *lines]).replace("PUBLIC_KEY", far.public)
        lab.run("vps", "sh", "-ec", script)
        with following(lab, last):
            there = ("endpoint", "[2001:db8::1]:5000", "allowed-ips", "::/0", "persistent-keepalive", "1")
            far.set("peer", near.public, *there)
            await_reached(lab, PEER)


def test_run_verification(lab: Lab) -> None:
    (line,) = block("Verification", "ndpresponder")
    with following(lab, line):
        await_reached(lab, CONTAINER)
        assert not lab.ping("inet", "2001:db8::dead", deadline=2)
