"""Bridges and routes by flag and file, and what is wrong with them."""

from ipaddress import IPv6Network
from pathlib import Path

import pytest

from ndpresponder.cli.commands import parser_of
from ndpresponder.config import Config
from ndpresponder.config.layers import load
from ndpresponder.config.settings import RoutesSourceConfig
from ndpresponder.errors import ConfigError
from ndpresponder.targets.sources import build_sources
from ndpresponder.targets.sources.temporary import TemporaryPrefixes

FILE = """\
version = 1
[[interface]]
name = "eth0"
[[source.bridge]]
name = "br0"
[source.routes]
within = ["2001:db8::/32"]
tables = [254, 100]
protocols = [4]
through = ["gre1"]
"""


def loaded(*flags: str) -> Config:
    return load(vars(parser_of().parse(flags)), {}, Path("/nonexistent")).config


def nets(*texts: str) -> tuple[IPv6Network, ...]:
    return tuple(map(IPv6Network, texts))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "f.toml"
    path.write_text(FILE)
    return str(path)


@pytest.mark.parametrize(
    ("expected", "flags"),
    [
        (None, ["-n", "2001:db8::/112"]),
        (RoutesSourceConfig(), ["--routes"]),
        (RoutesSourceConfig(nets("2001:db8::/48")), ["--routes", "2001:db8::/48"]),
        (RoutesSourceConfig(nets("2001:db8::/48", "fd00::/8")), ["--routes", "2001:db8::/48,fd00::/8"]),
        (RoutesSourceConfig(nets("2001:db8::/48", "fd00::/8")), ["--routes=2001:db8::/48", "--routes=fd00::/8"]),
    ],
)
def test_routes_are_followed_when_they_are_asked_for(expected: RoutesSourceConfig | None, flags: list[str]) -> None:
    assert expected == loaded("-i", "eth0", *flags).sources.routes


def test_a_file_says_which_routes(file: str) -> None:
    expected = RoutesSourceConfig(nets("2001:db8::/32"), (254, 100), (4,), ("gre1",))
    assert expected == loaded("-c", file).sources.routes


def test_a_flag_replaces_the_prefixes_of_the_file_and_leaves_the_rest(file: str) -> None:
    expected = RoutesSourceConfig(nets("2001:db8:1::/48"), (254, 100), (4,), ("gre1",))
    assert expected == loaded("-c", file, "--routes", "2001:db8:1::/48").sources.routes


def test_bridges_by_flag_replace_those_of_the_file(file: str) -> None:
    config = loaded("-c", file, "-b", "br1", "-b", "br2")
    assert [each.name for each in config.sources.bridge] == ["br1", "br2"]


def test_each_is_a_source_for_all_uplinks(file: str) -> None:
    sources = build_sources(loaded("-c", file), TemporaryPrefixes(lambda *_: None, lambda: 0.0))
    made = [(each.source.kind, each.source.name, each.source.uplinks) for each in sources.values()]
    assert made == [
        ("static", "eth0", frozenset({"eth0"})),
        ("temporary", "eth0", frozenset({"eth0"})),
        ("bridge", "br0", None),
        ("routes", "kernel", None),
    ]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["-b", "eth0"],
            "flag --bridge: 'eth0' is an uplink: its neighbors do not lie behind this host; name the ",
        ),
        (["--routes", "10.0.0.0/8"], "flag --routes: '10.0.0.0/8' is IPv4; "),
        (["--routes", "2001:db8::1/48"], "flag --routes: '2001:db8::1/48' has host bits set; "),
        (["--routes", "::/0"], "flag --routes: '::/0' is every address there is"),
        (["--routes", "fe80::/10"], "flag --routes: 'fe80::/10' is link-local; "),
        (["--routes", "ff00::/8"], "flag --routes: 'ff00::/8' is multicast; "),
        (["-b", "br/0"], "flag --bridge: 'br/0' is not an interface name"),
    ],
)
def test_what_is_wrong_is_said(flags: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded("-i", "eth0", *flags)
    assert [found.startswith(problem) for found in raised.value.problems] == [True]


@pytest.mark.parametrize(
    ("key", "value"), [("tables", "[0]"), ("protocols", "[256]"), ("through", '["a b"]'), ("within", '["x"]')]
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(f'version = 1\n[[interface]]\nname = "eth0"\n[source.routes]\n{key} = {value}\n')
    with pytest.raises(ConfigError) as raised:
        loaded("-c", str(path))
    (problem,) = raised.value.problems
    assert problem.startswith(f"{path}:5: source.routes.{key}[0]: ")
