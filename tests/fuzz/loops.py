"""One event loop for all inputs of a subject, and a unix socket that says anything: what the daemon's loop would meet.

Whatever the loop would only have logged, such as a callback that raises or an exception that nobody fetched, fails.
"""

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
DEADLINE_S = 10.0
SHORT_LIVED = "/dev/shm"  # thousands of files a second


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end and return its result; fail on whatever the loop complains of meanwhile."""
    complaints: list[dict[str, Any]] = []
    loop = _loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    result = loop.run_until_complete(asyncio.wait_for(work, DEADLINE_S))
    assert not complaints, complaints
    assert not asyncio.all_tasks(loop)
    return result


def close() -> None:
    """Close the loop; the next `run` has a new one."""
    _loop().close()
    _loop.cache_clear()


async def heard_for(pieces: Iterable[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send the pieces and return all that is said, nothing if it had enough before it could be read."""
    heard = asyncio.create_task(reader.read())
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
    said = b""
    with contextlib.suppress(OSError):
        said = await heard
    writer.transport.abort()
    return said


@contextlib.asynccontextmanager
async def saying(answer: Callable[[bytes], bytes], end_of_question: bytes, name: str) -> AsyncIterator[str]:
    """Yield the path of a socket that reads what is asked, up to its end, says the `answer` to it and hangs up."""
    serving = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # who asked has heard enough
            writer.write(answer(await reader.readuntil(end_of_question)))
            writer.write_eof()
            await reader.read()
        writer.transport.abort()

    with tempfile.TemporaryDirectory(dir=SHORT_LIVED) as directory:
        path = str(Path(directory, name))
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield path
        finally:
            server.close()
            await asyncio.wait_for(asyncio.gather(*serving), DEADLINE_S)
