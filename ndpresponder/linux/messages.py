"""The structures of sendmmsg(2), prepared once, so that a batch of advertisements is one copy and one system call."""

import ctypes
from typing import Final

from ndpresponder.wire.layout import ADVERTISEMENT_LENGTH

BATCH: Final = 64  # advertisements in one system call


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class MessageHeader(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _MsgHdr), ("sent", ctypes.c_uint))


def prepare_messages(arena: bytearray) -> "ctypes.Array[MessageHeader]":
    """Point one message header at each advertisement's place in `arena`."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(arena))
    messages = (MessageHeader * BATCH)()
    for i, message in enumerate(messages):
        message.header.iov = ctypes.pointer(_IoVec(base + i * ADVERTISEMENT_LENGTH, ADVERTISEMENT_LENGTH))
        message.header.iov_length = 1
    return messages
