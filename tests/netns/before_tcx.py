"""What a kernel older than tcx makes of the fast path. `e2e/test_stock_kernels.py` runs it on Linux 6.1."""

from daemon_process import COMMAND, Installed
from fastpath_daemon import FLAGS, ended, in_user_space
from frames import advertisement, solicitation
from kernel_runs import Fastpath


def test_without_tcx_auto_makes_do_and_says_so_in_one_line(wire, peer):
    with Installed(wire.near, *FLAGS, "--fastpath", "auto") as daemon:
        assert peer.ask(solicitation()) == [advertisement()]
        assert in_user_space(daemon) > 0
        (line,) = daemon.lines("fast path")
        assert "level=info" in line
        assert "this kernel has no tcx, which came with Linux 6.6" in line


def test_tcx_ends_it_and_names_what_there_is(wire):
    code, text = ended(wire, COMMAND, *FLAGS, *Fastpath("tcx").flags())
    assert (code, "use the fast path xdp, or none" in text) == (71, True), text
