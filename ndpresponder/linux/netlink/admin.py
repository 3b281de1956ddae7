"""What every change of the kernel's tables has in common: it is marked as ours, and it needs CAP_NET_ADMIN.

Never used unless a person asked for one of the features that make changes.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.errors import PermissionMissing
from ndpresponder.linux.netlink.requests import asking, is_error

# The protocol (RTA_PROTOCOL, NDA_PROTOCOL) of the routes and neighbor entries that are ours, which nobody else uses.
# A line "110 ndpresponder" in /etc/iproute2/rt_protos.d/ndpresponder.conf makes ip(8) show it by name.
PROTOCOL: Final = 110


@contextlib.contextmanager
def needing_net_admin(feature: str) -> Iterator[None]:
    """Translate the kernel's refusal within the block.

    Raises:
        PermissionMissing: CAP_NET_ADMIN is missing.
    """
    try:
        yield
    except NetlinkError as error:
        if is_error(error, errno.EPERM):
            raise PermissionMissing(
                f"{feature} needs CAP_NET_ADMIN: run as root, or install the drop-in "
                "systemd/ndpresponder-net-admin.conf of the systemd unit"
            ) from error
        raise


async def require_net_admin(feature: str) -> None:
    """Make sure that we may do what `feature` will need, before anything depends on it.

    Raises:
        PermissionMissing: CAP_NET_ADMIN is missing.
        SourceUnavailable: the kernel cannot be asked now.
    """
    async with asking() as netlink:
        try:
            with needing_net_admin(feature):
                await netlink.neigh("del", family=socket.AF_INET6, dst="::")
        except NetlinkError as error:
            if not is_error(error, errno.EINVAL):  # no link is named: with the capability the kernel objects to that
                raise
