"""An uplink as the kernel shows it."""

from dataclasses import dataclass, field
from typing import Final

from ndpresponder.wire.addresses import subnet_router_anycast

_ARPHRD_ETHER: Final = 1  # linux/if_arp.h
PASSTHRU: Final = "macvlan in passthru mode"
MAX_SERVED_GATEWAYS: Final = 16  # who sends router advertisements can make up any number


@dataclass(frozen=True, slots=True)
class Link:
    """One uplink as the kernel shows it."""

    name: str  # as configured; the kernel accepts an alternative name too
    device: str  # its present main name
    index: int
    lladdr: bytes
    hardware_type: int  # ARPHRD_*
    up: bool
    forwarding: bool
    addresses: frozenset[bytes]
    gateways: frozenset[bytes]
    unproven: frozenset[bytes] = frozenset()  # of the addresses, those that may be another host's (RFC 4862 5.4)
    onlink: frozenset[tuple[int, int]] = frozenset()  # value and length of the prefixes that are on-link here
    taken_by: str = ""  # the interface that takes its frames before a packet socket sees them
    taken_kind: str = ""  # what that one is, such as bridge; empty: nothing takes them
    ipv6_disabled: bool = False
    subnets: frozenset[tuple[int, int]] = frozenset()  # of the addresses, and advertised: values and lengths
    static_gateways: frozenset[bytes] = frozenset()  # of the gateways, those that no router advertisement brought
    longest_known: tuple[bytes, ...] = field(default=(), compare=False)  # gateways, in the order of their merits

    @property
    def anycast(self) -> frozenset[bytes]:
        """The addresses of the routers of the link's subnets: theirs to answer for, or the kernel's."""
        of_each = (subnet_router_anycast(value.to_bytes(16, "big"), length) for value, length in self.subnets)
        return frozenset(filter(None, of_each))

    @property
    def never(self) -> frozenset[bytes]:
        """What is never answered for here, whatever a source says."""
        return self.addresses | self.gateways | self.anycast

    @property
    def sources(self) -> frozenset[bytes]:
        """The addresses that may be sent from."""
        return self.addresses - self.unproven

    @property
    def ethernet(self) -> bool:
        """Whether neighbor discovery by Ethernet addresses takes place here at all."""
        return self.hardware_type == _ARPHRD_ETHER

    @property
    def hears(self) -> bool:
        """Whether frames that arrive reach a packet socket."""
        return not self.taken_kind

    @property
    def served_gateways(self) -> list[bytes]:
        """The gateways to keep in touch with: static ones first, which nobody can make up, then the longest known."""
        places = {gateway: place for place, gateway in enumerate(self.longest_known)}
        last = len(places)
        ordered = sorted(
            self.gateways, key=lambda each: (each not in self.static_gateways, places.get(each, last), each)
        )
        return ordered[:MAX_SERVED_GATEWAYS]
