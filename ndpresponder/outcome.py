"""Every way a received frame can end: one advertisement, or one named reason for silence.

The member's name in lower case is at once the metric label, the word in the log, the row in the
documentation and the parameter of the test. Members are small ints, so counting one is `tally[outcome] += 1`.
RFC numbers without a name are sections of RFC 4861.
"""

from enum import IntEnum


class _Named(IntEnum):
    @property
    def label(self) -> str:
        """The metric label and log word."""
        return self.name.lower()


class Kind(_Named):
    """What a solicitation is for; the `kind` label of `solicitations_received_total`."""

    MULTICAST = 0  # address resolution (7.2.2), or any frame that is not one of the other two
    UNICAST = 1  # reachability probe (7.3.3)
    DAD = 2  # source is the unspecified address (RFC 4862 5.4)


class Outcome(_Named):
    """How a frame ended: `ANSWERED_*` mirror `Kind` by value, all others are reasons for silence."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "Outcome":
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    ANSWERED_MULTICAST = 0, "an address resolution was answered"
    ANSWERED_UNICAST = 1, "a reachability probe was answered"
    ANSWERED_DAD = 2, "a duplicate address detection was answered to all nodes"

    # Length and form
    TOO_SHORT = 3, "the frame is shorter than an Ethernet, an IPv6 and a solicitation header (78 octets)"
    NOT_IPV6 = 4, "the EtherType or the IP version is not IPv6's"
    NOT_ICMPV6 = 5, "the IPv6 next header is not ICMPv6; extension headers and fragments are silent (RFC 6980)"
    BAD_PAYLOAD_LENGTH = 6, "the IPv6 payload length is zero or longer than the frame"
    NOT_SOLICITATION = 7, "the ICMPv6 type is not 135"
    BAD_CODE = 8, "the ICMPv6 code is not 0"

    # Validity (7.1.1)
    BAD_HOP_LIMIT = 9, "the hop limit is not 255: a router forwarded it"
    BAD_CHECKSUM = 10, "the ICMPv6 checksum is wrong"
    MESSAGE_TOO_SHORT = 11, "the ICMPv6 message is shorter than 24 octets"
    BAD_OPTION = 12, "an option has length 0 or reaches past the end of the message"
    BAD_SLLA_LENGTH = 13, "a source link-layer address option is not 8 octets long"
    BAD_TARGET = 14, "the target is multicast, unspecified or loopback"
    DAD_WITH_SLLA = 15, "the source is unspecified, yet there is a source link-layer address option"
    DAD_BAD_DESTINATION = 16, "the source is unspecified and the destination is not the target's solicited-node group"

    # Addresses
    BAD_SOURCE = 17, "the source is multicast, loopback or an IPv4-mapped address"
    SOURCE_IS_TARGET = 18, "the source is the target itself"
    OWN_SOURCE = 19, "the source is one of the uplink's own addresses"
    BAD_DESTINATION = 20, "the destination is neither the target nor the target's solicited-node group"

    # Ethernet
    VLAN_TAGGED = 21, "the frame belongs to another link: it had a VLAN tag, or the uplink is a port of a bond"
    OWN_FRAME = 22, "the frame was sent by this host"
    OTHER_LLADDR = 23, "the frame is addressed to another host's link-layer address"
    UNICAST_IN_MULTICAST = 24, "a multicast frame carries a unicast IPv6 destination"
    BAD_ETHERNET_SOURCE = 25, "the source link-layer address is multicast, broadcast or zero"

    # Policy
    NOT_OURS = 26, "no source of targets claims this address"
    EXCLUDED = 27, "the target is excluded, the uplink's own, a default gateway or the anycast address of its routers"
    LINK_LOCAL_TARGET = 28, "the target is link-local: it never lies behind this host"
    UNICAST_POLICY = 29, "the `unicast` setting says to leave reachability probes for this target alone"
    DAD_POLICY = (
        30,
        "the `dad` setting leaves it to another host: by default what is claimed, not known to be behind this one",
    )
    RATE_LIMITED = 31, "the uplink's `rate` limit is used up"
    NOT_READY = 32, "the uplink is down or not known yet"
    DRY_RUN = 33, "an answer was ready, but `--dry-run` holds it back"
    SEND_FAILED = 34, "the kernel refused to send the answer; see `send_errors_total`"
    NOT_VERIFIED = 35, "the target is claimed, but `verify` did not find it behind this host"
    OVERLOADED = 36, "more came than can be answered, and this from an unknown requester or beyond its share"
    TOO_OLD = 37, "the frame waited for more than 3 s for a daemon that was being restarted"

    @property
    def answered(self) -> bool:
        """Whether an advertisement was sent."""
        return self <= Outcome.ANSWERED_DAD


IGNORED = tuple(outcome for outcome in Outcome if not outcome.answered)
