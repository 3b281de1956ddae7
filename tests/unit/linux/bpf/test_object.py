"""An object file of programs: what is in it is linked, what is wrong with it is said."""

import contextlib
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.linux.bpf.object import BadObject, Program, read_program

LOAD = struct.pack("=BBhi", 0x18, 0x01, 0, 0)  # r1 = 64 bits, of which 32 stand in the next instruction
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
CODE = LOAD + bytes(8) + EXIT
ORDER = 1 if sys.byteorder == "little" else 2


def elf(place: int = 0, machine: int = 247, order: int = ORDER) -> bytes:
    """Return an object file as clang makes it: one program in the section "tc" that names the map "live"."""
    texts = b"\0tc\0live\0"
    symbols = bytes(24) + struct.pack("=IBBHQQ", 4, 0x10, 0, 0, 0, 0)
    relocations = struct.pack("=QQ", place, 1 << 32 | 1)
    bodies = (b"", texts, CODE, symbols, relocations)
    heads = ((0, 0, 0, 0), (0, 3, 0, 0), (1, 1, 0, 0), (0, 2, 1, 0), (0, 9, 3, 2))
    data, offsets = b"", []
    for body in bodies:
        offsets.append(64 + len(data))
        data += body
    table = b"".join(
        struct.pack("=IIQQQQIIQQ", name, kind, 0, 0, offset, len(body), link, info, 0, 0)
        for (name, kind, link, info), offset, body in zip(heads, offsets, bodies, strict=True)
    )
    ident = b"\x7fELF" + bytes((2, order, 1)) + bytes(9)
    header = ident + struct.pack("=HHIQQQIHHHHHH", 1, machine, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, len(bodies), 1)
    return header + data + table


def test_a_program_is_read_with_the_maps_it_names() -> None:
    assert read_program(elf(), "tc") == Program(CODE, ((0, "live"),))


def test_linking_puts_descriptors_in_the_place_of_names_and_leaves_the_program_as_it_was() -> None:
    program = read_program(elf(), "tc")
    for descriptor in (5, 6):
        code, registers, offset, value = struct.unpack_from("=BBhi", program.link({"live": descriptor}))
        assert (code, registers, offset, value) == (0x18, 0x11, 0, descriptor)
    assert program.instructions == CODE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an object file"),
        (b"\x7fELF", "damaged"),
        (elf(machine=62), "not an object file for BPF"),
        (elf(order=3), "not an object file for BPF"),
        (elf()[:-10], "damaged"),
        (elf()[:70], "damaged"),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadObject, match=says):
        read_program(data, "tc")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BadObject, match="no program 'xdp'"):
        read_program(elf(), "xdp")


def test_a_map_is_put_nowhere_but_where_one_is_loaded() -> None:
    with pytest.raises(BadObject, match="'live'"):
        read_program(elf(place=16), "tc")


@given(st.data())
def test_whatever_the_octets_nothing_else_is_raised(data: st.DataObject) -> None:
    octets = bytearray(elf())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadObject):
        program = read_program(bytes(octets), "tc")
        assert len(program.link({name: 5 for _, name in program.maps})) == len(program.instructions)
