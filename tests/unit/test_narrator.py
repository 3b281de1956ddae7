"""What is told of an uplink is told once, as long as it stays so."""

import dataclasses
from ipaddress import IPv6Network

from answering import addresses
from structlog.testing import capture_logs
from test_keepalive import LINK

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS
from ndpresponder.narrator import Narrator

TUNNEL = dataclasses.replace(LINK, hardware_type=65534)


def narrator() -> Narrator:
    return Narrator(InterfaceConfig(name="eth0", prefixes=(IPv6Network("2001:db8:1::/112"),)))


def test_an_interface_of_no_use_is_told_of_until_it_changes() -> None:
    with capture_logs() as logs:
        teller = narrator()
        for link in (TUNNEL, TUNNEL, dataclasses.replace(TUNNEL, up=False), dataclasses.replace(TUNNEL, index=8)):
            teller.missing(link)
        teller.missing(None)
        teller.missing(None)
        teller.missing(TUNNEL)
        teller.follow(None, LINK)
        teller.missing(TUNNEL)
    useless, waiting, found = "not an Ethernet", "waiting for the", "answering"
    told = [useless, useless, waiting, useless, found, useless]
    assert [entry["event"].startswith(start) for entry, start in zip(logs, told, strict=True)] == [True] * len(told)


def test_too_many_gateways_are_told_of_once() -> None:
    crowd = [addresses(*(f"fe80::{number:x}" for number in range(1, more))) for more in (18, 30, 40)]
    with capture_logs() as logs:
        teller = narrator()
        for gateways in crowd:
            teller.follow(LINK, dataclasses.replace(LINK, gateways=gateways))
    assert [(entry["gateways"], entry["served"]) for entry in logs] == [(17, MAX_SERVED_GATEWAYS)]
