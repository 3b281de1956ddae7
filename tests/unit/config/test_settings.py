"""Every declared setting can be written, read back, found in the reference file and in --help."""

import dataclasses
import re
import tomllib
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from ndpresponder.config import Config, InterfaceConfig, LimitsConfig, LogConfig
from ndpresponder.config.declaration import Key, keys
from ndpresponder.config.layers import load
from ndpresponder.config.settings import DockerSourceConfig, MetricsConfig, SourcesConfig, leaves

REFERENCE = Path(__file__).parents[3] / "systemd/ndpresponder.toml"
WHOLE = re.sub(r"(?m)^#(?! |$)", "", REFERENCE.read_text())  # the tables of sources stand there as comments
ALL = list(leaves())
each_setting = pytest.mark.parametrize(("path", "key"), ALL, ids=[".".join(path) for path, _ in ALL])


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree[0][step] if isinstance(tree, list) else tree[step]
    return tree


@each_setting
def test_a_setting_stands_in_the_reference_file_with_its_default_and_meaning(path: tuple[str, ...], key: Key) -> None:
    value = at(tomllib.loads(WHOLE), path)
    lines = WHOLE.splitlines()
    table = next((number for number, line in enumerate(lines) if line.strip("[]") == ".".join(path[:-1])), -1)
    number = next(number for number, line in enumerate(lines) if number > table and line.startswith(f"{key.name} = "))
    comment = " ".join(
        line.lstrip("# ") for line in re.findall(r"(?m)^#.*", "\n".join(lines[:number]).split("\n\n")[-1])
    )
    assert len(comment) > 20
    if key.required:
        assert "It must be written." in comment
    else:
        default = list(key.default) if key.many else key.default
        assert value == default or f"Default: {str(default) or chr(34) * 2}." in comment
    for flag in key.flags[-1:]:
        assert f"Flag: {flag}" in comment
    assert key.env in comment
    if get_origin(key.kind) is Literal:
        assert [word for word in get_args(key.kind) if f'"{word}"' not in comment and word != value] == []


@pytest.mark.parametrize(
    "word",
    ["--iface", "--prefix", "--exclude", "--rate", "NDPRESPONDER_IFACE", "NDPRESPONDER_PREFIX", "NDPRESPONDER_CONFIG"],
)
def test_what_no_single_setting_declares_stands_in_the_reference_file_as_well(word: str) -> None:
    assert word in REFERENCE.read_text()


def test_the_reference_file_with_all_its_tables_is_valid(tmp_path: Path) -> None:
    (tmp_path / "whole.toml").write_text(WHOLE)
    loaded = load({"config": str(tmp_path / "whole.toml")}, {})
    assert loaded.warnings == ()
    assert loaded.config.sources.docker == (DockerSourceConfig(("ipv6exposed",)),)


def test_the_reference_file_is_valid() -> None:
    loaded = load({"config": str(REFERENCE)}, {})
    assert ("eth0", (IPv6Network("2001:db8::/112"),)) == (
        loaded.config.interfaces[0].name,
        loaded.config.interfaces[0].prefixes,
    )
    assert loaded.warnings == ()


@each_setting
def test_a_default_passes_its_own_check(path: tuple[str, ...], key: Key) -> None:
    if not key.required and not key.many:
        assert key.default == key.parse(key.default)


def test_every_field_declares_a_setting() -> None:
    tables = (Config, LogConfig, MetricsConfig, LimitsConfig, InterfaceConfig, SourcesConfig, DockerSourceConfig)
    for table in tables:
        assert {field.name for field in dataclasses.fields(table)} == {key.attribute for key in keys(table).values()}
