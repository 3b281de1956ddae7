"""Follow the uplinks as the kernel shows them, or ask for them once."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Interrupted
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.link import Link
from ndpresponder.linux.netlink.link_reading import ask_link

_GROUPS: Final = changes.LINK | changes.IPV6_ADDRESS | changes.IPV6_ROUTE | changes.IPV6_NETCONF
_ATTEMPTS: Final = 5

Links = Mapping[str, Link | None]


class LinkWatcher:
    """Publishes the state of the named uplinks, None for one that does not exist, whenever it changes."""

    def __init__(self, names: Iterable[str], publish: Callable[[Links], None]) -> None:
        self._names = tuple(names)
        self._publish = publish
        self._links: Links | None = None
        self.changes = Changes(_GROUPS, self._matters)

    def forget(self) -> None:
        """Publish after the next change whatever it finds: somebody knows that the links are not what they were."""
        self._links = None

    async def run(self) -> None:
        """Follow the uplinks until cancelled; raise `SourceUnavailable` if netlink failed: run again."""
        await self.changes.follow(self._ask)

    def _matters(self, event: bytes) -> bool:
        """Tell whether `event` can concern an uplink: default routes and routes to neighbors there do.

        Other routes do not, of which a router has many.
        """
        if self._links is None or len(event) < nl.HEADER_LENGTH + nl.RTMSG.size:
            return True
        if nl.kind_of(event) not in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE) or nl.head(event, nl.RTMSG)[1] == 0:
            return True
        values = nl.values_of(event, nl.RTMSG)
        if nl.RTA_MULTIPATH in values:
            return True
        index = nl.number(values, nl.RTA_OIF)
        return nl.RTA_GATEWAY not in values and any(link.index == index for link in self._links.values() if link)

    async def _ask(self) -> None:
        with contextlib.suppress(Interrupted):
            links = {name: await ask_link(name) for name in self._names}
            if links != self._links:
                self._publish(links)  # which may fail: then once more
                self._links = links


async def ask_links(names: Collection[str]) -> Links:
    """Return the present state of the named links, None for one that does not exist."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(Interrupted):
            return {name: await ask_link(name) for name in names}
    raise SourceUnavailable("netlink: the links changed again and again while they were read")
