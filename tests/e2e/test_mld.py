"""Behind a bridge that snoops MLD a target is heard only if its group was joined and the report of that got through."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Installed
from needs import OURS, require

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER

OTHER = "2001:db8::c2"
LEARN_S = 5.0


@pytest.fixture(scope="module")
def snooping_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping", "bridge", "ebtables")
    with Lab(f"{OURS}mld", "macvlan") as lab:
        yield lab


def group(target: str) -> str:
    """Return the solicited-node group of one of the lab's containers."""
    return f"ff02::1:ff00:{target.rpartition(':')[2]}"


def learned(lab: Lab, target: str = CONTAINER) -> bool:
    """Tell whether the hypervisor's bridge passes the target's group to the VPS."""
    groups = lab.run("hv", "bridge", "mdb", "show", "dev", "br0").stdout
    return bool(re.search(rf"port p-vps grp {re.escape(group(target))} ", groups))


def configured(directory: Path, mld_source: str, *lines: str) -> str:
    file = directory / "ndpresponder.toml"
    interface = ('name = "uplink"', f'mld_source = "{mld_source}"', 'announce = "never"', *lines)
    file.write_text("\n".join(("version = 1", "[[interface]]", *interface, "")))
    return str(file)


def snoop(lab: Lab, name: str) -> Lab:
    """Return the lab behind a filter and a bridge that snoops and has learned nothing yet."""
    lab.reset()
    lab.filter(name)
    lab["hv"].ip("link set p-vps nomaster", "link set p-vps master br0")  # what the port joined is forgotten
    lab.snooping(True)
    lab.resolve_gateway()
    return lab


LIVE = f'prefixes = ["{CONTAINER}"]'
CLAIMED = 'prefixes = ["2001:db8::c0/126"]'
WIDE = 'prefixes = ["2001:db8::/112"]'


@pytest.mark.parametrize(
    ("name", "mld_source", "prefixes", "reached"),
    [
        ("none", "linklocal", LIVE, True),
        ("none", "linklocal", CLAIMED, True),
        ("none", "linklocal", WIDE, False),
        ("na", "linklocal", LIVE, True),
        ("na", "linklocal", WIDE, False),
        ("strict", "linklocal", LIVE, True),
        ("strict", "global", LIVE, True),
        ("strict-pre", "linklocal", LIVE, False),
        ("strict-pre", "global", LIVE, True),
        ("strict-pre", "both", CLAIMED, True),
        ("ebtables", "linklocal", LIVE, True),
        ("ebtables", "global", CLAIMED, True),
    ],
)
def test_what_is_heard_behind_snooping(snooping_lab, tmp_path, name, mld_source, prefixes, reached):
    lab = snoop(snooping_lab, name)
    with Installed(lab["vps"], "-c", configured(tmp_path, mld_source, prefixes)):
        if reached:
            wait_until(lambda: learned(lab), LEARN_S, "the bridge to learn the group")
        assert reached == bool(lab.ping("inet", CONTAINER, count=3))
        assert reached == learned(lab)


@pytest.mark.parametrize(("name", "mld_source"), [("strict", "linklocal"), ("strict-pre", "global")])
def test_a_group_is_left_with_its_last_target(snooping_lab, tmp_path, name, mld_source):
    lab = snoop(snooping_lab, name)
    addresses = tmp_path / "addresses"
    addresses.write_text(f"{CONTAINER}\n{OTHER}\n")
    flags = ("-c", configured(tmp_path, mld_source), "-f", str(addresses))
    with Installed(lab["vps"], *flags):
        wait_until(lambda: learned(lab) and learned(lab, OTHER), LEARN_S, "the bridge to learn both groups")
        addresses.write_text(f"{CONTAINER}\n")
        wait_until(lambda: not learned(lab, OTHER), LEARN_S, "the bridge to forget the other")
        assert learned(lab)
        assert lab.ping("inet", CONTAINER)
