"""Read programs from an object file of clang's BPF target, and link them with maps.

The code names each map as an external symbol. Linking puts the descriptor of a real one in its place, as often as
wanted, each time with other maps. No more of ELF is understood than that needs (elf(5), 64 bit).
"""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_LOAD_64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW: the value of a map is its address, or its descriptor until it is loaded
_LOAD_64_LENGTH = 16  # octets: the value takes the place of a second instruction
_PSEUDO_MAP_FD = 1
_SECTION = struct.Struct("=IIQQQQIIQQ")
_SYMBOL = struct.Struct("=IBBHQQ")
_RELOCATION = struct.Struct("=QQ")
_TYPE_RELOCATIONS = 9  # SHT_REL
_EM_BPF = 247


class BadObject(Exception):
    """The octets are not an object file that this processor's kernel could run."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its instructions, and at which of their octets it names which map."""

    instructions: bytes
    maps: tuple[tuple[int, str], ...]

    def link(self, maps: Mapping[str, int]) -> bytes:
        """Return the instructions with the descriptors of these maps."""
        linked = bytearray(self.instructions)
        for place, name in self.maps:
            registers = linked[place + 1]  # two of four bits: the source says what kind of a value it is
            little = sys.byteorder == "little"
            registers = registers & 0x0F | _PSEUDO_MAP_FD << 4 if little else registers & 0xF0 | _PSEUDO_MAP_FD
            struct.pack_into("=BBhi", linked, place, _LOAD_64, registers, 0, maps[name])
        return bytes(linked)


def read_program(data: bytes, section: str) -> Program:
    """Return the program in a section of an object file; raise `BadObject` if there is none."""
    try:
        return _read(data, section)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise BadObject("the object file is damaged") from error


def _read(data: bytes, wanted: str) -> Program:
    order = 1 if sys.byteorder == "little" else 2
    if data[:4] != b"\x7fELF" or data[4] != 2 or data[5] != order or struct.unpack_from("=H", data, 18)[0] != _EM_BPF:
        raise BadObject(f"this is not an object file for BPF on a {sys.byteorder}-endian processor")
    (start,) = struct.unpack_from("=Q", data, 40)
    size, count, names = struct.unpack_from("=HHH", data, 58)
    sections = [_SECTION.unpack_from(data, start + number * size) for number in range(count)]

    def body(number: int) -> bytes:
        _, _, _, _, offset, length, *_ = sections[number]
        return data[offset : offset + length]

    titles = body(names)
    found = [number for number, (name, *_) in enumerate(sections) if _text(titles, name) == wanted]
    if not found:
        raise BadObject(f"there is no program {wanted!r} in the object file")
    instructions, maps = body(found[0]), []
    for number, (_, kind, _, _, _, _, symbols, applies_to, *_) in enumerate(sections):
        if kind == _TYPE_RELOCATIONS and applies_to == found[0]:
            texts = body(sections[symbols][6])
            for place, information in _RELOCATION.iter_unpack(body(number)):
                symbol = _SYMBOL.unpack_from(body(symbols), (information >> 32) * _SYMBOL.size)
                if place % 8 or place + _LOAD_64_LENGTH > len(instructions) or instructions[place] != _LOAD_64:
                    raise BadObject(f"the map {_text(texts, symbol[0])!r} is named where none is loaded")
                maps.append((place, _text(texts, symbol[0])))
    return Program(instructions, tuple(maps))


def _text(texts: bytes, start: int) -> str:
    return texts[start : texts.index(b"\0", start)].decode()
