"""Each value is accepted exactly when it makes sense, and refused with one exact line otherwise."""

from collections.abc import Callable

import pytest

from ndpresponder.config import values
from ndpresponder.config.problem import Wrong

PREFIXES = (
    (
        "2001:db8::1/112",
        (
            "'2001:db8::1/112' has host bits set; "
            "write 2001:db8::/112 for the whole prefix, or 2001:db8::1/128 for this one address"
        ),
    ),
    (
        "::/0",
        (
            "'::/0' is every address there is: no neighbor of this link could keep its own; "
            "write the prefix that is routed to this host or used behind it"
        ),
    ),
    ("ff02::/16", "'ff02::/16' is multicast; write a global or unique local prefix"),
    ("fe80::/64", "'fe80::/64' is link-local; write a global or unique local prefix"),
    (
        "fe80::1%eth0",
        ("'fe80::1%eth0' has a zone; leave the % and what follows it out: the uplink says which link is meant"),
    ),
    ("::1", "'::1' is loopback; write a global or unique local prefix"),
    ("::", "'::' is unspecified; write a global or unique local prefix"),
    ("::/64", "'::/64' covers loopback addresses (::1/128); write a narrower prefix"),
    ("::ffff:192.0.2.1", "'::ffff:192.0.2.1' is IPv4-mapped; write a global or unique local prefix"),
    ("8000::/1", "'8000::/1' covers multicast addresses (ff00::/8); write a narrower prefix"),
    ("192.0.2.0/24", "'192.0.2.0/24' is IPv4; leave it out: IPv4 has ARP, neighbor discovery is IPv6 only"),
    ("192.0.2.1", "'192.0.2.1' is IPv4; leave it out: IPv4 has ARP, neighbor discovery is IPv6 only"),
    ("2001:db8::/129", ("'2001:db8::/129' has no valid prefix length; write 2001:db8::/ and a number from 0 to 128")),
    ("2001:db8::/x", "'2001:db8::/x' has no valid prefix length; write 2001:db8::/ and a number from 0 to 128"),
    ("2001:db8::/", "'2001:db8::/' has no valid prefix length; write 2001:db8::/ and a number from 0 to 128"),
    ("2001:db8:/64", "'2001:db8:/64' is not an IPv6 prefix; write one such as \"2001:db8::/112\""),
    ("hello", "'hello' is not an IPv6 prefix; write one such as \"2001:db8::/112\""),
    ("", "'' is not an IPv6 prefix; write one such as \"2001:db8::/112\""),
    (" 2001:db8::/112", "' 2001:db8::/112' begins or ends with a space; write it without"),
)

NAMES = (
    ("", 'the interface name is empty; write the name `ip link` shows, such as "eth0"'),
    (
        "eth0 ",
        (
            "'eth0 ' is not an interface name: no slash, colon or space can be in one; "
            'write the name `ip link` shows, such as "eth0"'
        ),
    ),
    (
        "a/b",
        (
            "'a/b' is not an interface name: no slash, colon or space can be in one; "
            'write the name `ip link` shows, such as "eth0"'
        ),
    ),
    (
        "a:b",
        (
            "'a:b' is not an interface name: no slash, colon or space can be in one; "
            'write the name `ip link` shows, such as "eth0"'
        ),
    ),
    (
        "..",
        (
            "'..' is not an interface name: no slash, colon or space can be in one; "
            'write the name `ip link` shows, such as "eth0"'
        ),
    ),
    (
        "abcdefghijklmnop",
        (
            "'abcdefghijklmnop' is longer than the 15 bytes the kernel allows an interface name; "
            "write the name `ip link` shows"
        ),
    ),
    ("eth0@if7", "'eth0@if7' is not an interface name; write \"eth0\": `ip link` shows a peer after the @"),
)

LISTEN = (
    ("9846", "'9846' is neither ADDR:PORT nor unix:PATH; write [::1]:9846"),
    (
        ":9846",
        (
            "':9846' does not say on which address; "
            "write [::1]:9846 for this host only, [::]:9846 for every address it has"
        ),
    ),
    (
        "*:80",
        ("'*:80' does not say on which address; write [::1]:80 for this host only, [::]:80 for every address it has"),
    ),
    ("::1:9846", "'::1:9846': an IPv6 address needs brackets before its port; write [::1]:9846"),
    ("::1", "'::1' has no port; write [::1]:9846"),
    ("[::1]", "'[::1]' has no port; write [::1]:9846"),
    ("127.0.0.1", "'127.0.0.1' has no port; write 127.0.0.1:9846"),
    (
        "localhost:9846",
        ("'localhost:9846': 'localhost' is not an IP address; write [::1] or 127.0.0.1: names are not resolved"),
    ),
    (
        "[127.0.0.1]:80",
        ("'[127.0.0.1]:80': '[127.0.0.1]' is not an IP address; write [::1] or 127.0.0.1: names are not resolved"),
    ),
    ("[::1]:0", "'[::1]:0': '0' is not a port; write [::1]: and a number from 1 to 65535"),
    ("[::1]:65536", "'[::1]:65536': '65536' is not a port; write [::1]: and a number from 1 to 65535"),
    ("[::1]:http", "'[::1]:http': 'http' is not a port; write [::1]: and a number from 1 to 65535"),
    ("127.0.0.1:", "'127.0.0.1:': '' is not a port; write 127.0.0.1: and a number from 1 to 65535"),
    ("unix:run/x", "'unix:run/x' has no absolute path; write it like unix:/run/ndpresponder/metrics.sock"),
    ("unix:", "'unix:' has no absolute path; write it like unix:/run/ndpresponder/metrics.sock"),
    (
        f"unix:/{'x' * 107}",
        f"'unix:/{'x' * 107}' is longer than the 107 bytes of a socket's path; choose a shorter one",
    ),
    (
        "metrics",
        ("'metrics' is neither ADDR:PORT nor unix:PATH; write [::1]:9846, 127.0.0.1:9846 or unix:/run/metrics.sock"),
    ),
)


