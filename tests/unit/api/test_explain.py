"""`explain` says what the responder would do, and why, and does nothing itself."""

from argparse import Namespace
from functools import partial
from ipaddress import IPv6Network
from types import SimpleNamespace
from typing import Any

import pytest
from frames import packed, solicitation
from sample_link import LINK
from sample_responder import (
    CLAIMED,
    CLAIMED_TARGET,
    EXCLUDED,
    EXCLUDED_TARGET,
    GATEWAY,
    LIVE_TARGET,
    OWN_ADDRESS,
    addresses,
    make_responder,
    prefixes,
    uplink_state,
)

from ndpresponder.api.explain import Scene, judge, parse_target
from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.config.problem import Wrong
from ndpresponder.diagnose.explain import report
from ndpresponder.errors import ConfigError
from ndpresponder.outcome import Outcome
from ndpresponder.targets.board import Entry
from ndpresponder.targets.source import TargetSet
from ndpresponder.uplink.parts import Settings

SETS = {
    ("static", "eth0"): TargetSet(claimed=frozenset(prefixes(CLAIMED))),
    ("docker", "a"): TargetSet(live=addresses(LIVE_TARGET)),
    ("routes", "kernel"): TargetSet(refused=frozenset(prefixes("2001:db8::/80"))),
}
IN_PREFIX = "it lies in 2001:db8::/64, claimed by the configuration"
NOBODYS = "no source of targets makes it ours on eth0"
REFUSED = "it lies in 2001:db8::/80, refused by routes kernel"


def entry(kind: str, name: str, targets: TargetSet) -> Entry:
    source: Any = SimpleNamespace(kind=kind, name=name)
    made = Entry(source)
    made.targets = targets
    return made


def scene(*, state: str = "answering", verified: Any = None, notes: tuple[str, ...] = (), **settings: Any) -> Scene:
    responder = settings.pop("responder", None) or make_responder(**settings)
    if state != "answering":
        responder.set_state(None)
    entries = [entry(*source, targets) for source, targets in SETS.items()]
    uplink = Settings(InterfaceConfig("eth0", exclude=(IPv6Network(EXCLUDED),)), LimitsConfig())
    rehearse = partial(responder.rehearse, is_there=verified)
    return Scene(uplink, state, uplink_state(), rehearse, entries, notes)


@pytest.mark.parametrize(
    ("outcome", "why", "target", "settings"),
    [
        ("answered_multicast", [IN_PREFIX, REFUSED], CLAIMED_TARGET, {}),
        (
            "answered_multicast",
            [IN_PREFIX, "it is live: docker a says that it is there", REFUSED],
            LIVE_TARGET,
            {},
        ),
        ("not_ours", [NOBODYS], "2001:db8:5::1", {}),
        (
            "excluded",
            ["it is excluded by the configuration: 2001:db8::bad:0/112", IN_PREFIX, REFUSED],
            EXCLUDED_TARGET,
            {},
        ),
        ("excluded", ["it is a default gateway on eth0: it answers for itself", IN_PREFIX], GATEWAY, {}),
        ("excluded", ["it is an own address of eth0: the kernel answers for it", IN_PREFIX], OWN_ADDRESS, {}),
        ("link_local_target", [NOBODYS, Outcome.LINK_LOCAL_TARGET.meaning], "fe80::9", {}),
        ("bad_target", [NOBODYS, Outcome.BAD_TARGET.meaning], "ff02::1", {}),
        ("dry_run", [IN_PREFIX, REFUSED, Outcome.DRY_RUN.meaning], CLAIMED_TARGET, {"dry_run": True}),
        (
            "not_ready",
            ["eth0 is down: nothing is received there", IN_PREFIX, REFUSED],
            CLAIMED_TARGET,
            {"state": "down"},
        ),
        (
            "not_ready",
            ["eth0 does not exist now: it is waited for", IN_PREFIX, REFUSED],
            CLAIMED_TARGET,
            {"state": "missing"},
        ),
        (
            "not_ready",
            ["eth0 is not Ethernet: nobody solicits neighbors there", IN_PREFIX, REFUSED],
            CLAIMED_TARGET,
            {"state": "not_ethernet"},
        ),
        ("answered_multicast", [IN_PREFIX, REFUSED, "x is down"], CLAIMED_TARGET, {"notes": ("x is down",)}),
        ("answered_multicast", [IN_PREFIX, REFUSED], CLAIMED_TARGET, {"verified": lambda _: True}),
        (
            "not_verified",
            [
                IN_PREFIX,
                REFUSED,
                "`verify` has not found it behind this host of late: the next solicitation has it looked for",
            ],
            CLAIMED_TARGET,
            {"verified": lambda _: False},
        ),
    ],
)
def test_the_outcome_and_its_reasons(outcome: str, why: list[str], target: str, settings: dict[str, Any]) -> None:
    judged = judge(scene(**settings), packed(target))
    assert (outcome, why) == (judged["outcome"], judged["why"])
    assert judged["answered"] == outcome.startswith("answered")


