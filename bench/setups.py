"""What our daemon needs in a few set-ups: memory, and the time from its start to the first answer."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from asking import Asker
from engine import idle_engine
from link import UPLINK, WHOLE_PREFIX, Link
from programs import ROOT, BenchError
from responders import OURS, ProcessResponder, Sample, bare
from turn import WINDOW, Effort, answering

_STARTS: Final = 3
_LOAD_S: Final = 0.3
_SCRAPES: Final = 3
# On a network behind the bridge and outside of the claimed prefix, so that only their source makes them ours
_BEHIND: Final = "2001:db8:0:1::1/64"
_CONTAINER: Final = "2001:db8:0:1::c"
_NEIGHBOUR: Final = "2001:db8:0:1::e"


@dataclass(frozen=True, slots=True)
class Setup:
    key: str
    title: str
    argv: tuple[str, ...]
    config: str = ""
    scraped: bool = False
    sources: tuple[str, ...] = ()  # targets that only a source knows

    @property
    def responder(self) -> ProcessResponder:
        return ProcessResponder("ndpresponder", *self.argv, config=self.config)


def _like_the_units() -> str:
    """Return the reference configuration, which the unit reads, for the benchmark's uplink."""
    text = (ROOT / "systemd" / "ndpresponder.toml").read_text()
    return text.replace('"eth0"', f'"{UPLINK}"').replace("/run/ndpresponder/", "{folder}/")


def setups(engine: str = "") -> dict[str, Setup]:
    """Return the set-ups by their keys; `engine` is the path of an engine's socket."""
    sources = ("--bridge", "br0", "--docker-network", "*", "--docker-url", f"unix://{engine}")
    everyone = (
        Setup("plain", "--prefix, --iface", bare()),
        Setup("metrics", "metrics scraped", (*bare(), "--metrics", "unix:{folder}/metrics"), scraped=True),
        Setup("sources", "bridge and Docker", (*bare(), *sources), sources=(_CONTAINER, _NEIGHBOUR)),
        Setup("config", "the unit's configuration", (*OURS, "run", "--config", "{config}"), _like_the_units()),
    )
    return {setup.key: setup for setup in everyone}


MEMORY: Final = ("plain", "metrics", "sources")
STARTS: Final = ("plain", "config")
KINDS: Final = ("rss", "pss", "uss")
KEYS: Final = (*(f"start_{key}_ms" for key in STARTS), *(f"{kind}_{key}_mb" for kind in KINDS for key in MEMORY))


def take(link: Link, effort: Effort) -> Sample:
    """Return the wanted figures of all set-ups, by the keys of `rows.MEASURES`."""
    sample: Sample = {}
    with TemporaryDirectory(prefix="ndpbench-") as folder:
        known = setups(f"{folder}/engine")
        for key in STARTS:
            if effort.wants(f"start_{key}_ms"):
                sample[f"start_{key}_ms"] = median(_starts_ms(link, known[key]))
        for key in MEMORY:
            if effort.wants(*(f"{kind}_{key}_mb" for kind in KINDS)):
                with _surroundings(link, known[key], f"{folder}/engine"):
                    memory = _memory_mb(link, known[key])
                sample |= {name.replace("_mb", f"_{key}_mb"): value for name, value in memory.items()}
    return sample


def _starts_ms(link: Link, setup: Setup) -> Iterator[float]:
    for _ in range(_STARTS):
        with answering(link, setup.responder) as first_s:
            yield first_s * 1e3


@contextmanager
def _surroundings(link: Link, setup: Setup, engine: str) -> Iterator[None]:
    """Have a bridge with a neighbor, and an idle container engine, where a set-up follows them."""
    with ExitStack() as stack:
        if setup.sources:
            stack.enter_context(idle_engine(engine, "br0", _CONTAINER))
            neighbour = f"neigh add {_NEIGHBOUR} lladdr 02:00:00:00:0b:01 dev br0 nud permanent"
            link.responder.ip("link add br0 type bridge", "link set br0 up", f"addr add {_BEHIND} dev br0", neighbour)
            stack.callback(link.responder.ip, "link del br0")
        yield


def _memory_mb(link: Link, setup: Setup) -> Sample:
    """Return the memory after its sources are read, a scan was answered and its metrics were scraped."""
    responder = setup.responder
    with answering(link, responder), Asker(link) as asker:
        for target in setup.sources:
            asker.await_answer(int(IPv6Address(target)))
        link.ask("window", seconds=_LOAD_S, window=WINDOW, **WHOLE_PREFIX)
        for _ in range(_SCRAPES if setup.scraped else 0):
            _scrape(responder.path("metrics"))
        time.sleep(0.2)  # what the last request needed is given back
        return responder.memory_mb()


def _scrape(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as served:
        served.connect(path)
        served.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: served.recv(65536), b""))
    if not text.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"the metrics cannot be scraped: {text[:80]!r}")
