"""Files of addresses, WireGuard interfaces and verification, as flags and as tables."""

from pathlib import Path

import pytest

from ndpresponder.config import Config
from ndpresponder.config.layers import load
from ndpresponder.config.settings import FileSourceConfig, WireguardSourceConfig
from ndpresponder.errors import ConfigError

UPLINK = {"iface": ["eth0"]}
FILE = """\
version = 1
[[interface]]
name = "eth0"
verify = true
[[source.file]]
path = "/a"
[[source.wireguard]]
name = "wg0"
"""


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "f.toml").write_text(FILE)
    return {"config": str(tmp_path / "f.toml")}


def loaded(options: dict[str, object]) -> Config:
    return load(options, {}).config


def test_a_table_is_one_source_and_an_uplink_needs_no_prefix_beside_it(written: dict[str, str]) -> None:
    config = loaded({**written})
    assert config.sources.file == (FileSourceConfig("/a"),)
    assert config.sources.wireguard == (WireguardSourceConfig("wg0"),)
    assert config.interfaces[0].verify


def test_each_flag_is_one_source_in_place_of_the_files(written: dict[str, str]) -> None:
    config = loaded({**written, "source.file.path": ["/b", "/c", "/b"], "source.wireguard.name": ["wg1"]})
    assert config.sources.file == (FileSourceConfig("/b"), FileSourceConfig("/c"))
    assert config.sources.wireguard == (WireguardSourceConfig("wg1"),)


def test_verify_is_for_all_uplinks() -> None:
    config = loaded({"iface": ["eth0", "eth1"], "prefix": ["2001:db8::/112"], "interface.verify": True})
    assert [interface.verify for interface in config.interfaces] == [True, True]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (
            "addresses",
            "'addresses' is not an absolute path; begin it with a slash, such as /etc/ndpresponder/addresses",
        ),
        ("", "'' is not an absolute path; begin it with a slash, such as /etc/ndpresponder/addresses"),
        ("/etc/", "'/etc/' names a directory; name the file in it"),
    ],
)
def test_a_path_that_cannot_be_one_is_refused(path: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded({**UPLINK, "source.file.path": [path]})
    assert raised.value.problems == (f"flag --address-file: {why}",)
