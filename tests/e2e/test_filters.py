"""Through every anti-spoofing filter of the lab, on both kinds of uplink: we get through, others where they may."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import Installed
from kernel_runs import Fastpath
from requirements import LAB_COMMANDS, OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import FILTERS, AdvertisementWatch, Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, VPS_LLADDR

C2 = "2001:db8::c2"
NDPPD = """
route-ttl 30000
proxy uplink {
  router yes
  timeout 500
  ttl 3000
  rule 2001:db8::/112 { static }
}
"""

pytestmark = pytest.mark.needs("ebtables")


@pytest.fixture(scope="module", params=["veth", "macvlan"])
def uplink_lab(request) -> Iterator[Lab]:
    require(*LAB_COMMANDS)
    with SharedLab(f"{OURS}filter-{request.param}", request.param) as lab:
        yield lab


@pytest.fixture(scope="module", params=["ndpresponder", "fastpath", "ndppd", "kernel"])
def responder(request, uplink_lab, tmp_path_factory) -> Iterator[str]:
    """Start one of the responders for the prefix and return its name; it runs through all the filters."""
    with contextlib.ExitStack() as stack:
        match request.param:
            case "ndpresponder" | "fastpath":
                mode = Fastpath("tcx" if request.param == "fastpath" else "off")
                flags = ("--prefix", CONTAINER_PREFIX, "--iface", "uplink", *mode.flags())
                stack.enter_context(Installed(uplink_lab["vps"], *flags))
            case "ndppd":
                require("ndppd")
                stack.enter_context(ndppd(uplink_lab, tmp_path_factory.mktemp("ndppd")))
            case "kernel":
                uplink_lab.kernel_proxy()
                stack.callback(uplink_lab.kernel_proxy, on=False)
        yield request.param


@contextlib.contextmanager
def ndppd(lab: Lab, directory: Path) -> Iterator[None]:
    (directory / "ndppd.conf").write_text(NDPPD)
    with (directory / "log").open("w") as log:
        child = lab.popen("vps", "ndppd", "-c", str(directory / "ndppd.conf"), stdout=log, stderr=log)
    try:
        with AdvertisementWatch(lab) as watch:
            wait_until(lambda: is_answered(lab, watch), 10, "ndppd to answer")
        yield
    finally:
        lab.reap(child)


def is_answered(lab: Lab, watch: AdvertisementWatch) -> bool:
    lab.forget(C2)
    lab.ping("inet", C2, deadline=0.2)
    return bool(watch.take(C2))


# From "inet" a ping makes the router solicit from its link-local address, from "rtr" from its global one.
@pytest.mark.parametrize("host", ["inet", "rtr"])
@pytest.mark.parametrize("name", FILTERS)
def test_an_advertisement_from_the_target_passes_and_others_only_from_a_global_source(
    uplink_lab, responder, name, host
):
    lab = uplink_lab
    is_ours = responder in ("ndpresponder", "fastpath")
    passes = is_ours or host == "rtr" or name == "none"
    lab.filter(name)
    try:
        lab.resolve_gateway()
        lab.forget(CONTAINER)
        with AdvertisementWatch(lab) as watch:
            reached = lab.ping(host, CONTAINER, count=2, interval=0.1, deadline=1.0 if passes else 0.3)
            advertisements = watch.take(CONTAINER)
    finally:
        lab.filter("none")
    assert bool(reached) == passes
    assert {VPS_LLADDR} == {advertisement.lladdr_source for advertisement in advertisements}
    assert {is_ours} == {advertisement.source == CONTAINER for advertisement in advertisements}
