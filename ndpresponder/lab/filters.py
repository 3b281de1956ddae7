"""The anti-spoofing rules of the lab's hypervisor, in the variants providers really use.

Each is a list of commands to run inside the hypervisor's namespace; nothing here runs them.

none        every frame passes
na          advertisements whose source lies outside the customer's /64 are dropped
strict      every IPv6 frame whose source lies outside the /64 is dropped, in the bridge's FORWARD hook
strict-pre  the same in PREROUTING: the bridge's own MLD snooping sees no link-local report either
ebtables    "strict" in the words of libvirt and Virtualizor
"""

from typing import Literal, get_args

Filter = Literal["none", "na", "strict", "strict-pre", "ebtables"]
FILTERS: tuple[Filter, ...] = get_args(Filter)

_TABLE = "antispoof"


def commands(name: Filter, port: str, prefix: str, lladdr: str) -> list[tuple[list[str], str]]:
    """Return (command, its standard input) pairs that replace whatever filter is there.

    `port` is the bridge port of the VPS, `prefix` and `lladdr` are what its frames may be sourced from.
    """
    # ebtables keeps its rules in the bridge table "filter"; "add" first makes "delete" always succeed
    clean = "".join(f"add table bridge {table}\ndelete table bridge {table}\n" for table in (_TABLE, "filter"))
    outside = f"ip6 saddr != {prefix}"
    tables = {
        "na": _table("forward", port, lladdr, f"icmpv6 type nd-neighbor-advert {outside}"),
        "strict": _table("forward", port, lladdr, outside),
        "strict-pre": _table("prerouting", port, lladdr, outside),
    }
    forward = ["ebtables", "-A", "FORWARD", "-i", port]
    ebtables = [
        ([*forward, "-s", "!", lladdr, "-j", "DROP"], ""),
        ([*forward, "-p", "IPv6", "--ip6-src", prefix, "-j", "ACCEPT"], ""),
        ([*forward, "-p", "IPv6", "-j", "DROP"], ""),
    ]
    return [(["nft", "-f", "-"], clean + tables.get(name, "")), *(ebtables if name == "ebtables" else ())]


def _table(hook: str, port: str, lladdr: str, match: str) -> str:
    return f"""
table bridge {_TABLE} {{
    chain from_vps {{
        type filter hook {hook} priority -200; policy accept;
        iifname "{port}" ether saddr != {lladdr} counter drop comment "lladdr"
        iifname "{port}" {match} counter drop comment "source"
    }}
}}
"""
