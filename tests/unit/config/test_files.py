"""A configuration file that cannot be read is named, with what to do about it."""

import os
from pathlib import Path

import pytest

from ndpresponder.config.layers import load
from ndpresponder.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}", "{}: is a directory; name the file in it, such as {}/ndpresponder.toml"),
        ("{}/ndpresponder.tml", "{}/ndpresponder.tml: does not exist; did you mean {}/ndpresponder.toml?"),
        ("{}/other", "{}/other: does not exist; beside it there is ndpresponder.toml"),
        ("{}/a/b", "{}/a/b: does not exist; there is no directory {}/a either; check the path"),
        ("{}/secret/b", "{}/secret/b: does not exist; check the path"),
        ("{}/ndpresponder.toml/b", "{}/ndpresponder.toml/b: cannot be read: Not a directory; check the path"),
        ("{}/a\0b", "{}/a\\x00b: cannot be read: embedded null byte; check the path"),
        ("{}/a\nb\udc80", "{}/a\\nb\\udc80: does not exist; beside it there is ndpresponder.toml"),
    ],
)
def test_a_file_that_cannot_be_read(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "ndpresponder.toml").touch()
    (tmp_path / "secret").mkdir()
    with pytest.raises(ConfigError) as raised:
        load({"config": name.replace("{}", str(tmp_path))}, {})
    assert (message.replace("{}", str(tmp_path)),) == raised.value.problems


def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.touch(0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError) as raised:
            load({"config": str(file)}, {})
    finally:
        os.seteuid(user)
    expected = f"{file}: cannot be read: permission denied; let the user that runs ndpresponder read it (chmod, chown)"
    assert (expected,) == raised.value.problems
