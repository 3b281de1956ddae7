"""Routes are asked for as the kernel would forward: for packets that come in by the uplink, by rules and IPsec too."""

from collections.abc import Iterator

import pytest
from control_client import ask
from daemon_process import Installed
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until

HOST = "2001:db8::5:c1"  # the first container's, in the provider's prefix, and in no prefix of the bridge
PREFIX = "2001:db8::5:0/112"
TABLE = "100"
RULE = ("iif", "uplink", "lookup", TABLE, "priority", "1000")
PROTOCOL = "110"


@pytest.fixture(scope="module")
def policy_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}pr", containers=1) as lab:
        lab["c1"].ip(f"address add {HOST}/128 dev eth0 nodad")
        yield lab


@pytest.fixture
def lab(policy_lab: Lab) -> Iterator[Lab]:
    """Return a lab whose host forwards what comes in by the uplink by a table of its own: `main` leads back out."""
    policy_lab.reset()
    policy_lab.filter("strict")
    vps = policy_lab["vps"]
    vps.run("ip", "-6", "rule", "add", *RULE)
    vps.ip(f"route add {PREFIX} dev br-ct table {TABLE}")
    yield policy_lab
    vps.run("ip", "-6", "rule", "del", *RULE)
    vps.run("ip", "-6", "route", "flush", "table", TABLE)


def explained(daemon: Installed) -> dict:
    (uplink,) = ask(daemon.control, "GET", f"/explain?target={HOST}")[1]["uplinks"]
    return uplink


def test_verify_finds_who_only_a_rule_for_the_uplink_leads_to(lab):
    with Installed(lab["vps"], "-i", "uplink", "-n", PREFIX, "--verify"):
        assert lab.ping("inet", HOST, count=3, deadline=3).received == 3


def test_explain_has_no_trouble_where_a_rule_leads_to_the_target(lab):
    with Installed(lab["vps"], "-i", "uplink", "-n", PREFIX) as daemon:
        assert explained(daemon)["yet"] == []
        lab["vps"].ip(f"route del {PREFIX} dev br-ct table {TABLE}")
        (trouble,) = explained(daemon)["yet"]
        assert "back out of uplink" in trouble


def test_explain_says_that_a_rule_leads_astray_although_the_hosts_own_packets_arrive(lab):
    lab["vps"].ip(
        f"route replace {PREFIX} via 2001:db8::ffff:0:0:1 dev uplink table {TABLE}",
        f"route add {PREFIX} dev br-ct",
    )
    try:
        assert lab.ping("vps", HOST)
        with Installed(lab["vps"], "-i", "uplink", "-n", PREFIX) as daemon:
            (trouble,) = explained(daemon)["yet"]
            assert "back out of uplink" in trouble
    finally:
        lab["vps"].ip(f"route del {PREFIX} dev br-ct")


def test_explain_says_what_a_rule_makes_unreachable(lab):
    lab["vps"].ip(f"route replace unreachable {PREFIX} table {TABLE}", f"route add {PREFIX} dev br-ct")
    try:
        with Installed(lab["vps"], "-i", "uplink", "-n", PREFIX) as daemon:
            (trouble,) = explained(daemon)["yet"]
            assert "unreachable" in trouble
    finally:
        lab["vps"].ip(f"route del {PREFIX} dev br-ct")


def test_no_route_is_installed_for_a_target_that_a_rule_leads_to(lab):
    assert lab.ping("c1", "2001:db8::1")  # the bridge knows its port
    lab["vps"].ip(f"neigh replace {HOST} lladdr 02:00:00:00:0c:04 dev br-ct nud reachable")
    other = "2001:db8::6:c1"
    lab["vps"].ip(f"neigh replace {other} lladdr 02:00:00:00:0c:04 dev br-ct nud reachable")
    try:
        with Installed(lab["vps"], "-i", "uplink", "-b", "br-ct", "--install-routes"):

            def installed() -> str:
                return lab.run("vps", "ip", "-6", "route", "show", "proto", PROTOCOL).stdout

            wait_until(lambda: other in installed(), 5, "the route of the target that lacks one")
            assert HOST not in installed()
    finally:
        lab["vps"].ip(f"neigh del {HOST} dev br-ct", f"neigh del {other} dev br-ct")


