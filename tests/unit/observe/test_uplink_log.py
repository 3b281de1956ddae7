"""What is told of an uplink is told once, as long as it stays so."""

import dataclasses
from ipaddress import IPv6Network

from frames import solicitation
from sample_link import LINK
from sample_responder import addresses
from sample_responder import prefixes as claims
from structlog.testing import capture_logs

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS
from ndpresponder.observe.uplink_log import MAX_LOGGED_TARGETS, UplinkLog
from ndpresponder.policy.table import TargetTable
from ndpresponder.wire.advertisement import advertise

TUNNEL = dataclasses.replace(LINK, hardware_type=65534)


def advertisement_of(target: bytes) -> bytes:
    return advertise(bytes(6), bytes(6), bytes(16), 0, target)


def uplink_log() -> UplinkLog:
    return UplinkLog(InterfaceConfig(name="eth0", prefixes=(IPv6Network("2001:db8:1::/112"),)))


def test_an_interface_of_no_use_is_told_of_until_it_changes() -> None:
    with capture_logs() as logs:
        log = uplink_log()
        for link in (TUNNEL, TUNNEL, dataclasses.replace(TUNNEL, up=False), dataclasses.replace(TUNNEL, index=8)):
            log.missing(link)
        log.missing(None)
        log.missing(None)
        log.missing(TUNNEL)
        log.follow_link(None, LINK)
        log.missing(TUNNEL)
    useless, waiting, found = "not an Ethernet", "waiting for the", "answering"
    told = [useless, useless, waiting, useless, found, useless]
    assert [entry["event"].startswith(start) for entry, start in zip(logs, told, strict=True)] == [True] * len(told)


def test_too_many_gateways_are_told_of_once() -> None:
    crowd = [addresses(*(f"fe80::{number:x}" for number in range(1, more))) for more in (18, 30, 40)]
    with capture_logs() as logs:
        log = uplink_log()
        for gateways in crowd:
            log.follow_link(LINK, dataclasses.replace(LINK, gateways=gateways))
    assert [(entry["gateways"], entry["served"]) for entry in logs] == [(17, MAX_SERVED_GATEWAYS)]


def test_another_host_that_was_denied_an_address_is_named_once_a_minute() -> None:
    now_s = 0.0
    log = UplinkLog(InterfaceConfig(name="eth0"), lambda: now_s)
    told = []
    for now_s in (0.0, 1.0, 2.0, 59.0, 60.5):
        with capture_logs() as logs:
            log.defended(solicitation("2001:db8::c1", "::", ethernet_source="02:00:00:00:0a:01"))
        told += [(now_s, log["log_level"], log["target"], log["lladdr"], log["suppressed"]) for log in logs]
    named = "warning", "2001:db8::c1", "02:00:00:00:0a:01"
    assert told == [(0.0, *named, 0), (60.5, *named, 3)]


def test_a_flood_of_conflicts_is_some_lines() -> None:
    now_s = 0.0
    log = UplinkLog(InterfaceConfig(name="eth0"), lambda: now_s)
    with capture_logs() as logs:
        for number in range(20_000):
            now_s = number / 10_000
            station = number.to_bytes(6, "big")
            log.defended(solicitation("2001:db8::c1", "::", ethernet_source=b"\x02" + station[1:]))
    assert 16 <= len(logs) <= 18
    assert sum(log["suppressed"] for log in logs) + len(logs) <= 20_000


def overlaps(table: TargetTable, *prefixes: tuple[int, int]) -> list[tuple[str, str]]:
    log, link = uplink_log(), dataclasses.replace(LINK, subnets=frozenset(prefixes))
    with capture_logs() as logs:
        for _ in range(2):
            log.overlap(table, link)
    return [(log["prefix"], log["on_link"]) for log in logs]


def test_a_claim_of_the_links_own_prefix_is_told_of_once() -> None:
    on_link = 0x20010DB80001 << 80, 64
    for claimed in ("2001:db8:1::/64", "2001:db8::/32"):
        table = TargetTable.build(claimed=claims("2001:db8:1::/112", claimed))
        assert overlaps(table, on_link) == [(claimed, "2001:db8:1::/64")]
    assert overlaps(TargetTable.build(claimed=claims("2001:db8:1::/112", "2001:db8:2::/64")), on_link) == []
    refused = (frozenset(claims("2001:db8::/32")), frozenset(claims("2001:db8:1::/64")))
    assert overlaps(TargetTable.build(divided=[refused]), on_link) == []
    excluded = TargetTable.build(claimed=claims("2001:db8::/32"), excluded=claims("2001:db8:1::/64"))
    assert overlaps(excluded, on_link) == []


def test_ever_new_prefixes_of_the_link_are_told_of_so_often_and_no_more() -> None:
    made_up = [((0x20010DB80001 << 16 | number) << 64, 64) for number in range(1000)]
    assert len(overlaps(TargetTable.build(claimed=claims("2001:db8::/32")), *made_up)) == 64


def test_after_a_scan_new_targets_are_still_told_of_though_seldom() -> None:
    now_s = 0.0
    log = UplinkLog(InterfaceConfig(name="eth0"), lambda: now_s)

    def greeted(number: int) -> bool:
        target = (0x20010DB8 << 96 | number).to_bytes(16, "big")
        with capture_logs() as logs:
            log.first_answers([advertisement_of(target)])
        return bool(logs)

    for number in range(2 * MAX_LOGGED_TARGETS):
        now_s += 1.0
        greeted(number)
    told = 0
    for number in range(2 * MAX_LOGGED_TARGETS, 2 * MAX_LOGGED_TARGETS + 600):
        now_s += 1.0
        told += greeted(number)
    assert 9 <= told <= 11
    now_s += 60.0
    assert greeted(1 << 20)
    assert not greeted(1 << 20)
    assert len(log._logged) == MAX_LOGGED_TARGETS
