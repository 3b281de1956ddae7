"""Networks of container engines by flag, environment and file, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

from ndpresponder.config import Config
from ndpresponder.config.layers import load
from ndpresponder.config.settings import DockerSourceConfig
from ndpresponder.errors import ConfigError

UPLINK = {"iface": ["uplink"]}
PODMAN = "unix:///run/podman/podman.sock"
FILE = f"""\
version = 1
[[interface]]
name = "uplink"
[[source.docker]]
networks = ["web", "db"]
[[source.docker]]
networks = ["*"]
url = "{PODMAN}"
"""


def loaded(flags: dict[str, Any], environ: dict[str, str] | None = None) -> Config:
    return load(flags, environ or {}, Path("/nonexistent")).config


def refused(flags: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(flags, environ)
    return list(raised.value.problems)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    Path("f.toml").write_text(FILE)
    return {"config": "f.toml"}


def test_an_uplink_needs_no_prefix_where_a_network_is_followed() -> None:
    config = loaded(UPLINK | {"source.docker.networks": ["web", "db", "web"]})
    assert config.interfaces[0].prefixes == ()
    assert config.sources.docker == (DockerSourceConfig(("web", "db")),)


@pytest.mark.parametrize(
    ("url", "flags", "environ"),
    [
        ("unix:///var/run/docker.sock", {}, {}),
        (PODMAN, {}, {"DOCKER_HOST": PODMAN}),
        (PODMAN, {}, {"DOCKER_HOST": "unix:/run/podman/podman.sock"}),
        ("unix:///a", {"source.docker.url": "unix:///a"}, {"DOCKER_HOST": PODMAN}),
    ],
)
def test_the_socket_comes_from_flag_or_environment(url: str, flags: dict[str, Any], environ: dict[str, str]) -> None:
    config = loaded(UPLINK | {"source.docker.networks": ["web"]} | flags, environ)
    assert config.sources.docker == (DockerSourceConfig(("web",), url),)


def test_the_variable_of_dockers_own_command_does_not_outdo_the_file(file: dict[str, Any]) -> None:
    assert loaded(file, {"DOCKER_HOST": "unix:///d"}).sources.docker == (
        DockerSourceConfig(("web", "db"), "unix:///d"),
        DockerSourceConfig(("*",), PODMAN),
    )


def test_networks_by_flag_replace_those_of_the_file(file: dict[str, Any]) -> None:
    assert loaded(file | {"source.docker.networks": ["x"]}).sources.docker == (DockerSourceConfig(("x",)),)


def test_a_variable_is_nobodys_business_where_no_network_is_followed() -> None:
    flags = UPLINK | {"prefix": ["2001:db8::/64"]}
    assert loaded(flags, {"DOCKER_HOST": "tcp://example.com:2375"}).sources.docker == ()


NOT_A_SOCKET = (
    "'tcp://[::1]:2375' is not the URL of a unix socket; "
    "write unix:///var/run/docker.sock or unix:///run/podman/podman.sock"
)


@pytest.mark.parametrize(
    ("problem", "flags", "environ"),
    [
        ("flag --docker-network: no uplink to answer on; add --iface eth0", {"iface": []}, {}),
        ("flag --docker-url: " + NOT_A_SOCKET, {"source.docker.url": "tcp://[::1]:2375"}, {}),
        ("environment DOCKER_HOST: " + NOT_A_SOCKET, {}, {"DOCKER_HOST": "tcp://[::1]:2375"}),
        (
            (
                "flag --docker-network: ' ' is not the name of a network; "
                'write a name `docker network ls` shows, or "*" for all'
            ),
            {"source.docker.networks": [" "]},
            {},
        ),
        (
            "flag --docker-url: there is no docker source to set this for; leave it out, or say what to follow",
            {"source.docker.networks": None, "source.docker.url": PODMAN, "prefix": ["2001:db8::/64"]},
            {},
        ),
    ],
)
def test_what_is_wrong_is_said(problem: str, flags: dict[str, Any], environ: dict[str, str]) -> None:
    assert [problem] == refused(UPLINK | {"source.docker.networks": ["web"]} | flags, environ)


@pytest.mark.parametrize(
    ("problem", "table"),
    [
        ('f.toml:9: source.docker[2].networks: missing; write networks = ["ipv6exposed"] in the table', ""),
        ('f.toml:10: source.docker[2].networks: is empty; write networks = ["ipv6exposed"]', "networks = []"),
        ("f.toml:9: source.docker[2]: says what f.toml:4 says; leave one out", 'networks = ["web", "db"]'),
        (
            "f.toml:10: source.docker[2].network: unknown key; did you mean networks?",
            'network = ["web"]\nnetworks = ["a"]',
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_line(problem: str, table: str, file: dict[str, Any]) -> None:
    Path("f.toml").write_text(f"{FILE}[[source.docker]]\n{table}\n")
    assert [problem] == refused(file)


def test_a_key_outside_its_table_is_sent_there(file: dict[str, Any]) -> None:
    Path("f.toml").write_text(FILE.replace("version = 1", 'version = 1\nnetworks = ["web"]'))
    assert refused(file) == ["f.toml:2: networks: unknown key; it belongs into [[source.docker]]"]
