"""The routes source against the real kernel: it publishes where the kernel would forward, soon after it would."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Network

import pytest
from daemon_process import FOLLOW_DEADLINE_S, within
from requirements import OURS, require
from sample_responder import prefixes
from source_thread import Following

from ndpresponder.config.settings import RoutesSourceConfig
from ndpresponder.lab.namespace import Namespace, create_all, delete_all
from ndpresponder.linux.netlink import routes as kernel_routes
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.routes import RoutesSource

NET, SUBNET, HOST = "2001:db8:5::/64", "2001:db8:5:0:8000::/65", "2001:db8:5::5/128"


@pytest.fixture
def host() -> Iterator[Namespace]:
    """Return a namespace with an uplink, two links away from it, and the routes that these bring."""
    require("ip")
    host = Namespace(f"{OURS}br-routes")
    create_all([host])
    try:
        host.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/accept_ra": 0})
        host.ip(
            "link add up0 type veth peer name far0",
            "link add in0 type veth peer name far1",
            "link add in1 type veth peer name far2",
            *(f"link set {name} up" for name in ("up0", "far0", "in0", "far1", "in1", "far2")),
            "address add 2001:db8::2/64 dev up0 nodad",
            "route add ::/0 via 2001:db8::1",
        )
        yield host
    finally:
        delete_all([host])


def follow(host: Namespace, **settings) -> Following:
    within = tuple(map(IPv6Network, settings.pop("within", ())))
    return Following(host, RoutesSource(RoutesSourceConfig(within=within, **settings), ["up0"]))


def says(claimed, refused=()):
    expected = TargetSet(claimed=frozenset(prefixes(*claimed)), refused=frozenset(prefixes(*refused)))
    return lambda targets: targets == expected


def test_neither_the_default_route_nor_what_is_on_the_uplink_is_ours(host):
    with follow(host) as following:
        assert says([])(following.now)


@pytest.mark.parametrize(
    ("routes", "claimed", "refused"),
    [
        ([f"{NET} dev in0"], [NET], []),
        ([f"{NET} dev in0", f"{SUBNET} dev in1"], [NET], []),
        ([f"{NET} dev in0", f"{SUBNET} via 2001:db8::9"], [NET], [SUBNET]),
        ([f"unreachable {NET}", f"{SUBNET} dev in0"], [SUBNET], []),
        ([f"{NET} dev in0", f"unreachable {SUBNET}"], [NET], [SUBNET]),
        ([f"{NET} dev in0", f"blackhole {HOST}"], [NET], [HOST]),
        ([f"{NET} dev in0", f"prohibit {SUBNET}", f"{HOST} dev in1"], [NET], [SUBNET]),
        ([f"{NET} dev in0 metric 10", f"unreachable {NET} metric 20"], [NET], []),
        ([f"{NET} dev in0 metric 20", f"unreachable {NET} metric 10"], [], []),
        ([f"{NET} nexthop via fe80::8 dev in0 nexthop via fe80::9 dev in1"], [NET], []),
        ([f"{NET} nexthop via fe80::8 dev in0 nexthop via fe80::9 dev up0"], [], []),
        ([f"{NET} dev lo"], [], []),
        ([f"{NET} dev in0 table 100"], [], []),
        (["2001:db8:5::/48 dev in0", "2000::/3 dev in0"], [], []),
        (["2001:db8:5::/48 dev in0", f"{HOST} dev in0"], [HOST], []),
    ],
)
def test_the_route_that_the_kernel_would_take_decides(host, routes, claimed, refused):
    with follow(host) as following:

        def there_and_back() -> float:
            asked = following.count
            added = following.follows(
                lambda: host.ip(*(f"route append {route}" for route in routes), MARK),
                lambda targets: targets.claimed >= MARKED,
            )
            assert says([*claimed, "2001:db8:a::/64"], refused)(following.now)
            away = following.follows(
                lambda: host.ip(*(f"route del {route}" for route in reversed(routes)), MARK.replace("add", "del")),
                says([]),
            )
            assert following.count > asked
            return max(added, away)

        within(FOLLOW_DEADLINE_S, there_and_back)


MARK = "route add 2001:db8:a::/64 dev in1"
MARKED = frozenset(prefixes("2001:db8:a::/64"))


@pytest.mark.parametrize(
    ("settings", "claimed", "refused"),
    [
        ({}, [NET, "2001:db8:a::/64"], [SUBNET]),
        ({"through": ("in0",)}, [NET], [SUBNET]),
        ({"through": ("in0", "in7")}, [NET], [SUBNET]),
        ({"protocols": (4,)}, [HOST], []),
        ({"tables": (100,)}, ["2001:db8:7::/64"], []),
        ({"tables": (254, 100)}, [NET, "2001:db8:a::/64", "2001:db8:7::/64"], [SUBNET]),
        ({"tables": (100, 77777)}, ["2001:db8:7::/64", "2001:db8:8::/64"], []),
        ({"tables": (4242,)}, [], []),
        ({"within": ("2001:db8:a::/48",)}, ["2001:db8:a::/64"], []),
        ({"within": ("2001:db8:5::/96",)}, ["2001:db8:5::/96"], []),
        ({"within": ("2001:db8:9:4::/62",)}, ["2001:db8:9:4::/62"], []),
        ({"within": ("2001:db8::/64", "fe80::/16", "ff00::/8")}, [], []),
    ],
    ids=str,
)
def test_what_is_asked_for_is_looked_at(host, settings, claimed, refused):
    host.ip(
        MARK,
        f"route add {NET} dev in0 proto boot",
        f"route add {HOST} dev in0 proto static",
        f"route add {SUBNET} via 2001:db8::9",
        "route add 2001:db8:7::/64 dev in0 table 100",
        "route add 2001:db8:8::/64 dev in0 table 77777",
        "route add 2001:db8:9::/48 dev in0",
        "route add 2000::/3 dev up0",
    )
    with follow(host, **settings) as following:
        assert says(claimed, refused)(following.now)


def test_routes_go_with_their_link(host):
    host.ip(f"route add {NET} dev in0", MARK)
    with follow(host) as following:
        following.wait(says([NET, "2001:db8:a::/64"]))
        host.ip("link set in0 down")
        following.wait(says(["2001:db8:a::/64"]))
        host.ip("link del in1")
        following.wait(says([]))


def test_a_link_that_becomes_the_uplink_takes_its_routes_away(host):
    host.ip(f"route add {NET} dev in0")
    with follow(host) as following:
        following.wait(says([NET]))
        host.ip("link set up0 name up1", "link set in0 name up0")
        following.wait(lambda targets: not set(prefixes(NET)) & targets.claimed)


def test_too_many_routes_are_said_and_change_nothing(host, monkeypatch):
    monkeypatch.setattr(kernel_routes, "MAX_ROUTES", 100)
    host.ip(MARK)
    with follow(host) as following:
        host.ip(*(f"route add 2001:db8:6:{number:x}::/64 dev in0" for number in range(200)))
        assert str(following.await_failure()) == "more than 100 routes; name the prefixes that matter"
    with follow(host, within=["2001:db8:6:10::/60"]) as following:
        assert says([f"2001:db8:6:1{digit:x}::/64" for digit in range(16)])(following.now)


def test_a_route_that_stays_is_not_lost_while_others_come_and_go(host):
    """A change between two slices of an answer can have the kernel pass over routes that stay as they are."""
    ours = [f"2001:db8:2:{number:x}::/64" for number in range(300)]
    host.ip(*(f"route add 2001:db8:1:{number:x}::/64 dev in0" for number in range(1500)))
    host.ip(*(f"route add {prefix} dev in0" for prefix in ours))

    def change():
        for number in range(0, 1500, 5):
            moved = range(number, number + 5)
            host.ip(*(f"route del 2001:db8:1:{each:x}::/64 dev in0" for each in moved))
            host.ip(*(f"route add 2001:db8:9:{each:x}::/64 dev in0" for each in moved))

    with follow(host, within=["2001:db8:2::/48"]) as following, ThreadPoolExecutor() as beside:
        following.wait(says(ours))
        changing, marks = beside.submit(change), 0
        while not changing.done():  # each rings
            host.ip(f"route add 2001:db8:2:ffff::{marks:x}/128 dev in0")
            host.ip(*(f"route del 2001:db8:2:ffff::{marks - 1:x}/128 dev in0" for _ in range(marks > 0)))
            marks += 1
        changing.result()
        assert marks > 10
        following.wait(says([*ours, f"2001:db8:2:ffff::{marks - 1:x}/128"]))
        stay = frozenset(prefixes(*ours))
        assert not [targets for _, targets in following._published if not stay <= targets.claimed]
