"""Settings read back as they were written, and no input ends in anything but a tree or printable problems."""

import string
import tomllib
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.config import Config, InterfaceConfig, LimitsConfig, LogConfig
from ndpresponder.config.checks import judge
from ndpresponder.config.declaration import keys
from ndpresponder.config.draft import Table, build
from ndpresponder.config.layers import load
from ndpresponder.config.problem import Problem
from ndpresponder.config.render import as_data, as_toml
from ndpresponder.config.settings import (
    DockerSourceConfig,
    MetricsConfig,
    RoutesSourceConfig,
    SourcesConfig,
    leaves,
)
from ndpresponder.config.toml_file import parse
from ndpresponder.errors import ConfigError

names = st.text(string.ascii_letters + string.digits + "-_.é", min_size=1, max_size=7).filter(
    lambda name: name not in (".", "..")
)
exclusions = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
prefixes = st.builds(
    lambda address, length: IPv6Network((address | 0x2 << 124, length), strict=False),
    st.integers(0, 2**124 - 1),
    st.integers(4, 128),
)
network_names = st.text(min_size=1, max_size=9).filter(lambda name: name.isprintable() and name == name.strip())
ports = st.integers(1, 65535)
sockets = st.text(min_size=1, max_size=20).filter(str.isprintable)
listens = st.just("") | ports.map("[::1]:{}".format) | ports.map("0.0.0.0:{}".format) | sockets.map("unix:/{}".format)


def words(table: type[Any], name: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(keys(table)[name].kind))


interfaces = st.builds(
    InterfaceConfig,
    name=names,
    prefixes=st.lists(prefixes, min_size=1, max_size=4).map(tuple),
    exclude=st.lists(exclusions, max_size=3).map(tuple),
    allow_wide=st.just(True),
    router_flag=words(InterfaceConfig, "router_flag"),
    override=words(InterfaceConfig, "override"),
    unicast=words(InterfaceConfig, "unicast"),
    dad=words(InterfaceConfig, "dad"),
)
dockers = st.builds(
    DockerSourceConfig,
    networks=st.lists(network_names, min_size=1, max_size=3).map(tuple),
    url=sockets.map("unix:///{}".format),
)
routes = st.builds(
    RoutesSourceConfig,
    within=st.lists(prefixes, max_size=2).map(tuple),
    tables=st.lists(st.integers(1, 2**32 - 1), max_size=2).map(tuple),
    through=st.lists(names, max_size=2).map(tuple),
)
configs = st.builds(
    Config,
    interfaces=st.lists(interfaces, min_size=1, max_size=3, unique_by=lambda each: each.name).map(tuple),
    log=st.builds(LogConfig, level=words(LogConfig, "level"), format=words(LogConfig, "format")),
    metrics=st.builds(MetricsConfig, listen=listens),
    limits=st.builds(LimitsConfig, rate=st.integers(0, 10**7), burst=st.integers(1, 10**7)),
    sources=st.builds(
        SourcesConfig, docker=st.lists(dockers, max_size=2, unique=True).map(tuple), routes=st.none() | routes
    ),
    dry_run=st.booleans(),
)


def read_back(document: str) -> Config:
    problems: list[Problem] = []
    draft = parse(document.encode(), "f.toml", problems)
    judge(draft, problems, [])
    assert problems == []
    return build(Config, draft)


@given(configs)
def test_a_rendered_configuration_reads_back_to_the_same_tree(config: Config) -> None:
    document = as_toml(config, Table())
    assert config == read_back(document)
    data, origins = as_data(config, Table())
    assert tomllib.loads(document) == data
    assert set(origins.values()) == {"default"}


@given(configs)
def test_reading_and_rendering_with_origins_changes_nothing(config: Config) -> None:
    problems: list[Problem] = []
    draft = parse(as_toml(config, Table()).encode(), "a\nb.toml", problems)
    assert config == read_back(as_toml(build(Config, draft), draft))


raw = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.dates() | st.text() | st.sampled_from(["auto", "eth0", "::/0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*keys(InterfaceConfig), "x"]), inner),
    max_leaves=6,
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value if not 0xD800 <= ord(letter) < 0xE000) + '"'
    return str(value).lower()


@given(st.dictionaries(st.sampled_from([*keys(Config), "version", "x"]), raw))
def test_any_valid_toml_ends_in_a_tree_or_in_printable_problems(
    tmp_path_factory: Any, document: dict[str, Any]
) -> None:
    source = "\n".join(f"{key} = {toml(value)}" for key, value in document.items())
    tomllib.loads(source)
    ends_well(tmp_path_factory, source.encode())


@given(st.binary() | st.text(alphabet="[]{}=.,\"'#\n\\ a1-:").map(str.encode))
def test_any_bytes_end_in_a_tree_or_in_printable_problems(tmp_path_factory: Any, content: bytes) -> None:
    ends_well(tmp_path_factory, content)


def ends_well(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    assert all(problem.isprintable() for problem in problems_of({"config": str(file)}))


flags = st.sampled_from([".".join(path) for path, key in leaves() if key.flags] + ["rate"])


@given(st.dictionaries(flags, st.text()), st.lists(st.text()))
def test_any_flags_end_in_a_tree_or_in_printable_problems(some: dict[str, str], many: list[str]) -> None:
    problems = problems_of({"iface": ["a"], "prefix": many, "exclude": many[1:], **some})
    assert all(problem.isprintable() for problem in problems)


def problems_of(options: dict[str, Any]) -> tuple[str, ...]:
    try:
        load(options, {}, Path("/nonexistent"))
    except ConfigError as error:
        return error.problems
    return ()
