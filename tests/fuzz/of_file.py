"""An address file of any octets: each line is an address, a prefix or a fault that names itself."""

import asyncio
import contextlib
import tempfile
from ipaddress import IPv6Network
from pathlib import Path

import loops
from octets import Octets

from ndpresponder.config.problem import Wrong
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.file import FileSource, lines_of, parse_line


def check(octets: bytes) -> None:
    """Read one file line by line and, for some, as a whole through the source."""
    choices = Octets(octets)
    whole = choices.byte() % 8 == 0
    content = choices.rest()
    live, claimed = set[bytes](), set[tuple[int, int]]()
    for line in lines_of(content):
        try:
            network = parse_line(line)
        except Wrong:
            continue
        word = line.partition("#")[0].split()
        if network is None:
            assert not word
            continue
        assert network == IPv6Network(word[0])
        if network.prefixlen == 128:
            live.add(network.network_address.packed)
        else:
            claimed.add((int(network.network_address), network.prefixlen))
    if whole:
        targets = loops.run(_published(content))
        assert (targets.live, targets.claimed) == (live, claimed)


async def _published(content: bytes) -> TargetSet:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = Path(directory) / "targets"
        path.write_bytes(content)
        first: asyncio.Future[TargetSet] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(FileSource(str(path)).run(first.set_result))
        await asyncio.wait([first, reading], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return first.result()


SEEDS = (
    b"\0# hosts\n2001:db8::c1\n2001:db8::/112  # a prefix\n\n",
    b"\0\xef\xbb\xbf2001:db8::c1\r\n2001:db8::1/128\r2001:db8::1/64\x0c::1\n",
    b"\1fe80::1\n192.0.2.1\n::ffff:192.0.2.1\n2001:db8::/32\n2001:db8::%eth0\nff02::1\na b\n\xff\xfe\n",
)
DICTIONARY = (b"2001:db8::", b"/128", b"/64", b"::", b"%", b"#", b"\r\n", b"\xe2\x80\xa8", b"\x85", b"\xef\xbb\xbf")
