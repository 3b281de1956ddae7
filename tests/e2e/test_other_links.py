"""VLAN, QinQ, bond, VRF, macvtap and a bridge with VLANs on a stock kernel, which this machine's may have none of.

One machine is booted for all of them; its kernel has every fast path.
"""

import functools
import re
from pathlib import Path

import pytest
import vm

SCRIPT = Path(__file__).with_name("other_links.py")
DEADLINE_S = 900.0  # of a busy machine; one that is not takes some 90 s
LEFT_ALONE = (
    "vlan_on_the_uplink_is_silent_and_counted",
    "vlan_without_a_device_and_priority_tags_are_as_before",
    "both_as_uplinks_answer_once_each",
    "qinq_is_silent_below",
    "below_a_macvtap_only_what_is_ours_is_answered",
    "vlan_aware_bridge_answers_on_its_vlan_only",
    "what_waits_for_a_successor_is_told_apart_as_well",
)
UPLINKS = (
    "vlan_as_the_uplink_answers_there_only",
    "qinq_as_the_uplink_answers",
    "bond_as_the_uplink_answers",
    "uplink_in_a_vrf_answers",
    "macvtap_as_the_uplink_answers",
)
OTHERS = ("port_of_a_bond_as_the_uplink_is_silent", "who_listens_for_advertisements_hears_none_of_a_vlan")


@functools.cache
def outcomes() -> dict[str, str]:
    """Boot a machine once and return what became of each case."""
    said = vm.run("trixie", SCRIPT.read_text(), deadline_s=DEADLINE_S).output
    return dict(re.findall(r"^case (\w+): (\w+)", said, re.MULTILINE))


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_belongs_to_an_interface_above_the_uplink_is_left_alone(case):
    assert outcomes().get(case) == "ok"


@pytest.mark.parametrize("case", UPLINKS)
def test_an_uplink_of_another_kind_is_answered_on(case):
    assert outcomes().get(case) == "ok"


def test_on_a_port_of_a_bond_nothing_is_answered():
    assert outcomes().get("port_of_a_bond_as_the_uplink_is_silent") == "ok"


def test_no_advertisement_of_a_vlan_is_heard_below():
    assert outcomes().get("who_listens_for_advertisements_hears_none_of_a_vlan") == "ok"


def test_every_case_is_looked_at():
    assert outcomes().keys() == {*LEFT_ALONE, *UPLINKS, *OTHERS}
