"""Who may come in at the control socket when the daemon is not root, and what happens when its code is gone."""

import asyncio
import concurrent.futures.thread  # noqa: F401  which another user may not be able to read where Python lies
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from control_client import ask, ask_as, connected, is_open
from fake_engine import until
from requirements import require
from structlog.testing import capture_logs

from ndpresponder.api import access, control
from ndpresponder.api.listening import Clients
from ndpresponder.lab.topology import wait_until

USER, OTHER = 12345, 23456
DAEMON: Any = SimpleNamespace(in_force=None, reload=None, upgrade=None)


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a path below a directory that everybody may change."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name, "control.sock")


def serving(path: Path, uid: int) -> int:
    """Serve, as this user, in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            asyncio.run(access.serve(str(path), DAEMON, lambda: None))
        finally:
            os._exit(0)
    return child


def test_the_daemons_own_user_may_ask_and_root_and_nobody_else(path: Path) -> None:
    require()
    child = serving(path, USER)
    try:
        wait_until(lambda: is_open(path), 10, "the socket")
        path.chmod(0o666)
        who = ((USER, OTHER, ()), (OTHER, USER, ()), (OTHER, OTHER, (USER,)), (0, 0, ()), (OTHER, OTHER, ()))
        assert [ask_as(path, *each, target="/nothing") for each in who] == ["404", "404", "404", "404", "403"]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def served(path: Path) -> tuple[int, Any]:
    """Return the status and the JSON that a client gets."""

    async def main() -> tuple[int, Any]:
        serving = asyncio.create_task(access.serve(str(path), DAEMON, lambda: None))
        await until(lambda: is_open(path), "the control socket")
        answered = await asyncio.to_thread(ask, path, "GET", "/nothing")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert not path.exists()
        return answered

    return asyncio.run(main())


def test_code_that_is_gone_is_told_and_ends_the_request_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs, monkeypatch.context() as gone:
        gone.setitem(sys.modules, control.__name__, None)
        status, said = served(path)
    assert (status, "was another version installed" in said["error"]) == (503, True)
    assert {event["event"] for event in logs} == {"the control socket cannot be served"}
    assert served(path)[0] == 404


def test_who_has_to_go_at_once_is_disconnected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stay(*_: object) -> None:
        await asyncio.Event().wait()

    async def main() -> bytes:
        monkeypatch.setattr(access, "Clients", lambda _: Clients(1))
        monkeypatch.setattr(control, "talk", stay)
        serving = asyncio.create_task(access.serve(str(path), DAEMON, lambda: None))
        await until(lambda: is_open(path), "the control socket")
        with connected(path) as first, connected(path):  # both come in during one turn of the loop
            heard = await asyncio.to_thread(first.recv, 1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return heard

    assert asyncio.run(main()) == b""


@pytest.fixture
def serving_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Return what serves while an act is done, and returns what was logged."""
    monkeypatch.setattr(access, "_AGAIN_S", 0.02, raising=False)
    monkeypatch.setattr(access, "_LOOK_S", 0.02, raising=False)

    def serve(act: Callable[[], Coroutine[Any, Any, None]]) -> list[Any]:
        async def main() -> None:
            listening = asyncio.Event()
            serving = asyncio.create_task(access.serve(str(path), DAEMON, listening.set))
            async with asyncio.timeout(5):
                await listening.wait()
            await act()
            await until(lambda: is_open(path), "the control socket", 5)
            assert (await asyncio.to_thread(ask, path, "GET", "/nothing"))[0] == 404
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            assert not path.exists()

        with capture_logs() as logs:
            asyncio.run(main())
        return [log["event"] for log in logs]

    return serve


def test_what_could_not_be_listened_on_is_listened_on_when_it_can(
    path: Path, serving_meanwhile: Callable[..., list[Any]]
) -> None:
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()

    async def free_it() -> None:
        await asyncio.sleep(0.1)  # it is tried several times
        other.close()

    assert serving_meanwhile(free_it) == ["nobody can ask this daemon", "this daemon can be asked now"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_socket_whose_file_was_removed_is_opened_anew(
    path: Path, serving_meanwhile: Callable[..., list[Any]], replaced: bool
) -> None:
    async def remove() -> None:
        path.unlink()
        if replaced:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))

    assert serving_meanwhile(remove) == ["the file of the control socket was removed or replaced: it is opened anew"]