CONTROL = (
    ("run/x", "'run/x' is not an absolute path; write it like /run/ndpresponder/control.sock"),
    ("unix:/run/x", "'unix:/run/x' is not an absolute path; write it like /run/ndpresponder/control.sock"),
    ("/run/", "'/run/' names a directory; write /run/control.sock"),
    (f"/{'x' * 107}", f"'/{'x' * 107}' is longer than the 107 bytes of a socket's path; choose a shorter one"),
)

RATES = (
    ("", "'' is not N or N/BURST; write numbers such as 1000 or 1000/400"),
    ("fast", "'fast' is not N or N/BURST; write numbers such as 1000 or 1000/400"),
    ("1/", "'1/' is not N or N/BURST; write numbers such as 1000 or 1000/400"),
    ("1/2/3", "'1/2/3' is not N or N/BURST; write numbers such as 1000 or 1000/400"),
)


@pytest.mark.parametrize(
    ("parse", "raw", "message"),
    [
        *((values.prefix, *row) for row in PREFIXES),
        *((values.interface_name, *row) for row in NAMES),
        *((values.listen, *row) for row in LISTEN),
        *((values.control_socket, *row) for row in CONTROL),
        *((values.rate, *row) for row in RATES),
    ],
)
def test_a_wrong_value_is_refused(parse: Callable[[str], object], raw: str, message: str) -> None:
    with pytest.raises(Wrong) as raised:
        parse(raw)
    assert message == f"{raised.value.message}; {raised.value.hint}"


@pytest.mark.parametrize(
    ("expected", "raw"),
    [
        ("2001:db8::/112", "2001:db8::/112"),
        ("2001:db8::/112", "2001:0DB8:0:0::/112"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("fd00::/8", "fd00::/8"),
        ("2000::/3", "2000::/3"),
    ],
)
def test_a_prefix_is_read(expected: str, raw: str) -> None:
    assert expected == str(values.prefix(raw))


@pytest.mark.parametrize("raw", ["fe80::/10", "::/0", "ff02::1"])
def test_an_exclusion_may_be_any_prefix(raw: str) -> None:
    assert str(values.network(raw)).startswith(raw)


@pytest.mark.parametrize("raw", ["eth0", "br-ct", "enp0s31f6.4094", "über", "veth%d", "-", "abcdefghijklmno"])
def test_an_interface_name_is_what_the_kernel_allows(raw: str) -> None:
    assert raw == values.interface_name(raw)


@pytest.mark.parametrize(
    "raw", ["", "[::1]:9846", "127.0.0.1:1", "0.0.0.0:65535", "[fe80::1%eth0]:80", "unix:/run/m", "unix:/a b:1"]
)
def test_a_listen_address_is_kept_as_it_is(raw: str) -> None:
    assert raw == values.listen(raw)


@pytest.mark.parametrize("raw", ["", "/run/x", "/run/a b/c.sock"])
def test_a_control_socket_is_kept_as_it_is(raw: str) -> None:
    assert values.control_socket(raw) == raw


@pytest.mark.parametrize(
    ("expected", "letters"),
    [
        ("debug", ["debug", "DEBUG", "V", "D", "d"]),
        ("info", ["info", "I", "i"]),
        ("warning", ["warning", "warn", "WARN", "W"]),
        ("error", ["error", "E", "F", "N"]),
    ],
)
def test_a_level_may_be_a_word_or_a_letter(expected: str, letters: list[str]) -> None:
    assert {expected} == {values.log_level(letter) for letter in letters}


@pytest.mark.parametrize(
    ("expected", "raw"), [((1000,), "1000"), ((1000, 400), "1000/400"), ((0,), "0"), ((-1, 5), "-1/5")]
)
def test_a_rate_is_split(expected: tuple[int, ...], raw: str) -> None:
    assert dict(zip(("rate", "burst"), expected, strict=False)) == values.rate(raw)
