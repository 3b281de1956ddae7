"""Flags go before the environment, the environment before the file, the file before the defaults."""

from collections.abc import Callable
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from ndpresponder.config import Config, InterfaceConfig, LimitsConfig, LogConfig
from ndpresponder.config.layers import Loaded, NothingToDo, load
from ndpresponder.config.settings import MetricsConfig
from ndpresponder.errors import ConfigError

A, B, C = IPv6Network("2001:db8:a::/64"), IPv6Network("2001:db8:b::/64"), IPv6Network("2001:db8:c::/64")
FILE = f"""\
version = 1
[log]
level = "error"
[limits]
rate = 5
burst = 6
[[interface]]
name = "one"
prefixes = ["{A}"]
exclude = ["2001:db8:a::1"]
dad = "ignore"
[[interface]]
name = "two"
prefixes = ["{B}"]
"""

Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return a function that loads FILE below an environment and flags."""
    monkeypatch.chdir(tmp_path)
    Path("f.toml").write_text(FILE)

    def read(environ: dict[str, str] | None = None, **flags: Any) -> Loaded:
        return load({"config": "f.toml", **flags}, environ or {}, Path("/nonexistent"))

    return read


def prefixes(loaded: Loaded) -> dict[str, tuple[IPv6Network, ...]]:
    return {uplink.name: uplink.prefixes for uplink in loaded.config.interfaces}


def refused(flags: dict[str, Any], environ: dict[str, str] | None = None, routes: str = "/nonexistent") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(flags, environ or {}, Path(routes))
    return list(raised.value.problems)


def test_the_canonical_flags_are_enough() -> None:
    expected = Config(interfaces=(InterfaceConfig("uplink", (IPv6Network("2001:db8::/112"),)),))
    assert expected == load({"prefix": ["2001:db8::/112"], "iface": ["uplink"]}, {}).config


def test_the_file_alone_is_read_whole(read: Read) -> None:
    expected = Config(
        interfaces=(
            InterfaceConfig("one", (A,), (IPv6Network("2001:db8:a::1"),), dad="ignore"),
            InterfaceConfig("two", (B,)),
        ),
        log=LogConfig(level="error"),
        limits=LimitsConfig(5, 6),
    )
    assert expected == read().config


@pytest.mark.parametrize(
    ("level", "environ", "flags"),
    [
        ("error", {}, {}),
        ("warning", {"NDPRESPONDER_LOG": "W"}, {}),
        ("error", {"NDPRESPONDER_LOG": ""}, {}),
        ("debug", {"NDPRESPONDER_LOG": "W"}, {"log.level": "debug"}),
    ],
)
def test_a_flag_goes_before_the_environment_before_the_file(
    level: str, environ: dict[str, str], flags: dict[str, str], read: Read
) -> None:
    assert level == read(environ, **flags).config.log.level


@pytest.mark.parametrize(
    ("expected", "environ", "flags"),
    [
        ({"two": (B,)}, {}, {"iface": ["two"]}),
        ({"three": (C,)}, {}, {"iface": ["three"], "prefix": [str(C)]}),
        ({"one": (C,), "two": (C,)}, {}, {"prefix": [str(C)]}),
        ({"one": (A,), "two": (C, A)}, {}, {"prefix": [f"{C}@two", f"{A}@two"]}),
        ({"one": (A,), "two": (B,), "three": (C,)}, {}, {"prefix": [f"{C}@three"]}),
        ({"two": (A,), "three": (A, C)}, {}, {"iface": ["two"], "prefix": [str(A), f"{C}@three"]}),
        ({"one": (C,)}, {"NDPRESPONDER_IFACE": "one", "NDPRESPONDER_PREFIX": str(C)}, {}),
        ({"one": (A,), "two": (C,)}, {"NDPRESPONDER_PREFIX": f"{C}@two"}, {}),
        ({"two": (B,), "one": (A,)}, {"NDPRESPONDER_IFACE": " two,\n,one "}, {}),
        ({"two": (C, A)}, {"NDPRESPONDER_IFACE": "one", "NDPRESPONDER_PREFIX": f"{C}, {A}"}, {"iface": ["two"]}),
        ({"one": (A,)}, {"NDPRESPONDER_PREFIX": str(C)}, {"iface": ["one"], "prefix": [str(A)]}),
        ({"one": (B,), "two": (C,)}, {"NDPRESPONDER_PREFIX": str(C)}, {"prefix": [f"{B}@one"]}),
        ({"one": (A,)}, {}, {"iface": ["one", "one"]}),
    ],
)
def test_uplinks_and_prefixes_are_merged(
    expected: dict[str, tuple[IPv6Network, ...]], environ: dict[str, str], flags: dict[str, Any], read: Read
) -> None:
    assert expected == prefixes(read(environ, **flags))


def test_an_uplink_chosen_by_flag_keeps_its_settings_of_the_file(read: Read) -> None:
    uplink = read(iface=["one"], prefix=[str(C)]).config.interfaces[0]
    assert InterfaceConfig("one", (C,), (IPv6Network("2001:db8:a::1"),), dad="ignore") == uplink


def test_an_exclusion_by_flag_replaces_those_of_the_file_for_its_uplink(read: Read) -> None:
    uplinks = read(exclude=["2001:db8:a::2@one"]).config.interfaces
    assert [(IPv6Network("2001:db8:a::2"),), ()] == [uplink.exclude for uplink in uplinks]


def test_a_setting_of_uplinks_given_by_flag_is_for_all_of_them(read: Read) -> None:
    loaded = read(prefix=["2001:db8::/32"], **{"interface.allow_wide": True})
    assert [uplink.allow_wide for uplink in loaded.config.interfaces] == [True, True]


@pytest.mark.parametrize(
    ("rate", "limits"), [("9", LimitsConfig(9, 6)), ("9/10", LimitsConfig(9, 10)), ("0", LimitsConfig(0, 6))]
)
def test_a_rate_by_flag_may_name_a_burst(rate: str, limits: LimitsConfig, read: Read) -> None:
    assert limits == read(rate=rate).config.limits


def test_metrics_of_a_file_can_be_turned_off_by_flag(read: Read) -> None:
    Path("f.toml").write_text(FILE + '[metrics]\nlisten = "[::1]:9846"\n')
    assert MetricsConfig("[::1]:9846") == read().config.metrics
    assert MetricsConfig("") == read(**{"metrics.listen": ""}).config.metrics


def test_the_environment_can_name_the_file(read: Read) -> None:
    assert read().config == load({}, {"NDPRESPONDER_CONFIG": "f.toml"}).config
    with pytest.raises(NothingToDo):
        load({"config": ""}, {"NDPRESPONDER_CONFIG": "f.toml"})


@pytest.mark.parametrize(
    ("messages", "flags", "environ"),
    [
        (
            ["flag --prefix: no uplink to answer for 2001:db8::/112 on; add --iface eth0"],
            {"prefix": ["2001:db8::/112"]},
            {},
        ),
        (
            ["flag --iface: 'eth0' has no prefix to answer for; add --prefix 2001:db8::/112 with your own prefix"],
            {"iface": ["eth0"]},
            {},
        ),
        (
            ["flag --prefix: 2001:db8::/32 is wider than /64; add --allow-wide if all of it lies behind this host"],
            {"prefix": ["2001:db8::/32@eth0"]},
            {},
        ),
        (
            ["flag --exclude: 'eth1' is not an uplink here; add --iface eth1"],
            {"iface": ["eth0"], "prefix": [str(A)], "exclude": [f"{B}@eth1"]},
            {},
        ),
        (
            ["flag --rate: -1 is less than 0; write a number from 0 to 10000000"],
            {"iface": ["eth0"], "prefix": [str(A)], "rate": "-1"},
            {},
        ),
    ],
)
def test_a_wrong_flag_or_variable(messages: list[str], flags: dict[str, Any], environ: dict[str, str]) -> None:
    assert sorted(messages) == sorted(refused(flags, environ))


def test_all_wrong_flags_and_variables_are_reported_at_once() -> None:
    flags = {
        "iface": ["a b"],
        "prefix": ["10.0.0.1", "2001:db8::1@"],
        "exclude": ["x"],
        "rate": "x",
        "metrics.listen": "x",
    }
    environ = {"NDPRESPONDER_LOG": "inof", "NDPRESPONDER_IFACE": "a/b"}
    assert [problem.partition(";")[0] for problem in refused(flags, environ)] == [
        "flag --iface: 'a b' is not an interface name: no slash, colon or space can be in one",
        "flag --prefix: '10.0.0.1' is IPv4",
        "flag --prefix: the interface name is empty",
        "flag --exclude: 'x' is not an IPv6 prefix",
        "flag --rate: 'x' is not N or N/BURST",
        "flag --metrics: 'x' is neither ADDR:PORT nor unix:PATH",
        "environment NDPRESPONDER_IFACE: 'a/b' is not an interface name: no slash, colon or space can be in one",
        "environment NDPRESPONDER_LOG: 'inof' is not one of debug, info, warning, error",
    ]


def test_problems_of_a_file_come_in_the_order_of_its_lines(read: Read) -> None:
    Path("f.toml").write_text(FILE.replace('"2001:db8:a::1"', '"x"').replace("rate = 5", "rat = 5"))
    with pytest.raises(ConfigError) as raised:
        read(**{"log.format": "x"})
    assert [problem.partition(": ")[0] for problem in raised.value.problems] == [
        "flag --log-format",
        "f.toml:5",
        "f.toml:10",
    ]


@pytest.mark.parametrize("flags", [{}, {"log.level": "debug"}, {"dry_run": True}])
def test_nothing_to_do_is_a_mistake_of_use(flags: dict[str, Any]) -> None:
    with pytest.raises(NothingToDo, match="ndpresponder --prefix 2001:db8::/112 --iface eth0") as raised:
        load(flags, {}, Path("/nonexistent"))
    assert raised.value.exit_code == 2


def test_the_uplink_of_the_default_route_is_suggested(tmp_path: Path) -> None:
    zero, gateway = "0" * 32, "20010db8" + "0" * 23 + "1"
    rows = (
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo",
        f"{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003     wan9",
        f"{zero} 00 {zero} 00 {gateway} 00000064 00000001 00000000 00000003      wan",
        f"{zero} 00 {zero} 00 {zero} 00000001 00000001 00000000 00000200  unreachable",
    )
    (tmp_path / "routes").write_text("\n".join(rows) + "\n")
    expected = "no uplink to answer for 2001:db8::/112 on; add --iface wan, where this host's IPv6 default route leads"
    assert [f"flag --prefix: {expected}"] == refused({"prefix": ["2001:db8::/112"]}, routes=str(tmp_path / "routes"))


@pytest.mark.parametrize("content", [b"", b"x y\n", b"g" * 32, b"\0", b"\xff"])
def test_routes_that_cannot_be_read_suggest_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "routes").write_bytes(content)
    (problem,) = refused({"prefix": ["2001:db8::/112"]}, routes=str(tmp_path / "routes"))
    assert problem.endswith("; add --iface eth0")


@pytest.mark.parametrize(
    ("warnings", "flags"),
    [
        ([], {"prefix": ["2001:db8::/64", "2001:db8:0:1::/64"]}),
        ([f"flag --prefix: {A} stands twice; leave one out"], {"prefix": [str(A), str(A)]}),
        (
            ["flag --prefix: 2001:db8:a::/112 lies within 2001:db8:a::/64; leave the narrower one out"],
            {"prefix": ["2001:db8:a::/112", str(A)]},
        ),
        ([], {"prefix": [str(A), "2001:db8:a::1"]}),  # a live host in a claimed prefix means something
        (
            ["flag --exclude: 2001:db8::1/128 lies in no prefix of the uplink; leave it out"],
            {"prefix": [str(A)], "exclude": ["2001:db8::1"]},
        ),
        (
            [f"flag --exclude: ::/0 excludes all of {A}; leave one of the two out"],
            {"prefix": [str(A)], "exclude": ["::/0"]},
        ),
    ],
)
def test_what_is_pointless_is_a_warning(warnings: list[str], flags: dict[str, Any]) -> None:
    assert warnings == [str(warning) for warning in load({"iface": ["eth0"], **flags}, {}).warnings]


def test_a_warning_about_a_file_names_the_line(read: Read) -> None:
    Path("f.toml").write_text(f'version = 1\n[[interface]]\nname = "a"\nprefixes = [\n "{A}",\n "{A}"]\n')
    expected = f"f.toml:6: interface[0].prefixes[1]: {A} stands twice; leave one out"
    assert [expected] == [str(warning) for warning in read().warnings]