def test_a_rule_that_goes_leaves_no_target_without_a_route(lab):
    vps = lab["vps"]
    assert lab.ping("c1", "2001:db8::1")  # the bridge knows its port
    vps.ip(f"neigh replace {HOST} lladdr 02:00:00:00:0c:04 dev br-ct nud reachable")
    try:
        with Installed(vps, "-i", "uplink", "-b", "br-ct", "--install-routes") as daemon:
            wait_until(lambda: explained(daemon)["answered"], 5, "the target")
            vps.run("ip", "-6", "rule", "del", *RULE)
            wait_until(
                lambda: HOST in lab.run("vps", "ip", "-6", "route", "show", "proto", PROTOCOL).stdout, 5, "the route"
            )
    finally:
        vps.run("ip", "-6", "rule", "add", *RULE)
        vps.ip(f"neigh del {HOST} dev br-ct")


def test_what_an_ipsec_policy_takes_is_no_trouble_and_needs_no_neighbor(lab):
    vps = lab["vps"]
    away = "2001:db8::7:1"  # a road warrior's, whom the policy alone leads to
    ends = ("src", "2001:db8:0:0:ffff::2", "dst", "2001:db8:ffff::2")
    vps.run("ip", "xfrm", "policy", "add", "dst", f"{away}/128", "dir", "out", "tmpl", *ends, "proto", "esp",
            "mode", "tunnel")  # fmt: skip
    try:
        with Installed(vps, "-i", "uplink", "-n", "2001:db8::7:0/112", "--verify") as daemon:
            assert lab.ping("inet", away, deadline=1).received == 0  # nobody is there, but it was asked for
            wait_until(lambda: daemon.counters("uplink")["sent solicited"] == 1, 5, "the answer")
            (uplink,) = ask(daemon.control, "GET", f"/explain?target={away}")[1]["uplinks"]
            assert (uplink["answered"], uplink["yet"]) == (True, [])
            (uplink,) = ask(daemon.control, "GET", "/explain?target=2001:db8::7:2")[1]["uplinks"]
            assert uplink["outcome"] == "not_verified"
    finally:
        vps.run("ip", "xfrm", "policy", "delete", "dst", f"{away}/128", "dir", "out")


def test_routes_follows_the_tables_that_a_rule_leads_to_from_the_uplink(lab):
    with Installed(lab["vps"], "-i", "uplink", "--routes") as daemon:
        wait_until(lambda: bool(explained(daemon)["answered"]), 5, "the table")
        assert lab.ping("inet", HOST, count=3, deadline=3).received == 3
        lab["vps"].run("ip", "-6", "rule", "del", *RULE)
        try:
            wait_until(lambda: not explained(daemon)["answered"], 5, "the end of the rule")
        finally:
            lab["vps"].run("ip", "-6", "rule", "add", *RULE)
        wait_until(lambda: bool(explained(daemon)["answered"]), 5, "the rule to be back")


def test_routes_says_which_table_it_does_not_look_at_and_what_to_write(lab):
    some = ("from", "2001:db8:ffff::/64", "lookup", "101", "priority", "900")
    lab["vps"].run("ip", "-6", "rule", "add", *some)
    lab["vps"].ip("route add 2001:db8::7:0/112 dev br-ct table 101")
    try:
        with Installed(lab["vps"], "-i", "uplink", "--routes") as daemon:
            daemon.await_line("not looked at")
            (line,) = daemon.lines("not looked at")
            assert "table=101" in line
            assert "tables = [100, 254, 101]" in line
            assert explained(daemon)["answered"]
    finally:
        lab["vps"].run("ip", "-6", "rule", "del", *some)
        lab["vps"].run("ip", "-6", "route", "flush", "table", "101")


def test_tables_that_a_person_named_are_those_that_are_looked_at(lab, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('version = 1\n[source.routes]\ntables = [254]\n[[interface]]\nname = "uplink"\n')
    with Installed(lab["vps"], "-c", str(path)) as daemon:
        wait_until(lambda: 'source_up{name="kernel",source="routes"} 1' in daemon.scrape(), 5, "the routes")
        assert not explained(daemon)["answered"]
