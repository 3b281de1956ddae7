"""A file of addresses at work: what other programs write there is answered, through the provider's filter."""

from pathlib import Path

from harness import Installed

from ndpresponder.lab import Lab, wait_until

C1, C2 = "2001:db8::c1", "2001:db8::c2"


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
