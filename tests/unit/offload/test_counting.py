"""Who keeps the kernel's program in step with the table: what is not handed over must be read."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from frames import solicitation
from sample_responder import make_responder, uplink_state

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.loop import frame_loop
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.offload import counting, reading
from ndpresponder.offload.fanout_members import COUNTED
from ndpresponder.offload.flood_program import LEAST_SHARE, MOST_SHARE, Shares, hold_back
from ndpresponder.outcome import Outcome
from ndpresponder.policy.confirmed_gateways import ConfirmedGateways
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.overload import Overload
from ndpresponder.policy.table import EMPTY
from ndpresponder.wire.classic_bpf import Program
from ndpresponder.wire.filters import SOLICITATIONS, SOLICITATIONS_OF_THE_LINK
from ndpresponder.wire.layout import REQUESTER

TABLE = make_responder().table
DEADLINE_S = 5
FLOODING = solicitation()


class Group:
    """Stands in for `Fanout`."""

    def __init__(self) -> None:
        self.programs: list[Program] = []
        self.members = 3
        self.added: list[object] = []
        self.collected = 0
        self.closed = False
        self.failure: Exception | None = None

    def set_program(self, program: Program) -> None:
        if self.failure is not None:
            raise self.failure
        self.programs.append(program)

    def grow(self, members: int) -> None:
        self.members = members

    def add(self, member: object) -> None:
        self.added.append(member)

    def take_counts(self) -> list[int]:
        self.collected += 1
        return [0] * self.members

    def close(self) -> None:
        self.closed = True


class Socket:
    """Stands in for `PacketSocket`."""

    index, waiting = 2, False

    def __init__(self) -> None:
        self.admitted: list[Program] = []
        self.descriptor = os.eventfd(0)  # which is never readable

    def fileno(self) -> int:
        return self.descriptor

    def take_drops(self) -> int:
        return 0

    def close(self) -> None:
        os.close(self.descriptor)

    def set_filter(self, program: Program) -> None:
        self.admitted.append(program)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    joined: list[Group] = []

    def join(*_: object) -> Group:
        joined.append(Group())
        return joined[-1]

    monkeypatch.setattr(counting, "join_fanout", join)
    monkeypatch.setattr(counting, "open_packet_socket", lambda *_: Socket())
    return joined


def refuse(*_: object) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


def make_overload(known: KnownRequesters) -> Overload:
    return Overload(known, ConfirmedGateways(lambda: 0.0), {}, lambda: 0.0)


OTHERS_ONLY = Shares(0.0, 0.0, 1.0)


def while_counting(
    act: Callable[[counting.Counting], Coroutine[Any, Any, None]],
    tally: Tally | None = None,
    overload: Overload | None = None,
    socket: Any = None,
    read_all: Callable[[], bool] = lambda: False,
) -> None:
    """Have `act` done while somebody counts in `tally`."""

    async def main() -> None:
        read = socket or Socket()
        counter = counting.Counting(
            tally or Tally(),
            overload or make_overload(KnownRequesters(lambda: 0.0)),
            read_all,
            UplinkLog(InterfaceConfig("up0")),
            lambda _: None,
        )
        counter.open(read, "up0")
        counter.set_state(uplink_state())
        await act(counter)
        counter.close()
        read.close()

    with asyncio.Runner(loop_factory=frame_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("failure", [OSError("refused"), RuntimeError("can't start new thread")], ids=repr)
def test_after_any_failure_everything_is_read_and_the_next_change_tries_again(
    groups: list[Group], failure: Exception
) -> None:
    async def act(counter: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)
        groups[0].failure = failure
        counter.set_table(TABLE)
        await until(lambda: groups[0].closed)
        counter.set_table(EMPTY)
        await until(lambda: len(groups) == 2 and groups[1].programs)

    while_counting(act)
    assert groups[1].closed


def test_after_a_failure_it_is_tried_again_although_nothing_changes(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_AGAIN_S", 0.01)

    async def act(counter: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)
        groups[0].failure = OSError("short of something")
        counter.set_table(TABLE)
        await until(lambda: len(groups) == 2 and groups[1].programs)

    while_counting(act)


@pytest.mark.parametrize("refused", ["set_filter", "take_counts"])
def test_a_shortage_that_also_keeps_it_from_giving_up_does_not_end_it(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """What would then stay in force for ever keeps each new target from being read."""
    monkeypatch.setattr(counting, "_AGAIN_S", 0.01)

    async def act(counter: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)
        groups[0].failure = OSError("short of something")
        with monkeypatch.context() as short:
            short.setattr(Socket if refused == "set_filter" else Group, refused, refuse)
            counter.set_table(TABLE)
            await until(lambda: groups[0].closed)
        await until(lambda: len(groups) > 1 and groups[-1].programs)

    while_counting(act)


def test_counters_that_cannot_be_read_in_a_flood_do_not_end_it(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(counter: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)
        counter.flood()
        await until(lambda: groups[0].programs[1:])
        with monkeypatch.context() as short:
            short.setattr(Group, "take_counts", refuse)
            await until(lambda: groups[0].closed)
        counter.set_table(TABLE)
        await until(lambda: len(groups) == 2 and groups[1].programs)

    while_counting(act)


def test_forwarded_frames_pass_the_filter_only_while_nobody_else_counts_them(groups: list[Group]) -> None:
    socket, watched = Socket(), [False]

    async def act(counter: counting.Counting) -> None:
        await until(lambda: socket.admitted == [SOLICITATIONS_OF_THE_LINK])
        watched[0] = True
        counter.collect()
        await until(lambda: socket.admitted[1:] == [SOLICITATIONS])
        watched[0] = False
        counter.collect()
        await until(lambda: socket.admitted[2:] == [SOLICITATIONS_OF_THE_LINK])
        groups[0].failure = OSError("short of something")
        counter.set_table(TABLE)
        await until(lambda: socket.admitted[3:] == [SOLICITATIONS])

    while_counting(act, socket=socket, read_all=lambda: watched[0])
    assert len(socket.admitted) == 4  # between two processes the filter stays as it was


def test_without_a_thread_for_it_the_group_is_closed_all_the_same(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def act(counter: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)
        loop: Any = asyncio.get_running_loop()
        loop.run_in_executor = refuse
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            counter.set_table(TABLE)
            await until(lambda: groups[0].closed)

    while_counting(act)
    assert len(groups) == 1


def test_a_program_is_written_beside_the_loop(groups: list[Group], monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    write = counting.counting_program

    def watched(*arguments: Any) -> Program:
        threads.append(threading.current_thread())
        return write(*arguments)

    monkeypatch.setattr(counting, "counting_program", watched)

    async def act(_: counting.Counting) -> None:
        await until(lambda: groups and groups[0].programs)

    while_counting(act)
    assert threads
    assert threading.main_thread() not in threads


async def look(counter: counting.Counting, group: Group) -> None:
    """Have it see now whether the flood goes on, also when a program that was being written postpones that."""
    before = group.collected

    def looked() -> bool:
        if group.collected == before:
            counter._look_s = 0.0
            counter._changed.set()
        return group.collected > before

    await until(looked)


def test_in_a_flood_as_much_is_read_as_there_is_time_for_until_it_is_over(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_LOOK_S", 3600)
    monkeypatch.setattr(counting, "_FIRST_LOOK_S", 3600)
    monkeypatch.setattr(counting, "SETTLE_S", 0)
    monkeypatch.setattr(counting, "_REWRITE_S", 0)
    monkeypatch.setattr(reading.Read, "parts", OTHERS_ONLY)
    known = KnownRequesters(lambda: 0.0)
    known.meet(FLOODING[REQUESTER])
    tally, overload = Tally(), make_overload(known)

    def thin() -> None:
        overload.thin([FLOODING] * 64)

    def hold_many_back() -> None:
        tally.ended[Outcome.OVERLOADED] += 3600 * counting._FLOOD_PER_S
        overload.frames += 1

    def busy(part: float, known_part: float = 0.0) -> Callable[[], None]:
        def hold_back_more() -> None:
            monkeypatch.setattr(reading.Read, "busy", part)
            monkeypatch.setattr(reading.Read, "parts", Shares(known_part, 0.0, 1 - known_part))
            hold_many_back()

        return hold_back_more

    async def act(counter: counting.Counting) -> None:
        async def in_force(known: float, others: float) -> None:
            def is_written() -> bool:
                shares = counter._reading.in_force
                return counter._program == hold_back(calm, shares, overload.spared(shares.others))

            await until(lambda: counter._reading.in_force == pytest.approx((known, others, others)) and is_written())
            await asyncio.sleep(0)  # what is thinned from now on is too much

        async def after(happened: Callable[[], None], known: float, others: float) -> None:
            happened()
            await look(counter, groups[0])
            await in_force(known, others)

        await until(lambda: groups and groups[0].programs)
        (programs,) = (group.programs for group in groups)
        (calm,) = programs
        least, most = LEAST_SHARE, MOST_SHARE
        for _ in range(2):
            thin()
            counter.flood()
            await in_force(1 / 8, 1 / 8)
            await after(busy(reading._BUSY / 2), least, 1 / 4)
            await after(busy(reading._BUSY / 2, 1 - 1e-9), 2 * least, most)
            loud = 2 * least * reading._BUSY
            await after(busy(1.0, 1 - 1e-9), loud, most)
            less, more = reading._LESS, reading._MORE
            await after(thin, loud * less, most)
            await after(thin, loud * less**2, most)
            await after(thin, least, most * less)
            await after(thin, least, most * less**2)
            await after(busy(reading._BUSY / 2), least, most * less**2 * more)
            await after(busy(0.01), least, most * less**2 * more**2)
            for _ in range(7):
                await after(thin, least, max(least, counter._reading.in_force.others * less))
            for _ in range(counting._QUIET_LOOKS):
                assert counter._overload.flooded
                await look(counter, groups[0])
            await until(lambda: programs[-1] == calm)
            assert (overload.total, groups[0].members, groups[0].added) == (0, len(COUNTED), [counter.second])

    while_counting(act, tally, overload)


SHARES = (LEAST_SHARE, 1 / 4, MOST_SHARE)
TIMES = pytest.mark.parametrize("times", [1 / 2, 0.9, 1.0, 1.5, 8.0, 64.0])


@pytest.mark.parametrize("known_part", [0.0, 0.1, 0.5, 0.9, 1.0])
@TIMES
@pytest.mark.parametrize("known", SHARES)
@pytest.mark.parametrize("others", SHARES)
def test_a_change_of_what_is_read_leaves_known_requesters_that_flood_what_the_others_do_not_need(
    known: float, others: float, times: float, known_part: float
) -> None:
    after = Shares(known, others, others).changed(times, Shares(known_part, 0.0, 1 - known_part))
    assert all(LEAST_SHARE <= share <= MOST_SHARE for share in after)
    read = known_part * after.known / known + (1 - known_part) * after.others / others
    if 1.01 * LEAST_SHARE < after.known < MOST_SHARE:
        assert read == pytest.approx(times)
    if 0 < known_part < 1 and after.known > 1.01 * LEAST_SHARE:
        assert after.others == MOST_SHARE
    assert after.others >= others or after.known == pytest.approx(LEAST_SHARE)


@pytest.mark.parametrize("guarded_part", [0.1, 0.5, 0.9, 1.0])
@TIMES
@pytest.mark.parametrize("guarded", SHARES)
@pytest.mark.parametrize("others", SHARES)
def test_a_flood_in_the_name_of_a_gateway_takes_half_at_most_of_what_the_others_need(
    guarded: float, others: float, times: float, guarded_part: float
) -> None:
    after = Shares(LEAST_SHARE, guarded, others).changed(times, Shares(0.0, guarded_part, 1 - guarded_part))
    assert all(LEAST_SHARE <= share <= MOST_SHARE for share in after)
    of_guarded = guarded_part * after.guarded / guarded
    of_others = (1 - guarded_part) * after.others / others
    if min(after.guarded, after.others) > LEAST_SHARE and max(after.guarded, after.others) < MOST_SHARE:
        assert of_guarded + of_others == pytest.approx(times)
    assert after.others == pytest.approx(MOST_SHARE) or of_others >= times / 2 - 1e-6
    if after.guarded not in (pytest.approx(MOST_SHARE), LEAST_SHARE) and after.others > LEAST_SHARE:
        assert of_guarded >= times / 2 - 1e-6
    if guarded_part == 1.0:
        assert after.others == MOST_SHARE