def test_a_policy_about_probes_is_told() -> None:
    judged = judge(scene(unicast="live"), packed(CLAIMED_TARGET))
    assert (judged["outcome"], judged["probe_outcome"]) == ("answered_multicast", "unicast_policy")
    assert judged["why"][-1].startswith("reachability probes are not answered: ")
    assert judge(scene(unicast="live"), packed(LIVE_TARGET))["probe_outcome"] == "answered_unicast"


@pytest.mark.parametrize(
    "target", [CLAIMED_TARGET, LIVE_TARGET, EXCLUDED_TARGET, GATEWAY, OWN_ADDRESS, "2001:db8:5::1"]
)
def test_it_agrees_with_the_responder(target: str) -> None:
    responder = make_responder()
    told = responder.rehearse(solicitation(target), None)
    assert told is responder.respond(solicitation(target))[0]


def test_explaining_spends_no_limit_looks_for_nobody_and_remembers_nothing() -> None:
    happened: list[str] = []

    def take() -> bool:
        happened.append("taken")
        return True

    def is_there(_: bytes) -> bool:
        happened.append("looked")
        return True

    responder = make_responder(take=take, is_there=is_there)
    assert judge(scene(responder=responder, verified=lambda _: True), packed(CLAIMED_TARGET))["answered"]
    assert happened == []
    assert (responder._requesters, responder._answers) == ({}, {})


@pytest.mark.parametrize(
    ("said", "raw"),
    [
        ("'2001:db8::/64' is a prefix", "2001:db8::/64"),
        ("'10.0.0.1' is IPv4", "10.0.0.1"),
        ("'x' is not an IPv6 prefix", "x"),
        ("'fe80::1%eth0' has a zone", "fe80::1%eth0"),
        ("must be text", 5),
    ],
)
def test_what_is_no_address_is_said_as_in_the_configuration(said: str, raw: object) -> None:
    with pytest.raises(Wrong) as wrong:
        parse_target(raw)
    assert wrong.value.message.startswith(said)


# By settings, without a daemon


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this host have the sample link alone."""
    monkeypatch.setattr("ndpresponder.diagnose.explain.present", lambda _: {"eth0": LINK})
    monkeypatch.setattr("ndpresponder.diagnose.explain.troubles_on", lambda *_: [])


def by_settings(target: str, **flags: Any) -> Any:
    options = {"iface": ["eth0"], "prefix": ["2001:db8::/64"], "target": target, "json": False, **flags}
    return report(Namespace(**options), {})


@pytest.mark.parametrize(
    ("outcome", "target", "flags"),
    [
        ("answered_multicast", "2001:db8::c1", {}),
        ("not_ours", "2001:db8:1::c1", {}),
        ("excluded", "2001:db8::1", {}),
        ("excluded", "2001:db8::2", {}),
        ("excluded", "2001:db8::5", {"exclude": ["2001:db8::5"]}),
        ("dry_run", "2001:db8::5", {"dry_run": True}),
    ],
)
def test_settings_and_host_say_what_would_be_answered(outcome: str, target: str, flags: dict[str, Any]) -> None:
    (uplink,) = by_settings(target, **flags)["uplinks"]
    assert (uplink["uplink"], uplink["outcome"]) == ("eth0", outcome)


def test_what_only_a_daemon_knows_is_said() -> None:
    flags = {"source.bridge.name": ["br0"], "interface.verify": True}
    (uplink,) = by_settings("2001:db8::c1", **flags)["uplinks"]
    assert uplink["why"][1:] == [
        "what the sources of targets find is known to the running daemon only",
        "`verify`: claimed, it is answered for only once it was found behind this host",
    ]


def test_a_limit_of_the_answers_is_told_where_there_are_any() -> None:
    report = by_settings("2001:db8::c1", rate="50/100")
    assert report["uplinks"][0]["yet"] == [
        "`rate` limits the answers of an uplink: beyond 50 answers a second, and 100 at once, it ends as rate_limited"
    ]


def test_without_answers_or_without_a_limit_there_is_none_to_tell() -> None:
    assert by_settings("2001:db8:1::c1", rate="50/100")["uplinks"][0]["yet"] == []
    assert by_settings("2001:db8::c1")["uplinks"][0]["yet"] == []


def test_a_wrong_target_is_a_wrong_use() -> None:
    with pytest.raises(ConfigError, match="is a prefix"):
        by_settings("2001:db8::/64")
