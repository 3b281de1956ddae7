"""Shows the live daemon to the exporter and serves it; imported only when somebody wants metrics.

prometheus_client costs more time than the rest of the start, so the daemon answers first and imports this then.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

from ndpresponder import __version__
from ndpresponder.observe.exporter import (
    BoardView,
    Exporter,
    ReloadView,
    SourceView,
    TargetsView,
    UplinkView,
    metrics_route,
)
from ndpresponder.observe.http import HttpServer, health, readiness
from ndpresponder.targets.board import TargetBoard
from ndpresponder.uplink import Uplink


async def serve(
    listen: str,
    passed: Sequence[int],
    uplinks: Collection[Uplink],
    board: TargetBoard,
    ready: Callable[[], tuple[bool, str]],
    reload: Callable[[], tuple[bool, float]],
    on_listening: Callable[[str], None],
) -> None:
    """Serve /metrics, /healthz and /readyz at `listen` until cancelled.

    `reload` returns whether the last reading of the settings succeeded, and when the last that did was.

    If the service manager has `passed` sockets for that, those win. `on_listening` is told where it is in the end.

    Raises:
        SystemRefused: `listen` cannot be listened on, or what was passed.
    """
    exporter = Exporter(
        uplinks=lambda: _view_uplinks(uplinks),
        board=lambda: _view_board(board, uplinks),
        reload=lambda: ReloadView(*reload()),
        version=__version__,
    )
    routes = {"/metrics": metrics_route(exporter), "/healthz": health, "/readyz": readiness(ready)}
    server = HttpServer(listen, routes, passed=passed)
    await server.start()
    on_listening(server.listen)
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


def _view_uplinks(uplinks: Collection[Uplink]) -> Iterator[UplinkView]:
    for uplink in uplinks:
        uplink.collect_drops()
        yield UplinkView(uplink.name, uplink.tally)


def _view_board(board: TargetBoard, uplinks: Collection[Uplink]) -> BoardView:
    prefixes: Counter[tuple[str, str]] = Counter()
    addresses: Counter[tuple[str, str]] = Counter()
    for uplink in uplinks:
        for entry in board.entries:
            if entry.serves(uplink.name):
                prefixes[uplink.name, entry.source.kind] += len(entry.targets.claimed)
                addresses[uplink.name, entry.source.kind] += len(entry.targets.live)
    return BoardView(
        generation=board.generation,
        targets=[TargetsView(*labels, prefixes[labels], addresses[labels]) for labels in prefixes],
        sources=[
            SourceView(entry.source.kind, entry.source.name, entry.up, entry.last_sync_s, entry.resyncs)
            for entry in board.entries
        ],
    )
