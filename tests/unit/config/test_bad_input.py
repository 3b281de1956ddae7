"""Every mistake in a configuration file ends in one exact line: where, which key, what is wrong, what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ndpresponder.config.layers import load
from ndpresponder.errors import ConfigError

HEAD = "version = 1\n"
UPLINK = '[[interface]]\nname = "eth0"\nprefixes = ["2001:db8::/112"]\n'
KNOWN_HERE = (
    "known here: name, prefixes, exclude, allow_wide, router_flag, override, unicast, dad, "
    "announce, take_over, gateway_keepalive, pin_gateway, mld_source, mld_router, verify, fastpath"
)

KEYS = (
    ("allow_wide = 1", ("allow_wide: must be true or false, not an integer; write true or false, without quotes",)),
    ('allow_wide = "yes"', ("allow_wide: must be true or false, not text; write true or false, without quotes",)),
    ('unicast = "alway"', ("unicast: 'alway' is not one of always, live, never; did you mean \"always\"?",)),
    ('unicast = "sometimes"', ("unicast: 'sometimes' is not one of always, live, never; write one of these words",)),
    ("dad = true", ('dad: must be text, not a boolean; write it in quotes, such as "live"',)),
    ("prefxes = []", ("prefxes: unknown key; did you mean prefixes?",)),
    ("rate = 5", ("rate: unknown key; it belongs into [limits]",)),
    ("zzz = 1", ("zzz: unknown key; " + KNOWN_HERE,)),
    ('exclude = "2001:db8::1"', ('exclude: must be an array, not text; write exclude = ["2001:db8::1"]',)),
    ("exclude = 7", ("exclude: must be an array, not an integer; write it in square brackets",)),
    ("exclude = [7]", ('exclude[0]: must be text, not an integer; write it in quotes, such as "2001:db8::/112"',)),
    (
        "exclude = [true, []]",
        (
            'exclude[0]: must be text, not a boolean; write it in quotes, such as "2001:db8::/112"',
            'exclude[1]: must be text, not an array; write it in quotes, such as "2001:db8::/112"',
        ),
    ),
    (
        "exclude = [{}, 1979-05-27, 1.5]",
        (
            'exclude[0]: must be text, not a table; write it in quotes, such as "2001:db8::/112"',
            'exclude[1]: must be text, not a date or time; write it in quotes, such as "2001:db8::/112"',
            'exclude[2]: must be text, not a float; write it in quotes, such as "2001:db8::/112"',
        ),
    ),
    (
        'exclude = ["2001:db8::1/112", "x"]',
        (
            (
                "exclude[0]: '2001:db8::1/112' has host bits set; "
                "write 2001:db8::/112 for the whole prefix, or 2001:db8::1/128 for this one address"
            ),
            "exclude[1]: 'x' is not an IPv6 prefix; write one such as \"2001:db8::/112\"",
        ),
    ),
    ('"a\\nb" = 1', ("a\\nb: unknown key; " + KNOWN_HERE,)),
)

DOCUMENTS = (
    (UPLINK, ("f.toml:1: version: missing; write version = 1 as the first line",)),
    ("version = 2\n" + UPLINK, ("f.toml:1: version: must be 1, the only version there is; write version = 1",)),
    ('version = "1"\n' + UPLINK, ("f.toml:1: version: must be 1, the only version there is; write version = 1",)),
    ("version = true\n" + UPLINK, ("f.toml:1: version: must be 1, the only version there is; write version = 1",)),
    (HEAD, ('f.toml: no uplink; write [[interface]], name = "eth0" and prefixes = ["2001:db8::/112"]',)),
    (
        HEAD + '[interface]\nname = "eth0"\n',
        (
            "f.toml:2: interface: must be an array of tables, not a table; write [[interface]] in double brackets",
            (
                "f.toml:2: interface[0].prefixes: missing: there is nothing to answer for; "
                'write prefixes = ["2001:db8::/112"] with your own prefix'
            ),
        ),
    ),
    (
        HEAD + "interface = [3]\n",
        (
            (
                "f.toml:2: interface: must be an array of tables, not an array of other things; "
                "write [[interface]] in double brackets"
            ),
        ),
    ),
    (
        HEAD + 'interface = "eth0"\n',
        ("f.toml:2: interface: must be an array of tables, not text; write [[interface]] in double brackets",),
    ),
    (
        HEAD + '[[interfaces]]\nname = "eth0"\n',
        (
            'f.toml: no uplink; write [[interface]], name = "eth0" and prefixes = ["2001:db8::/112"]',
            "f.toml:2: interfaces: unknown key; did you mean interface?",
        ),
    ),
    (
        HEAD + '[[interface]]\nprefixes = ["2001:db8::/112"]\n',
        ('f.toml:2: interface[0].name: missing; write name = "eth0" in the table',),
    ),
    (
        HEAD + '[[interface]]\nname = "eth0"\n',
        (
            (
                "f.toml:2: interface[0].prefixes: missing: there is nothing to answer for; "
                'write prefixes = ["2001:db8::/112"] with your own prefix'
            ),
        ),
    ),
    (
        HEAD + '[[interface]]\nname = "eth0"\nprefixes = []\n',
        (
            (
                "f.toml:4: interface[0].prefixes: is empty: there is nothing to answer for; "
                'write prefixes = ["2001:db8::/112"] with your own prefix'
            ),
        ),
    ),
    (
        HEAD + "[[interface]]\nname = 7\n",
        (
            (
                "f.toml:2: interface[0].prefixes: missing: there is nothing to answer for; "
                'write prefixes = ["2001:db8::/112"] with your own prefix'
            ),
            'f.toml:3: interface[0].name: must be text, not an integer; write it in quotes, such as "eth0"',
        ),
    ),
    (
        HEAD + UPLINK + UPLINK,
        (
            (
                "f.toml:6: interface[1].name: uplink 'eth0' stands already at f.toml:3; "
                "write one [[interface]] table for each uplink"
            ),
        ),
    ),
    (HEAD + "dry-run = true\n" + UPLINK, ("f.toml:2: dry-run: unknown key; did you mean dry_run?",)),
    (
        HEAD + 'dry_run = "yes"\n' + UPLINK,
        ("f.toml:2: dry_run: must be true or false, not text; write true or false, without quotes",),
    ),
    (HEAD + 'log = "info"\n' + UPLINK, ("f.toml:2: log: must be a table, not text; write [log] on its own line",)),
    (
        HEAD + '[log]\nlevel = 3\nformat = "journald"\n' + UPLINK,
        (
            'f.toml:3: log.level: must be text, not an integer; write it in quotes, such as "info"',
            (
                "f.toml:4: log.format: 'journald' is not one of auto, console, json, logfmt, journal; "
                'did you mean "journal"?'
            ),
        ),
    ),
    (
        HEAD + '[log]\nlevel = "critical"\n' + UPLINK,
        ("f.toml:3: log.level: 'critical' is not one of debug, info, warning, error; write one of these words",),
    ),
    (HEAD + "[limit]\nrate = 1\n" + UPLINK, ("f.toml:2: limit: unknown key; did you mean limits?",)),
    (
        HEAD + "[limits]\nrate = -1\nburst = 0\n" + UPLINK,
        (
            "f.toml:3: limits.rate: -1 is less than 0; write a number from 0 to 10000000",
            "f.toml:4: limits.burst: 0 is less than 1; write a number from 1 to 10000000",
        ),
    ),
    (
        HEAD + "[limits]\nrate = 1e3\nburst = true\n" + UPLINK,
        (
            "f.toml:3: limits.rate: must be an integer, not a float; write a number from 0 to 10000000",
            "f.toml:4: limits.burst: must be an integer, not a boolean; write a number from 1 to 10000000",
        ),
    ),
    (
        HEAD + "[limits]\nrate = 0xffffffffffffffffffffffff\nburst = 10000001\n" + UPLINK,
        (
            "f.toml:3: limits.rate: the number is more than 10000000; write a number from 0 to 10000000",
            "f.toml:4: limits.burst: 10000001 is more than 10000000; write a number from 1 to 10000000",
        ),
    ),
    (
        HEAD
        + '[log]\nlevel = "inof"\n\n'
        + '[[interface]]\nname = "eth0"\nprefixes = [\n  "2001:db8::/112",\n  "2001:db8:1::/129",\n]\n'
        + "respnd = true\n\n[[interface]]\nname = 7\n",
        (
            "f.toml:3: log.level: 'inof' is not one of debug, info, warning, error; did you mean \"info\"?",
            (
                "f.toml:9: interface[0].prefixes[1]: '2001:db8:1::/129' has no valid prefix length; "
                "write 2001:db8:1::/ and a number from 0 to 128"
            ),
            "f.toml:11: interface[0].respnd: unknown key; " + KNOWN_HERE,
            (
                "f.toml:13: interface[1].prefixes: missing: there is nothing to answer for; "
                'write prefixes = ["2001:db8::/112"] with your own prefix'
            ),
            'f.toml:14: interface[1].name: must be text, not an integer; write it in quotes, such as "eth0"',
        ),
    ),
    (
        HEAD + "[log]\nlevel = info\n",
        (
            (
                "f.toml:3: is not TOML: expected newline or end of document after a statement; "
                'write one key = value on each line, and text in quotes, such as level = "info"'
            ),
        ),
    ),
    (
        HEAD + "[log]\nlevel = warning\n",
        ('f.toml:3: is not TOML: invalid value; write text in quotes, such as level = "info"',),
    ),
    (
        "version 1\n",
        (
            (
                "f.toml:1: is not TOML: expected '=' after a key in a key/value pair; "
                "write key = value, and the names of tables in brackets"
            ),
        ),
    ),
    (
        HEAD + "[log\n",
        ("f.toml:2: is not TOML: expected ']' at the end of a table declaration; see https://toml.io",),
    ),
    (
        HEAD + '[log]\nlevel = "info"\nlevel = "debug"\n',
        ("f.toml:4: is not TOML: cannot overwrite a value; a key or table stands there twice: keep one",),
    ),
    (
        HEAD + "[log]\n[log]\n",
        ("f.toml:3: is not TOML: cannot declare log twice; a key or table stands there twice: keep one",),
    ),
    (
        HEAD + 'a = "x\n',
        ("f.toml:2: is not TOML: illegal character '\\n'; close the text with a quote on the same line",),
    ),
    (HEAD + "a = [1,\n", ("f.toml:2: is not TOML: invalid value; close what is open: a bracket, a brace or a quote",)),
)
WIDE = UPLINK.replace("2001:db8::/112", "2001:db8::/32")

Problems = Callable[[str | bytes], tuple[str, ...]]


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Problems:
    """Return a function that reads a document as f.toml and returns its problems."""
    monkeypatch.chdir(tmp_path)

    def read(document: str | bytes) -> tuple[str, ...]:
        Path("f.toml").write_bytes(document if isinstance(document, bytes) else document.encode())
        with pytest.raises(ConfigError) as raised:
            load({"config": "f.toml"}, {}, Path("/nonexistent"))
        assert raised.value.exit_code == 78
        return raised.value.problems

    return read


@pytest.mark.parametrize(("line", "messages"), KEYS)
def test_a_wrong_line_of_an_uplink(line: str, messages: tuple[str, ...], problems: Problems) -> None:
    expected = tuple(f"f.toml:5: interface[0].{message}" for message in messages)
    assert expected == problems(f"{HEAD}{UPLINK}{line}\n")


@pytest.mark.parametrize(("document", "messages"), DOCUMENTS)
def test_a_wrong_document(document: str, messages: tuple[str, ...], problems: Problems) -> None:
    assert messages == problems(document)


def test_a_wide_prefix_needs_a_word(problems: Problems) -> None:
    hint = "write allow_wide = true in this table if all of it lies behind this host"
    message = f"f.toml:4: interface[0].prefixes[0]: 2001:db8::/32 is wider than /64; {hint}"
    assert (message,) == problems(HEAD + WIDE)
    Path("f.toml").write_text(f"{HEAD}{WIDE}allow_wide = true\n")
    assert load({"config": "f.toml"}, {}).config.interfaces[0].prefixes[0].prefixlen == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version = 1\n# \xff\n", "f.toml:2: is not UTF-8 text; save the file as UTF-8"),
        (b"\x00", "f.toml:1: is not TOML: invalid statement; see https://toml.io"),
        (b"a = " + b"9" * 5000, "f.toml: is not TOML: a number has far too many digits; write a smaller number"),
        (b"a = " + b"[" * 5000, "f.toml: is nested too deeply; no setting needs more than two levels"),
        (b"#" * (1 << 20) + b"\n", "f.toml: is larger than 1 MiB; name a configuration file in TOML"),
    ],
)
def test_a_file_that_is_no_toml(content: bytes, message: str, problems: Problems) -> None:
    assert (message,) == problems(content)
