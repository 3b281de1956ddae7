"""The installed command: its exit codes, its output on pipes, and no traceback whatever it is given."""

import os
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("ndpresponder")
REFERENCE = Path(__file__).parents[2] / "systemd/ndpresponder.toml"


def run(*argv: str | bytes, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NDPRESPONDER_")}
    return subprocess.run(
        [COMMAND, *argv], env=inherited | environ, capture_output=True, text=True, errors="replace", timeout=20
    )


@pytest.mark.parametrize(
    ("code", "argv"),
    [
        (0, ["--help"]),
        (0, ["--version"]),
        (0, ["check", "--config", str(REFERENCE)]),
        (0, ["check", "--prefix", "2001:db8::/112", "--iface", "uplink"]),
        (2, []),
        (2, ["chekc"]),
        (2, ["--prefx", "2001:db8::/112"]),
        (78, ["--config", "/nonexistent/ndpresponder.toml"]),
        (78, ["--config", "/"]),
        (78, ["--config", "/dev/zero"]),
        (78, ["check", "--prefix", "2001:db8::1/112", "--iface", "eth0"]),
        (78, ["--prefix", "fe80::/64", "--iface", "eth0"]),
        (78, ["--prefix", "ff02::/16", "--iface", "eth0"]),
        (78, ["--prefix", "::/0", "--iface", "eth0"]),
        (78, ["--prefix", b"\xff\xfe\n", "--iface", b"\x80"]),
        (78, ["check", "--config", b"/\xff\n\x1b[2J", "--json"]),
    ],
)
def test_an_exit_code(code: int, argv: list[str | bytes]) -> None:
    done = run(*argv)
    assert (code, False) == (done.returncode, "Traceback" in done.stderr)
    assert done.stdout or done.stderr
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()


def test_module_and_command_are_the_same() -> None:
    module = subprocess.run([sys.executable, "-m", "ndpresponder", "-V"], capture_output=True, text=True)
    assert run("-V").stdout == module.stdout


def test_the_environment_alone_is_a_configuration() -> None:
    done = run("check", NDPRESPONDER_IFACE="uplink", NDPRESPONDER_PREFIX="2001:db8::/112", NDPRESPONDER_LOG="D")
    tree = tomllib.loads(done.stdout)
    assert (
        tree["interface"][0]["name"],
        tree["interface"][0]["prefixes"],
        tree["log"]["level"],
    ) == ("uplink", ["2001:db8::/112"], "debug")


def test_a_configuration_may_come_through_a_pipe() -> None:
    script = f"{COMMAND} check --config <(cat {REFERENCE}) | {COMMAND} check --quiet --config /dev/stdin"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    done = subprocess.run(["bash", "-c", f"{COMMAND} --help | true"], capture_output=True, text=True)
    assert done.stderr == ""


def test_output_that_the_locale_cannot_show_is_escaped() -> None:
    done = run(
        *("check", "-i", "uplink", "-n", "2001:db8::/112", "-m", "unix:/ü"), PYTHONIOENCODING="ascii", LC_ALL="C"
    )
    assert done.returncode == 0
    assert "\\xfc" in done.stdout


BEGUN = "import resource, sys; from ndpresponder.cli import main; few = int(sys.argv.pop(1)); "
LIMITED = BEGUN + "resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)); sys.exit(main.main())"
CLAIM = ("-i", "uplink", "-n", "2001:db8::/112")
TOO_FEW = "ndpresponder: Too many open files; allow more open files (LimitNOFILE= in the unit, ulimit -n)\n"


@pytest.mark.parametrize(
    ("few", "argv", "code"),
    [
        *((few, argv, 71) for few in range(4) for argv in (["-V"], ["check", "-q", *CLAIM], CLAIM)),
        *((few, argv, 0) for few in range(4, 7) for argv in (["-V"], ["check", "-q", *CLAIM])),
        *((few, CLAIM, 71) for few in range(4, 7)),  # the event loop needs four besides the streams
    ],
)
def test_too_few_descriptors_for_a_command_end_in_one_line(few: int, argv: list[str], code: int) -> None:
    """The interpreter starts with enough of them: where it cannot, the reason is its own to say."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(few), *argv], capture_output=True, text=True, timeout=20)
    assert (code, TOO_FEW if code else "") == (done.returncode, done.stderr)


# A configuration that is no plain file: read in bounded time, or refused with what to do

PLAIN = "version = 1\n[[interface]]\nname = 'eth0'\nprefixes = ['2001:db8::/112']\n"
BOUNDED_S = 10.0


@pytest.mark.parametrize("words", [["check"], ["run"], ["explain", "2001:db8::1"]])
def test_a_pipe_that_nobody_writes_to_ends_in_a_message_in_bounded_time(words: list[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    began_s = time.monotonic()
    done = run(*words, "--config", str(pipe))
    assert time.monotonic() - began_s < BOUNDED_S
    assert done.returncode == 78
    assert "is a pipe or a device, and nothing was written to it within 4 s" in done.stderr


def test_a_pipe_whose_writer_never_ends_does_so_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        os.write(writer, PLAIN.encode())
        done = run("check", "--config", str(pipe))
    finally:
        os.close(writer)
    assert (done.returncode, "its end did not come within 4 s" in done.stderr) == (78, True)


def test_a_socket_is_refused_with_a_message(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        done = run("check", "--config", str(tmp_path / "socket"))
    assert (done.returncode, "it is a socket" in done.stderr) == (78, True)


@pytest.mark.parametrize(
    "shell",
    [
        'exec "$0" check --config <(printf %s "$1")',
        'exec "$0" check --config <(sleep 1; printf %s "$1")',
        'exec "$0" check --config <(printf %s "${1:0:20}"; sleep 0.5; printf %s "${1:20}")',
        'printf %s "$1" | exec "$0" check --config /dev/stdin',
        'mkfifo "$2/f"; { sleep 0.5; printf %s "$1" > "$2/f"; } & exec "$0" check --config "$2/f"',
    ],
)
def test_a_pipe_that_is_written_to_is_read_to_its_end(shell: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", shell, str(COMMAND), PLAIN, str(tmp_path)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(done.stdout)["interface"][0]["prefixes"] == ["2001:db8::/112"]


def test_a_configuration_on_standard_input_need_not_be_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(PLAIN)
    with (tmp_path / "file").open() as file:
        argv = [COMMAND, "check", "--config", "/dev/stdin"]
        assert subprocess.run(argv, stdin=file, capture_output=True, timeout=20).returncode == 0
    master, slave = os.openpty()  # a terminal at which nobody types
    try:
        done = subprocess.run(argv, stdin=slave, capture_output=True, text=True, timeout=20)
    finally:
        os.close(master)
        os.close(slave)
    assert (done.returncode, "nothing was written to it within 4 s" in done.stderr) == (78, True)
