"""Read the peers of a WireGuard interface that a program implements (wireguard-go, boringtun).

Such a program answers on a Unix socket beside the interface, by a protocol of lines (wireguard.com/xplatform). The
answer holds private keys: only the fields of a `Peer` are ever kept.
"""

import asyncio
import contextlib
import itertools
import os
import socket
from dataclasses import dataclass
from typing import Final

from ndpresponder.errors import SourceUnavailable

DIRECTORY: Final = "/var/run/wireguard"
_DEADLINE_S: Final = 2.0
_LINES_PER_TURN: Final = 500  # then the event loop gets its turn
_LONGEST_LINE: Final = 1024
_ERRNO_MAX: Final = 4095  # MAX_ERRNO, linux/err.h
_GONE: Final = (FileNotFoundError, ConnectionRefusedError)  # never there, or left behind by a process that died


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer as far as IPv6 is concerned."""

    last_handshake_s: int  # Unix time; 0: never
    allowed: tuple[tuple[bytes, int], ...]  # address and prefix length


def allowed_ip(address: bytes, length: int) -> tuple[bytes, int]:
    """Return an entry of `Peer.allowed`; raise ValueError if it is no IPv6 prefix."""
    if len(address) != 16 or not 0 <= length <= 128:
        raise ValueError(f"an allowed IP with a prefix length of {length}")
    return address, length


def socket_of(name: str, directory: str = DIRECTORY) -> str:
    return os.path.join(directory, f"{name}.sock")


async def peers(name: str, directory: str = DIRECTORY) -> list[Peer] | None:
    """Return the peers of the interface `name`; None when no program implements it.

    Raises:
        SourceUnavailable: the program does not answer as it should, or not to us.
    """
    path = socket_of(name, directory)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return await _get(path)
    except _GONE:
        return None
    except PermissionError as error:
        raise SourceUnavailable(f"{path}: permission denied; only root may see the peers of {name}") from error
    except TimeoutError as error:
        raise SourceUnavailable(f"{path}: no answer within {_DEADLINE_S:g} s") from error
    except (OSError, ValueError) as error:
        raise SourceUnavailable(f"{path}: {error}") from error


async def _get(path: str) -> list[Peer]:
    reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_LINE)
    try:
        writer.write(b"get=1\n\n")
        handshakes_s, allowed = [0], [list[tuple[bytes, int]]()]  # in front, of no peer: lines of the interface
        whole = False
        for number in itertools.count(1):
            line = await reader.readline()
            if line == b"\n":  # it ends the answer
                break
            if not line.endswith(b"\n"):
                raise ValueError("the answer broke off")
            key, _, value = line.decode("ascii").rstrip("\n").partition("=")
            if key == "public_key":
                handshakes_s.append(0)
                allowed.append([])
            elif key == "last_handshake_time_sec":
                handshakes_s[-1] = int(value)
            elif key == "allowed_ip" and ":" in value:
                address, _, length = value.partition("/")
                allowed[-1].append(allowed_ip(socket.inet_pton(socket.AF_INET6, address), int(length)))
            elif key == "errno":
                if value != "0":
                    raise ValueError(os.strerror(min(abs(int(value)), _ERRNO_MAX)))
                whole = True
            if number % _LINES_PER_TURN == 0:
                await asyncio.sleep(0)
        if not whole:
            raise ValueError("the answer does not say how it ended")
        return [Peer(when_s, tuple(prefixes)) for when_s, prefixes in zip(handshakes_s[1:], allowed[1:], strict=True)]
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
