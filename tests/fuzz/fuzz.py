"""Coverage-guided fuzzing (atheris) of what reads what others wrote; each subject is a module `of_NAME` beside this.

usage: fuzz.py [--seconds N] [--keep] [NAME...]

A subject has `check(octets)`, which fails on whatever must not be, `SEEDS` and a `DICTIONARY` of words. Its inputs that
were worth keeping lie in corpus/NAME.hex, one in a line; --keep adds what this run found, minimized. An input that
fails is printed: it becomes a row of test_crashers.py. Exits with 1 if there was one.
"""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from types import FrameType, ModuleType

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem.removeprefix("of_") for path in HERE.glob("of_*.py")))
READERS = ("ndpresponder", "h11", "tomllib")  # the packages that read octets of others
LONGEST = 2048
_STALLED_S = 20  # one input may take so long
_OVERTIME_S = 120  # to load, and to write what was found


def subject(name: str) -> ModuleType:
    """Return the module of a subject."""
    for folder in (HERE, HERE.parent / "support"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(f"of_{name}")


def corpus(name: str) -> list[bytes]:
    """Return the inputs that are kept for a subject."""
    path = HERE / "corpus" / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def fuzz(name: str, seconds: int, keep: bool = False) -> str | None:
    """Fuzz one subject in a process of its own; return what a person should read if an input failed."""
    with tempfile.TemporaryDirectory() as work:
        inputs, crashes = (Path(work, word) for word in ("inputs", "crashes"))
        for directory in (inputs, crashes):
            directory.mkdir()
        (Path(work) / "words").write_text("".join(_word(word) for word in subject(name).DICTIONARY))
        _write(inputs, [*subject(name).SEEDS, *corpus(name)])
        limits = (f"-max_len={LONGEST}", f"-timeout={_STALLED_S}", "-rss_limit_mb=1024", f"-artifact_prefix={crashes}/")
        ended = _run(
            name, seconds, f"-max_total_time={seconds}", f"-dict={work}/words", "-len_control=20", *limits, inputs
        )
        print(f"{name}: {_summary(ended.stdout)}", flush=True)
        for crash in sorted(crashes.iterdir()):
            return f"{name}: {crash.name}: {crash.read_bytes().hex()}\n{ended.stdout[-3000:]}"
        if ended.returncode:
            return f"{name}: exit code {ended.returncode}\n{ended.stdout[-3000:]}"
        if keep:
            _keep(name, (path.read_bytes() for path in inputs.iterdir()))
    return None


def _word(octets: bytes) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in octets) + '"\n'


def _write(directory: Path, inputs: Iterable[bytes]) -> None:
    for octets in inputs:
        (directory / sha256(octets).hexdigest()[:16]).write_bytes(octets)


def _run(name: str, seconds: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, "--child", name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds + _OVERTIME_S,
        check=False,
    )


def _summary(output: str) -> str:
    """Return libFuzzer's last words: executions, coverage, corpus."""
    return next((line for line in reversed(output.splitlines()) if line[:2].strip("#").isdigit()), "nothing was run")


def _keep(name: str, inputs: Iterable[bytes]) -> None:
    """Keep the shortest inputs that take each way through what reads them; libFuzzer keeps many times as many."""
    known, kept = set[tuple[object, ...]](), list[str]()
    for octets in sorted(set(inputs), key=lambda octets: (len(octets), octets)):
        with _logging_nowhere():
            ways = _ways(subject(name).check, octets)
        if not ways <= known:
            known |= ways
            kept.append(f"{octets.hex()}\n")
    (HERE / "corpus" / f"{name}.hex").write_text("".join(kept))


def _ways(check: Callable[[bytes], None], octets: bytes) -> set[tuple[object, ...]]:
    """Return the steps from line to line of the packages that read it which an input takes."""
    ways = set[tuple[object, ...]]()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        code, last = frame.f_code, 0
        if not any(f"/{package}/" in code.co_filename for package in READERS):
            return None

        def follow(frame: FrameType, event: str, _: object) -> Callable[..., object]:
            nonlocal last
            ways.add((code, last, frame.f_lineno, event))
            last = frame.f_lineno
            return follow

        return follow

    sys.settrace(trace)
    try:
        check(octets)
    finally:
        sys.settrace(None)
    return ways


def _child(name: str, arguments: list[str]) -> None:
    """Hand this process over to libFuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=list(READERS), enable_loader_override=False):
        check = subject(name).check
    with _logging_nowhere():
        atheris.Setup([sys.argv[0], *arguments], check)
        atheris.Fuzz()


@contextlib.contextmanager
def _logging_nowhere() -> Iterator[None]:
    from ndpresponder.config import LogConfig
    from ndpresponder.observe.logs import configure

    with open(os.devnull, "w") as nowhere:
        configure(LogConfig(), nowhere)
        yield


def main() -> int:
    """Fuzz the subjects that were named, or all."""
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each subject")
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none is named")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    failures = [failure for name in options.names or NAMES if (failure := fuzz(name, options.seconds, options.keep))]
    print("\n\n".join(failures), file=sys.stderr)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
