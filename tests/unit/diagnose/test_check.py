"""`check` shows what is in effect and where it came from, and says what this host shows about it."""

import json
import socket
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_link import LINK

from ndpresponder.diagnose.check import main
from ndpresponder.linux.netlink import Link, Links

HOST: dict[str, Link] = {
    "eth0": replace(LINK, subnets=frozenset({(0x20010DB8 << 96, 64)})),
    "tun0": replace(LINK, name="tun0", index=8, hardware_type=65534),
}
OTHERS = "other hosts live there: claim a narrower prefix, exclude them, or use verify"
AUTOMATICALLY = "excluded automatically: nothing to do"

Check = Callable[..., int]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return a function that checks flags on a host with an Ethernet eth0, a gateway there and a tunnel tun0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(7, "eth0"), (8, "tun0")])
    monkeypatch.setattr("ndpresponder.diagnose.check.troubles_on", lambda *_: [])

    def run(host: dict[str, Link] = HOST, environ: dict[str, str] | None = None, **flags: Any) -> int:
        def present(names: Iterable[str]) -> Links:
            return {name: host.get(name) for name in names} if host else {}

        monkeypatch.setattr("ndpresponder.diagnose.check.present", present)
        options = {"json": False, "quiet": False, **flags}
        return main(Namespace(**options), environ or {})

    return run


def test_every_value_is_shown_with_its_origin(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.toml").write_text(
        "version = 1\n[[interface]]\nname = 'eth0'\nprefixes = [\n'2001:db8:1::/64', # one\n'2001:db8:2::5']\n"
    )
    flags = {"log.level": "debug", "metrics.listen": "unix:/run/ü"}
    assert check(config="f.toml", environ={"NDPRESPONDER_LOG_FORMAT": "json"}, **flags) == 0
    assert capsys.readouterr() == (
        """\
version = 1
dry_run = false                         # default
install_routes = false                  # default

[log]
level = "debug"                         # flag --log-level
format = "json"                         # environment NDPRESPONDER_LOG_FORMAT

[metrics]
listen = "unix:/run/ü"                  # flag --metrics

[control]
socket = "/run/ndpresponder/control.sock" # default

[limits]
rate = 0                                # default
burst = 400                             # default

[[interface]]
name = "eth0"                           # f.toml:3
prefixes = [
    "2001:db8:1::/64",                  # f.toml:5
    "2001:db8:2::5/128",                # f.toml:6
]
exclude = []                            # default
allow_wide = false                      # default
router_flag = "auto"                    # default
override = "auto"                       # default
unicast = "always"                      # default
dad = "live"                            # default
announce = "live"                       # default
take_over = false                       # default
gateway_keepalive = "auto"              # default
pin_gateway = false                     # default
mld_source = "linklocal"                # default
mld_router = "auto"                     # default
verify = false                          # default
fastpath = "off"                        # default
""",
        "",
    )


def test_json_holds_the_tree_the_origins_and_the_warnings(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(iface=["eth9"], prefix=["2001:db8:1::/64"], json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(report) == ["configuration", "origins", "valid", "warnings"]
    assert report["valid"] is True
    assert report["configuration"]["version"] == 1
    assert report["configuration"]["interface"][0]["prefixes"] == ["2001:db8:1::/64"]
    assert report["origins"]["interface[0].prefixes"] == "flag --prefix"
    assert report["origins"]["log.level"] == "default"
    assert report["warnings"] == [
        "flag --iface: there is no interface 'eth9' now; ndpresponder waits for it; did you mean eth0?"
    ]


def test_problems_go_to_standard_error(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(iface=["eth0"], prefix=["::/0"], exclude=["x"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["flag --prefix", "flag --exclude"]


def test_problems_are_json_when_asked(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(iface=["eth0"], prefix=["hello"], json=True) == 78
    message = "flag --prefix: 'hello' is not an IPv6 prefix; write one such as \"2001:db8::/112\""
    assert json.loads(capsys.readouterr().out) == {"valid": False, "problems": [message]}


def test_quiet_prints_errors_only(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(iface=["eth9"], prefix=["2001:db8::/64"], quiet=True) == 0
    assert capsys.readouterr() == ("", "")
    assert check(iface=["eth9"], prefix=["x"], quiet=True) == 78
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("warnings", "flags"),
    [
        ([], {"iface": ["eth0"], "prefix": ["2001:db8:1::/64"]}),
        (
            ["flag --prefix: 2001:db8::/127 covers its default gateway 2001:db8::1 on 'eth0'; " + AUTOMATICALLY],
            {"iface": ["eth0"], "prefix": ["2001:db8::/127"]},
        ),
        (
            ["flag --prefix: 2001:db8::2/127 covers its own address 2001:db8::2 on 'eth0'; " + AUTOMATICALLY],
            {"iface": ["eth0"], "prefix": ["2001:db8::2/127"]},
        ),
        ([], {"iface": ["eth0"], "prefix": ["2001:db8::/66"], "exclude": ["2001:db8::1", "2001:db8::2"]}),
        *(
            (
                [f"flag --prefix: {prefix} covers 2001:db8::/64, the prefix of the link of 'eth0' itself; " + OTHERS],
                {"iface": ["eth0"], "prefix": [prefix], "exclude": ["2001:db8::/127", "2001:db8::2"]} | more,
            )
            for prefix, more in (("2001:db8::/64", {}), ("2001:db8::/60", {"interface.allow_wide": True}))
        ),
        (["flag --iface: there is no interface 'wan' now; ndpresponder waits for it"], {"iface": ["wan"]}),
    ],
)
def test_the_host_gives_warnings(
    warnings: list[str], flags: dict[str, Any], check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(**{"prefix": ["2001:db8:1::/64"], **flags}) == 0
    assert [f"warning: {warning}" for warning in warnings] == capsys.readouterr().err.splitlines()


def test_an_uplink_that_is_not_ethernet_is_refused(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(iface=["tun0"], prefix=["2001:db8:1::/64"]) == 78
    message = "interface 'tun0' is not Ethernet (hardware type 65534): nobody solicits neighbors there; "
    assert capsys.readouterr().err == f"{message}name the interface towards the router\n"


def test_a_followed_bridge_with_the_prefix_of_the_uplink_is_a_warning(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    host = {**HOST, "br0": replace(LINK, name="br0", index=9, subnets=HOST["eth0"].subnets)}
    assert check(host=host, iface=["eth0"], **{"source.bridge.name": ["br0"]}) == 0
    fault = "2001:db8::/64 covers 2001:db8::/64, the prefix of the link of 'eth0' itself"
    assert capsys.readouterr().err == f"warning: flag --bridge: {fault}; {OTHERS}\n"


def test_a_host_that_shows_nothing_gives_no_warning(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(host={}, iface=["eth0"], prefix=["2001:db8::/64"]) == 0
    assert capsys.readouterr().err == ""
