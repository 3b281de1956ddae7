"""`check` shows what is in effect and where it came from, and says what this host shows about it."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ndpresponder.config.host import Host
from ndpresponder.diagnose.check import main

ROUTES = """\
{zero} 00 {zero} 00 20010db8000000000000000000000001 00000400 00000001 00000000 00000003      eth0
{zero} 00 {zero} 00 fe800000000000000000000000000001 00000800 00000001 00000000 00000003      eth0
20010db8000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001      eth0
""".format(zero="0" * 32)
ADDRESSES = """\
20010db8000000000000000000000002 02 40 00 80     eth0
fe8000000000000000000000000000aa 02 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""
OTHERS = "other hosts live there: claim a narrower prefix, exclude them, or use verify"
AUTOMATICALLY = "excluded automatically: nothing to do"
ROUTER = "name the interface towards the router"

Check = Callable[..., int]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return a function that checks flags on a host with an Ethernet eth0, a gateway there and a tunnel tun0."""
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ipv6_route").write_text(ROUTES)
    (tmp_path / "proc/net/if_inet6").write_text(ADDRESSES)
    for name, kind in (("eth0", 1), ("lo", 772), ("tun0", 65534)):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "type").write_text(f"{kind}\n")
    monkeypatch.chdir(tmp_path)

    def run(host: str = str(tmp_path), environ: dict[str, str] | None = None, **flags: Any) -> int:
        options = {"json": False, "quiet": False, **flags}
        return main(Namespace(**options), environ or {}, Host(host))

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
        (["flag --iface: 'tun0' is not an Ethernet interface (link type 65534); " + ROUTER], {"iface": ["tun0"]}),
        (["flag --iface: there is no interface 'wan' now; ndpresponder waits for it"], {"iface": ["wan"]}),
    ],
)
def test_the_host_gives_warnings(
    warnings: list[str], flags: dict[str, Any], check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(**{"prefix": ["2001:db8:1::/64"], **flags}) == 0
    assert [f"warning: {warning}" for warning in warnings] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("content", ["", "x y\n", "g" * 32, "\0"])
def test_a_host_that_shows_nothing_gives_no_warning(
    content: str, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ipv6_route", "if_inet6"):
        (tmp_path / "proc/net" / name).write_text(content)
    assert check(iface=["eth0"], prefix=["2001:db8::/64"]) == 0
    assert check(host="/nonexistent", iface=["eth0"], prefix=["2001:db8::/64"]) == 0
    assert capsys.readouterr().err == ""
