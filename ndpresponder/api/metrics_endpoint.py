"""Shows the live daemon to the exporter and serves it; imported only when somebody wants metrics.

prometheus_client costs more time than the rest of the start, so the daemon answers first and imports this then.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

from ndpresponder import __version__
from ndpresponder.api.metrics import BoardView, Exporter, ReloadView, SourceView, TargetsView, UplinkView, metrics_route
from ndpresponder.api.server import HttpServer, verdict
from ndpresponder.targets.board import TargetBoard
from ndpresponder.uplink.uplink import Uplink


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
    routes = {
        "/metrics": metrics_route(exporter),
        "/healthz": verdict(lambda: _health(uplinks)),
        "/readyz": verdict(ready),
    }
    server = HttpServer(listen, routes, passed=passed)
    await server.start()
    on_listening(server.listen)
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


def _health(uplinks: Collection[Uplink]) -> tuple[bool, str]:
    """Tell whether the daemon works: this loop turns, and what waits in each ring is taken out of it."""
    for uplink in uplinks:
        uplink.collect()
    stalled = [f"{uplink.name} for {uplink.tally.stalled_s:.1f} s" for uplink in uplinks if uplink.stalled]
    return not stalled, f"frames wait and none is taken: {', '.join(stalled)}" if stalled else "ok"


def _view_uplinks(uplinks: Collection[Uplink]) -> Iterator[UplinkView]:
    for uplink in uplinks:
        uplink.collect()
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
