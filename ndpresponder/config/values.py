"""Turn one raw value (of a TOML document, a flag or the environment) into the setting's type, or say what is wrong.

Every function raises `Wrong` and nothing else, whatever it is given. None looks at another setting, a file or the host:
`checks` and `ndpresponder check` do.
"""

import contextlib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from ndpresponder.config.problem import Wrong, nearest

# Addresses that never lie behind a host; a prefix that overlaps one of them cannot be claimed.
RESERVED = (
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::ffff:0:0/96"), "IPv4-mapped"),
)
LEVELS = ("debug", "info", "warning", "error")
# The word of other programs, and the one-letter levels of the ndpresponder written in Go
_LETTERS: Mapping[str, str] = dict(zip("vdiwefn", ("debug", "debug", "info", "warning", *("error",) * 3), strict=True))
LEVEL_ALIASES: Mapping[str, str] = {"warn": "warning", **_LETTERS}
NAME_BYTES = 15  # IFNAMSIZ - 1
SOCKET_PATH_BYTES = 107  # sizeof(sun_path) - 1


def kind_of(raw: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "text", list: "an array", dict: "a table"}
    return names.get(type(raw), "a date or time")


def text(raw: object, example: str) -> str:
    """Return the raw value if it is printable text."""
    if not isinstance(raw, str):
        raise Wrong(f"must be text, not {kind_of(raw)}", f'write it in quotes, such as "{example}"')
    if not raw.isprintable():
        raise Wrong(f"{raw!r} holds a character that cannot be printed", f'write it like "{example}"')
    return raw


def boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise Wrong(f"must be true or false, not {kind_of(raw)}", "write true or false, without quotes")
    return raw


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return a function that accepts the integers from low to high."""

    def parse(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise Wrong(f"must be an integer, not {kind_of(raw)}", f"write a number from {low} to {high}")
        if not low <= raw <= high:
            limit, side = (low, "less") if raw < low else (high, "more")
            shown = raw if abs(raw) < 10**20 else "the number"
            raise Wrong(f"{shown} is {side} than {limit}", f"write a number from {low} to {high}")
        return raw

    return parse


def choice(words: tuple[str, ...]) -> Callable[[object], str]:
    """Return a function that accepts exactly these words."""

    def parse(raw: object) -> str:
        if text(raw, words[0]) in words:
            return str(raw)
        near = nearest(str(raw), words)
        hint = f'did you mean "{near}"?' if near else "write one of these words"
        raise Wrong(f"{raw!r} is not one of {', '.join(words)}", hint)

    return parse


def log_level(raw: object) -> str:
    """Accept a level by its word, a common alias, or the letter the Go ndpresponder uses."""
    word = text(raw, "info")
    folded = LEVEL_ALIASES.get(word.lower(), word.lower())
    return folded if folded in LEVELS else choice(LEVELS)(word)


def interface_name(raw: object) -> str:
    """Accept what the kernel accepts as the name of an interface (dev_valid_name)."""
    name = text(raw, "eth0")
    hint = 'write the name `ip link` shows, such as "eth0"'
    if not name:
        raise Wrong("the interface name is empty", hint)
    if "@" in name:
        before = name.partition("@")[0] or "eth0"
        raise Wrong(f"{name!r} is not an interface name", f'write "{before}": `ip link` shows a peer after the @')
    if name in (".", "..") or "/" in name or ":" in name or any(letter.isspace() for letter in name):
        raise Wrong(f"{name!r} is not an interface name: no slash, colon or space can be in one", hint)
    if len(name.encode()) > NAME_BYTES:
        message = f"{name!r} is longer than the {NAME_BYTES} bytes the kernel allows an interface name"
        raise Wrong(message, "write the name `ip link` shows")
    return name


def network(raw: object) -> IPv6Network:
    """Accept an IPv6 prefix without host bits; a bare address is a /128."""
    word = text(raw, "2001:db8::/112")
    if word != word.strip():
        raise Wrong(f"{word!r} begins or ends with a space", "write it without")
    if "%" in word:
        raise Wrong(f"{word!r} has a zone", "leave the % and what follows it out: the uplink says which link is meant")
    with contextlib.suppress(ValueError):
        return IPv6Network(word)
    address, _, length = word.partition("/")
    if _parses(lambda: IPv4Network(word, strict=False)):
        raise Wrong(f"{word!r} is IPv4", "leave it out: IPv4 has ARP, neighbor discovery is IPv6 only")
    if not _parses(lambda: IPv6Address(address)):
        raise Wrong(f"{word!r} is not an IPv6 prefix", 'write one such as "2001:db8::/112"')
    known = IPv6Address(address)
    if not (length.isascii() and length.isdigit()) or len(length) > 3 or int(length) > 128:
        raise Wrong(f"{word!r} has no valid prefix length", f"write {known}/ and a number from 0 to 128")
    masked = IPv6Network((known, int(length)), strict=False)
    hint = f"write {masked} for the whole prefix, or {known}/128 for this one address"
    raise Wrong(f"{word!r} has host bits set", hint)


def prefix(raw: object) -> IPv6Network:
    """Accept a prefix that can be claimed: unicast addresses which may lie behind a host."""
    claimed = network(raw)
    if claimed.prefixlen == 0:
        message = f"{raw!r} is every address there is: no neighbor of this link could keep its own"
        raise Wrong(message, "write the prefix that is routed to this host or used behind it")
    for block, name in RESERVED:
        if claimed.subnet_of(block):
            raise Wrong(f"{raw!r} is {name}", "write a global or unique local prefix")
        if claimed.overlaps(block):
            raise Wrong(f"{raw!r} covers {name} addresses ({block})", "write a narrower prefix")
    return claimed


def listen(raw: object) -> str:
    """Accept `ADDR:PORT`, `unix:PATH`, or nothing for off."""
    where = text(raw, "[::1]:9846")
    if not where:
        return where
    if where.startswith("unix:"):
        return _socket(where)
    address, colon, port = where.rpartition(":")
    digits = port.isascii() and port.isdigit()
    bare = where[1:-1] if where.startswith("[") and where.endswith("]") else where
    if digits and ":" in address and _parses(lambda: ip_address(address)):
        raise Wrong(f"{where!r}: an IPv6 address needs brackets before its port", f"write [{address}]:{port}")
    if _parses(lambda: ip_address(bare)):
        raise Wrong(f"{where!r} has no port", f"write {f'[{bare}]' if ':' in bare else bare}:9846")
    if not colon:
        hint = f"write [::1]:{where}" if digits else "write [::1]:9846, 127.0.0.1:9846 or unix:/run/metrics.sock"
        raise Wrong(f"{where!r} is neither ADDR:PORT nor unix:PATH", hint)
    if address in ("", "*"):
        port = port if digits else "9846"
        hint = f"write [::1]:{port} for this host only, [::]:{port} for every address it has"
        raise Wrong(f"{where!r} does not say on which address", hint)
    bracketed = address.startswith("[") and address.endswith("]")
    plain = address[1:-1] if bracketed else address
    if not _parses(lambda: ip_address(plain)) or bracketed != (":" in plain):
        hint = "write [::1] or 127.0.0.1: names are not resolved"
        raise Wrong(f"{where!r}: {address!r} is not an IP address", hint)
    if not digits or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise Wrong(f"{where!r}: {port!r} is not a port", f"write {address}: and a number from 1 to 65535")
    return where


def _parses(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except ValueError:
        return False
    return True


def _socket(where: str) -> str:
    """Accept `PATH` or `unix:PATH`."""
    path = where.removeprefix("unix:")
    if not path.startswith("/"):
        raise Wrong(f"{where!r} has no absolute path", "write it like unix:/run/ndpresponder/metrics.sock")
    if len(path.encode()) > SOCKET_PATH_BYTES:
        message = f"{where!r} is longer than the {SOCKET_PATH_BYTES} bytes of a socket's path"
        raise Wrong(message, "choose a shorter one")
    return where


def control_socket(raw: object) -> str:
    """Accept the absolute path of a unix socket, or nothing for off."""
    path = text(raw, "/run/ndpresponder/control.sock")
    if path and not path.startswith("/"):
        raise Wrong(f"{path!r} is not an absolute path", "write it like /run/ndpresponder/control.sock")
    if path.endswith("/"):
        raise Wrong(f"{path!r} names a directory", f"write {path}control.sock")
    return path and _socket(path)


def socket_url(raw: object) -> str:
    """Accept `unix://PATH`, as DOCKER_HOST holds it."""
    where = text(raw, "unix:///var/run/docker.sock")
    if not where.startswith("unix:"):
        hint = "write unix:///var/run/docker.sock or unix:///run/podman/podman.sock"
        raise Wrong(f"{where!r} is not the URL of a unix socket", hint)
    path = where.removeprefix("unix:").removeprefix("//")
    return _socket(f"unix:{path}").replace("unix:", "unix://", 1)


def network_name(raw: object) -> str:
    """Accept what can be the name of a container engine's network."""
    name = text(raw, "ipv6exposed")
    if not name or name != name.strip():
        raise Wrong(f"{name!r} is not the name of a network", 'write a name `docker network ls` shows, or "*" for all')
    return name


def file_path(raw: object) -> str:
    """Accept the absolute path of a file, which need not exist yet."""
    path = text(raw, "/etc/ndpresponder/addresses")
    if not path.startswith("/"):
        raise Wrong(f"{path!r} is not an absolute path", "begin it with a slash, such as /etc/ndpresponder/addresses")
    if path.endswith("/"):
        raise Wrong(f"{path!r} names a directory", "name the file in it")
    return path


def rate(word: str) -> dict[str, int]:
    """Split `N[/BURST]` into the settings `rate` and `burst`, whose ranges are checked where they are set."""
    parts = word.split("/", 1)
    if not all(part.isascii() and part.removeprefix("-").isdigit() and len(part) <= 18 for part in parts):
        raise Wrong(f"{word!r} is not N or N/BURST", "write numbers such as 1000 or 1000/400")
    return dict(zip(("rate", "burst"), map(int, parts), strict=False))
