"""What tests of the installed command share: a Debian with all that is shipped, as booting takes 10 s, and boxes."""

from collections.abc import Iterator

import pytest
from booted_debian import Machine
from installed_service import installed_on, pristine
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab
from ndpresponder.lab.namespace import Namespace, create_all, delete_all


@pytest.fixture(scope="session")
def vps_lab() -> Iterator[Lab]:
    """Return the lab in whose VPS the machine runs; who changes its links undoes that."""
    require("systemd-nspawn", "mmdebstrap", "unshare", "nsenter", "ip", "nft", "ping")
    with SharedLab(f"{OURS}m") as lab:
        lab.filter("strict")
        yield lab


@pytest.fixture(scope="session")
def installed(vps_lab: Lab) -> Iterator[Machine]:
    with installed_on(vps_lab) as machine:
        yield machine


@pytest.fixture
def machine(installed: Machine) -> Iterator[Machine]:
    """Give each test the machine as it was after the installation, with the units stopped."""
    with pristine(installed) as machine:
        yield machine


@pytest.fixture
def boxes() -> Iterator[list[Namespace]]:
    """Return two empty namespaces, for the other ends of many veths on a bridge."""
    made = [Namespace(f"{OURS}box{number}") for number in range(2)]
    create_all(made)
    yield made
    delete_all(made)
