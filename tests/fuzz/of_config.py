"""A configuration file of any octets: settings that read back as they were rendered, or printable problems."""

import tempfile
from pathlib import Path

from ndpresponder.config.layers import Loaded, load
from ndpresponder.config.render import as_data, as_toml
from ndpresponder.errors import ConfigError

ROOT = Path(__file__).parents[2]


def check(octets: bytes) -> None:
    """Load one file, and what is rendered of it."""
    loaded = _load(octets)
    if loaded is not None:
        as_data(loaded.config, loaded.draft)
        again = _load(as_toml(loaded.config, loaded.draft).encode())
        assert again is not None
        assert again.config == loaded.config


def _load(octets: bytes) -> Loaded | None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        Path(file.name).write_bytes(octets)
        try:
            return load({"config": file.name}, {}, Path("/nonexistent"))
        except ConfigError as error:
            problems = error.problems
    assert problems
    assert all(problem.isprintable() for problem in problems)
    return None


SEEDS = (
    (ROOT / "systemd/ndpresponder.toml").read_bytes(),
    b'[[interface]]\nname = "eth0"\nprefixes = ["2001:db8::/112"]\n',
    b'version = 1\ndry_run = true\n[[interface]]\nname = "a"\nexclude = ["::1"]\nunicast = "live"\n',
    b'[[interface]]\nname = "a"\nprefixes = []\n[[source.docker]]\nnetworks = ["*"]\n[[source.file]]\npath = "/a"\n',
    b'[limits]\nrate = 10\nburst = 5\n[log]\nlevel = "debug"\n[metrics]\nlisten = "[::1]:9846"\n',
    b'[[interface]]\nname = "a\nx = 1979-05-27T07:32:00Z\ny = {a.b = 1, c = [1, {}]}\nz = """\\u0000"""\n',
)
_WORDS = {word.strip("[]#=,\"'.") for word in SEEDS[0].decode().split()}
DICTIONARY = (
    *sorted(word.encode() for word in _WORDS if 2 < len(word) < 24),
    *(
        b"[[interface]]",
        b"[source.",
        b"[[source.",
        b'"""',
        b"'''",
        b"0x",
        b"1e9",
        b"nan",
        b"::/0",
        b"@",
        b" = ",
        b"\r\n",
    ),
)
