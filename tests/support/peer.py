"""A wire between two namespaces, and a packet socket at its far end that plays the router, or a stranger.

`Wire` is the cables, `Peer` sends frames and collects the advertisements that come back. It decides nothing about what
is right. Import it as `from peer import Peer, Wire`.
"""

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from frames import ROUTER_LLADDR, TARGET, UPLINK_LLADDR, option, packed, solicitation
from requirements import OURS

from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth
from ndpresponder.lab.topology import wait_until
from ndpresponder.linux.bpf import syscall

FLOOD_ENDS_S = 10.0
ANSWER_DEADLINE_S = 5.0  # of a busy machine; nothing waits that long unless it fails
MARKER = "2001:db8::ffff"  # asked for last: its answer shows that all before it were seen

NONCE = 14
SIOCGIFFLAGS = 0x8913
IFF_RUNNING = 0x40
ETH_P_ALL = 3
SIOCETHTOOL = 0x8946
ETHTOOL_GFLAGS, ETHTOOL_SFLAGS = 0x25, 0x26
ETH_FLAG_RXVLAN = 1 << 8
XDP_PASS = struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = 2, exit
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33


class Wire:
    """Cables `up0` - `far0`, `up1` - `far1`, ... between the namespaces `near` and `far`; a context manager.

    Nobody but us speaks at the far end: it has no IPv6.
    """

    def __init__(self, word: str, cables: int = 1) -> None:
        self.near = Namespace(f"{OURS}{word}-near")
        self.far = Namespace(f"{OURS}{word}-far")
        self._cables = range(cables)
        self._links = contextlib.ExitStack()
        self._ready_for_xdp = False

    def __enter__(self) -> Self:
        create_all([self.near, self.far])
        try:
            quiet = {"accept_dad": 0, "accept_ra": 0, "router_solicitations": 0}
            self.near.sysctl({f"ipv6/conf/default/{key}": value for key, value in quiet.items()})
            self.far.sysctl({"ipv6/conf/default/disable_ipv6": 1})
            for number in self._cables:
                self.plug(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def plug(self, number: int = 0, pair: int | None = None) -> None:
        """Lay one cable; returns as soon as frames pass. Cables of another `pair` have other interface indexes."""
        up, far = f"up{number}", f"far{number}"
        self.near.ip(
            veth(number if pair is None else pair, (self.near, up, UPLINK_LLADDR), (self.far, far, ROUTER_LLADDR))
        )
        self.far.ip(f"link set {far} up")
        self.near.ip(f"link set {up} up")
        await_running(self.near, up)

    def ready_for_xdp(self) -> None:
        """Leave tags in the frames that XDP sees, and have the far end take what the driver's XDP sends back.

        For that the far end needs an XDP program as well; it lets everything pass.
        """
        if self._ready_for_xdp:
            return
        self._ready_for_xdp = True
        self.leave_tags()
        for number in self._cables:
            self.let_pass(self.far, f"far{number}")

    def leave_tags(self) -> None:
        """Leave tags in the frames that XDP sees."""
        for number in self._cables:
            with self.near.enter():
                flags = ethtool(f"up{number}", ETHTOOL_GFLAGS)
                ethtool(f"up{number}", ETHTOOL_SFLAGS, flags & ~ETH_FLAG_RXVLAN)

    def let_pass(self, namespace: Namespace, interface: str) -> None:
        """Give an interface an XDP program that does nothing."""
        with namespace.enter():
            program = syscall.load_program(syscall.Hook.XDP, "passing", XDP_PASS)
            self._links.callback(os.close, program)
            index = socket.if_nametoindex(interface)
            self._links.callback(
                os.close, syscall.create_link(program, index, syscall.Hook.XDP, syscall.XdpMode.NATIVE)
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._links.close()
        delete_all([self.near, self.far])


class Peer:
    """The router's end of a wire: sends frames and collects advertisements; a context manager."""

    def __init__(self, namespace: Namespace, interface: str = "far0") -> None:
        with namespace.enter():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
                self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
                self.socket.bind((interface, ETH_P_ALL))
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send frames."""
        for frame in frames:
            while not self._send(frame):
                time.sleep(0.001)

    def _send(self, frame: bytes) -> bool:
        """Send a frame; tell whether the processor that receives it had room for it."""
        try:
            self.socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def advertisements(self, deadline_s: float = ANSWER_DEADLINE_S) -> Iterator[bytes]:
        """Yield each advertisement that arrives until `deadline_s` has passed; 0 is for what is there already."""
        end = time.monotonic() + deadline_s
        while select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
            frame = b""
            with contextlib.suppress(OSError):  # the link went down meanwhile
                frame = self.socket.recv(65536)
            if len(frame) >= 78 and frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136:
                yield frame

    def collect(self, count: int, deadline_s: float = ANSWER_DEADLINE_S) -> list[bytes]:
        """Return the next `count` advertisements, fewer if the deadline passes first."""
        return [frame for _, frame in zip(range(count), self.advertisements(deadline_s), strict=False)]

    def ask(self, *frames: bytes, deadline_s: float = ANSWER_DEADLINE_S) -> list[bytes]:
        """Send frames and return the advertisements they caused: all that came before the answer to one frame more.

        That one has an option, so that no fast path answers it before what waits in user space.

        Raises:
            TimeoutError: that frame, which is in order, was not answered.
        """
        self.send(*frames, solicitation(MARKER, options=option(NONCE, b"noncen")))
        answers: list[bytes] = []
        for answer in self.advertisements(deadline_s):
            if answer[62:78] == packed(MARKER):
                return answers
            answers.append(answer)
        raise TimeoutError(f"no answer for {MARKER}; before it came {len(answers)}")

    def await_answer(
        self, target: str = TARGET, deadline_s: float = ANSWER_DEADLINE_S, every_s: float = 0.002
    ) -> bytes:
        """Solicit `target` again and again until it is answered; return the first answer that was not there before."""
        self.drain()
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            with contextlib.suppress(OSError):  # the link is down
                self.send(solicitation(target))
            for answer in self.advertisements(every_s):
                if answer[62:78] == packed(target):
                    return answer
        raise TimeoutError(f"{target} was not answered within {deadline_s} s")

    def drain(self) -> None:
        """Forget what has arrived so far."""
        for _ in self.advertisements(0):
            pass


FLOOD = """
import ctypes, errno, os, signal, socket, struct, sys
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
os.nice(int(sys.argv[2]))
sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
frames = [bytes.fromhex(line) for line in sys.stdin]
octets = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
vectors = [ctypes.create_string_buffer(struct.pack("@PN", ctypes.addressof(o), len(o)), 16) for o in octets]
headers = [struct.pack("@PI4xPNPNi4xI4x", 0, 0, ctypes.addressof(vector), 1, 0, 0, 0, 0) for vector in vectors]
messages = ctypes.create_string_buffer(b"".join(headers), sum(map(len, headers)))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
    wire.bind((sys.argv[1], 0))
    sent = first = 0
    print("sending", flush=True)
    while not stop:
        place = ctypes.byref(messages, first * len(headers[0]))
        count = sendmmsg(wire.fileno(), place, min(64, len(frames) - first), 0)
        if count < 0:  # the processor that would receive it has too many waiting
            if ctypes.get_errno() not in (errno.ENOBUFS, errno.EINTR):
                raise OSError(ctypes.get_errno(), "sendmmsg")
        sent += max(0, count)
        first = (first + max(1, count)) % len(frames)
print(sent)
"""


class Flood:
    """A process that sends the same frames over and over, as fast as it can, while the context is open.

    After that `sent` is how many there were. It goes behind all others, since elsewhere a sender has processors of its
    own; with `at_once` it is a flood on a busy machine too.
    """

    def __init__(
        self, namespace: Namespace, frames: Iterable[bytes], interface: str = "far0", at_once: bool = False
    ) -> None:
        self._nice = -5 if at_once else 19
        self._namespace = namespace
        self._text = "\n".join(frame.hex() for frame in frames)
        self._interface = interface
        self.sent = 0

    def __enter__(self) -> Self:
        argv = (sys.executable, "-c", FLOOD, self._interface, str(self._nice))
        self._process = self._namespace.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin = self._process.stdin
        assert stdin is not None
        with stdin:
            stdin.write(self._text)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # from now on it can be told to stop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more."""
        said = self._process.stdout
        assert said is not None
        if said.closed:
            return
        self._process.terminate()
        try:
            self._process.wait(FLOOD_ENDS_S)
        finally:
            self._process.kill()
            with said:
                self.sent = int(said.read())
            self._process.wait()


def ethtool(interface: str, command: int, value: int = 0) -> int:
    """Get or set one of an interface's flags, as ethtool(8) does; return what it is then."""
    data = array.array("I", [command, value])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), data.buffer_info()[0]))
    return data[1]


def is_running(namespace: Namespace, interface: str) -> bool:
    """Tell whether the kernel passes frames on an interface (IFF_RUNNING)."""
    with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sh22x", interface.encode(), 0)
        with contextlib.suppress(OSError):
            flags: int = struct.unpack("16xh22x", fcntl.ioctl(asked, SIOCGIFFLAGS, request))[0]
            return bool(flags & IFF_RUNNING)
    return False


def await_running(namespace: Namespace, interface: str) -> None:
    """Return as soon as the kernel passes frames on an interface."""
    wait_until(lambda: is_running(namespace, interface), 5, f"{interface} to carry frames", every_s=0.001)


def seconds_until(condition: Callable[[], bool], deadline_s: float) -> float:
    """Call `condition` until it holds, without a pause; return how long that took.

    Raises:
        TimeoutError: it did not within `deadline_s`.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > deadline_s:
            raise TimeoutError(f"waited {deadline_s} s")
    return time.monotonic() - start
