"""Whatever happens to targets and link, a bridge that snoops MLD knows exactly the groups of the targets, in time."""

import asyncio
import dataclasses

from frames import packed, solicited_node
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sample_link import LINK, OWN
from sample_responder import addresses, prefixes
from sample_uplink import uplink_context

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import Link
from ndpresponder.policy.responder import Policy, Responder, UplinkState
from ndpresponder.policy.table import TargetTable
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.wire import mld

FORGOTTEN_S = 260.0  # RFC 3810 9.4
RECORDS, RECORD = 70, 20  # where they begin in a frame, and the octets of each
LIVE = ("2001:db8::c1", "2001:db8::c2", "2001:db8:1::c1", "2001:db8:5::1:2", OWN)
CLAIMED = {"2001:db8::c0/126": 4, "2001:db8:7::c2/127": 2, "2001:db8:8::/127": 2}
LINKS = (
    LINK,
    dataclasses.replace(LINK, index=LINK.index + 1),
    dataclasses.replace(LINK, addresses=addresses("2001:db8::9", "fe80::2")),
)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes when it is told so."""

    now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> None:
        """Let time pass, in steps in which all that is due is done."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 0.5)
            self.settle()

    def settle(self) -> None:
        self.run_until_complete(asyncio.sleep(0))
        self.run_until_complete(asyncio.sleep(0))


class Listening(RuleBasedStateMachine):
    """The model: when the bridge heard of each group last, on the port where the link is now."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.heard: dict[bytes, float] = {}
        self.link: Link | None = None
        self.live: frozenset[str] = frozenset()
        self.claimed: frozenset[str] = frozenset()
        config = InterfaceConfig("eth0", announce="never", mld_source="global")
        self.responder = Responder(Policy())
        self.unsolicited = Unsolicited(uplink_context(self.send), config, self.responder, list)

    def send(self, frames: list[bytes]) -> None:
        assert self.link is not None
        for frame in frames:
            assert frame[22:38] in self.link.addresses
            for place in range(RECORDS, len(frame), RECORD):
                group = frame[place + 4 : place + RECORD]
                if frame[place] == mld.TO_INCLUDE:
                    self.heard.pop(group, None)
                else:
                    self.heard[group] = self.loop.now_s

    def act(self, change: object, *arguments: object) -> None:
        async def act() -> None:
            change(*arguments)  # type: ignore[operator]

        self.loop.run_until_complete(act())
        self.loop.settle()

    @rule(live=st.frozensets(st.sampled_from(LIVE)), claimed=st.frozensets(st.sampled_from(sorted(CLAIMED))))
    def targets_change(self, live: frozenset[str], claimed: frozenset[str]) -> None:
        self.live, self.claimed = live, claimed
        self.act(self.unsolicited.set_table, TargetTable.build(addresses(*live), prefixes(*claimed)))

    @rule(link=st.sampled_from(LINKS))
    def link_is(self, link: Link) -> None:
        if self.link is None or self.link.index != link.index:
            self.heard.clear()  # another port, or one that was down
        self.link = link
        state = UplinkState(link.lladdr, link.addresses, link.gateways)
        self.responder.set_state(state)
        self.act(self.unsolicited.follow_link, link, state)

    @precondition(lambda self: self.link is not None)
    @rule()
    def link_goes(self) -> None:
        self.responder.set_state(None)
        self.act(self.unsolicited.lose_link)
        self.link = None

    @rule(seconds=st.sampled_from([0.5, 3.0, 130.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.pass_(seconds)

    def wanted(self) -> set[bytes]:
        assert self.link is not None
        groups = {solicited_node(target) for target in self.live if packed(target) not in self.link.addresses}
        for prefix in self.claimed:
            first = int.from_bytes(packed(prefix.partition("/")[0]), "big")
            groups |= {solicited_node((first + n).to_bytes(16, "big")) for n in range(CLAIMED[prefix])}
        return groups

    @invariant()
    def the_bridge_knows_the_groups(self) -> None:
        if self.link is None:
            return
        assert self.heard.keys() == self.wanted()
        assert all(self.loop.now_s - last_s < FORGOTTEN_S for last_s in self.heard.values())

    def teardown(self) -> None:
        self.act(self.unsolicited.close)
        self.loop.close()


Listening.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, derandomize=True)
TestListening = Listening.TestCase
