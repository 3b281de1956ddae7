"""What the guide to the sources shows as configuration is one."""

import re
from pathlib import Path

import pytest

from ndpresponder.cli.commands import parser_of
from ndpresponder.config.layers import load
from ndpresponder.targets import sources

README = Path(sources.__file__).parent / "README.md"
BLOCKS = re.findall(r"^ {4}\[{1,2}source.*\n(?: {4}.*\n)*", README.read_text(), re.MULTILINE)
KINDS = {"docker", "bridge", "routes", "file", "wireguard"}


def test_there_is_one_for_each_source() -> None:
    assert {re.findall(r"\w+", block)[1] for block in BLOCKS} == KINDS


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0].strip("[]"))
def test_an_example_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('version = 1\n[[interface]]\nname = "eth0"\n' + re.sub("^ {4}", "", block, flags=re.MULTILINE))
    config = load(vars(parser_of().parse(["-c", str(path)])), {}, Path("/nonexistent")).config
    kind = re.findall(r"\w+", block)[1]
    assert getattr(config.sources, kind), kind
