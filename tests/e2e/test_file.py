"""A file of addresses at work: what other programs write there is answered, through the provider's filter."""

import contextlib
import time
from pathlib import Path

from daemon_process import Installed
from frames import solicitation
from hanging_disk import HungDisk
from peer import Peer, Wire

from ndpresponder.lab import Lab, wait_until

C1, C2, C3 = "2001:db8::c1", "2001:db8::c2", "2001:db8::c3"


def replace(path: Path, text: str) -> None:
    other = path.with_name("new")
    other.write_text(text)
    other.rename(path)


def test_what_the_file_lists_is_reached_and_what_it_no_longer_lists_is_not(lab: Lab, tmp_path: Path) -> None:
    lab.filter("strict")
    path = tmp_path / "addresses"
    with Installed(lab["vps"], "-i", "uplink", "-f", str(path)) as daemon:
        daemon.await_line("No such file or directory")
        assert not lab.ping("inet", C1)
        replace(path, f"# the first\n{C1}\nnonsense\n")
        daemon.await_line(f"{path}:3: 'nonsense' is not an IPv6 prefix")
        lab.forget(C1)
        assert lab.ping("inet", C1, deadline=3)
        assert not lab.ping("inet", C2)

        replace(path, C2)
        lab.forget(C1)
        lab.forget(C2)
        assert lab.ping("inet", C2, deadline=3)
        assert not lab.ping("inet", C1)

        path.unlink()
        wait_until(
            lambda: f'ndpresponder_source_up{{name="{path}",source="file"}} 0' in daemon.scrape(), 5, "the loss to show"
        )
        lab.forget(C2)
        assert lab.ping("inet", C2, deadline=3)


def up(daemon: Installed, path: Path) -> bool:
    return f'ndpresponder_source_up{{name="{path}",source="file"}} 1' in daemon.scrape()


def hanging(daemon: Installed) -> int:
    """Return how many threads of the daemon wait for an answer from a file system (fs/fuse/dev.c)."""
    waiting = 0
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended since it was listed
            waiting += (task / "wchan").read_text().startswith(("request_wait_answer", "fuse_"))
    return waiting


def test_a_disk_that_hangs_holds_up_nothing_but_its_own_file(wire: Wire, tmp_path: Path) -> None:
    here, there, beside = tmp_path / "here", tmp_path / "there", tmp_path / "beside"
    there.mkdir()
    beside.write_text(C2)
    with HungDisk(there, C1) as disk:
        here.symlink_to(there / "addresses")
        flags = ("-i", "up0", "-n", "2001:db8::fff0/124", "-f", str(here), "-f", str(beside))
        with Installed(wire.near, *flags) as daemon, Peer(wire.far) as peer:
            peer.await_answer(C1)
            disk.hang()
            replace(tmp_path / "beside", C3)  # which has both looked at
            peer.await_answer(C3)
            assert peer.ask(solicitation(C1))
            daemon.await_line(f"{here} does not answer: does its disk hang?", 7)
            assert peer.ask(solicitation(C1))
            wait_until(lambda: not up(daemon, here), 1, "it to show")
            assert up(daemon, beside)
            assert hanging(daemon) == 1
            disk.recover()
            wait_until(lambda: up(daemon, here), 8, "it to show")
            disk.hang()
            for target in (C2, C3, C2, C3, C2):  # each time both are looked at
                replace(tmp_path / "beside", target)
                peer.await_answer(target)
            assert len(daemon.lines("does its disk hang?")) == 1
            assert hanging(daemon) == 1
            began_s = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began_s < 1.0


def test_two_million_wrong_lines_hold_up_neither_an_answer_nor_the_next_version(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    path.write_text(C1)
    flags = ("-i", "up0", "-n", "2001:db8::fff0/124", "-f", str(path))
    with Installed(wire.near, *flags) as daemon, Peer(wire.far) as peer:
        peer.await_answer(C1)
        used_s = daemon.cpu_s()
        replace(path, "x\n" * (2 << 20))
        wait_until(lambda: daemon.cpu_s() > used_s + 0.3, 10, "the file to be read")
        began_s = time.monotonic()
        assert peer.ask(solicitation(C1)), "what was said before stays in force meanwhile"
        assert time.monotonic() - began_s < 1.0
        replace(path, C2)
        peer.await_answer(C2)
        assert time.monotonic() - began_s < 3.0
        assert not daemon.lines("more lines are ignored"), "the long version was given up"
