"""Which rows run under which configuration, for algate and, as far as it can express it, for nft masquerade.

The law of this file: values. Timers are scaled only through `[timeouts]` (algate) and nf_conntrack sysctls (kernel):
each kind of timer is divided by the same number for both; the kernel counts whole seconds, so its minimum is 1 s.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

WAN = "wan0"
SCALES = {"udp": 60.0, "icmp": 30.0, "established": 1240.0, "transitory": 80.0}
# algate's timers in lab seconds, after scaling; the three transitory ones differ so that a row can tell them apart.
ESTABLISHED, OPENING, CLOSING, RESET, UDP, ICMP = 6.0, 2.0, 3.0, 4.0, 5.0, 2.0
TIMERS = f"""
[timeouts]
tcp_established = {ESTABLISHED}
tcp_opening = {OPENING}
tcp_closing = {CLOSING}
tcp_reset = {RESET}
udp = {UDP}
icmp = {ICMP}
"""
CONNTRACK = {
    "udp_timeout": "udp",
    "udp_timeout_stream": "udp",
    "icmp_timeout": "icmp",
    "tcp_timeout_established": "established",
    "tcp_timeout_unacknowledged": "transitory",
    "tcp_timeout_max_retrans": "transitory",
    "tcp_timeout_syn_sent": "transitory",
    "tcp_timeout_syn_recv": "transitory",
    "tcp_timeout_fin_wait": "transitory",
    "tcp_timeout_close_wait": "transitory",
    "tcp_timeout_last_ack": "transitory",
    "tcp_timeout_time_wait": "transitory",
    "tcp_timeout_close": "transitory",
}


def scaled(kind: str, seconds: int) -> int:
    """A kernel timer of the lab, from its real value."""
    return max(1, math.ceil(seconds / SCALES[kind]))


@dataclass(frozen=True)
class Profile:
    """One configuration. `masquerade`: the kernel's statement. `dnat`, `guard`: its rules for DNAT and in forward;
    `six`: in forward of IPv6, "" if that isn't filtered.

    `fresh`: needs a new start, not a reload. `empty`: needs a gateway without sessions.
    """

    name: str
    config: str = ""
    masquerade: str = "masquerade"
    six: str = ""
    dnat: str = ""
    guard: str = ""
    timers: bool = False
    fresh: bool = False
    empty: bool = False


NAT64 = "2001:db8:64::/96"
NAT64_TO, NAT64_PORT = "2001:db8:77::f:64", 6464  # a ghost of the rows of NAT64, and its public port
TURNED = f"""
[nat64]
prefix = "{NAT64}"
[[forward]]
proto = "udp"
wan_port = {NAT64_PORT}
to = "[{NAT64_TO}]:53"
"""
LANS = ("lan0", "lan1", "tun0")  # the last one carries bare IP packets, as ppp does
SMALL = (40000, 40019)
POOL = ("198.51.100.2", "198.51.100.77", "198.51.100.200")
_LIST = json.dumps(POOL)
FORWARD_TO = "10.77.0.50"  # a ghost of the forward rows
FORWARDS = f"""
[[forward]]
proto = "tcp"
wan_port = 8080
to = "{FORWARD_TO}:80"
[[forward]]
proto = "udp"
wan_port = "7000-7009"
to = "{FORWARD_TO}:7000"
[[forward]]
proto = "udp"
wan_port = 4000
to = "{FORWARD_TO}:4000"
[[forward]]
proto = "tcp"
wan_port = 2222
to = "{FORWARD_TO}:22"
from = ["192.0.2.0/28"]
"""
DNAT = f"""
iifname {WAN} tcp dport 8080 dnat to {FORWARD_TO}:80
iifname {WAN} udp dport 7000-7009 dnat to {FORWARD_TO}
iifname {WAN} udp dport 4000 dnat to {FORWARD_TO}
iifname {WAN} ip saddr 192.0.2.0/28 tcp dport 2222 dnat to {FORWARD_TO}:22
"""

LOG = "@log@"  # stands for a file of the lab's own
BLOCKS = f"""
[nat]
port_block = 64
filtering = "endpoint-independent"
[log]
level = "blocks"
file = "{LOG}"
"""

SERVICE, FRIENDS_SERVICE, SERVICE_TO, FRIEND = 8443, 8444, "2001:db8:77::50", "2001:db8:113::f:1"
LATE_PREFIX = "2001:db8:78::"
LATE_HOST = f"{LATE_PREFIX}5"
SIX = f"""
[[allow_in]]
proto = "tcp"
port = {SERVICE}
to = "{SERVICE_TO}"
[[allow_in]]
proto = "tcp"
port = {FRIENDS_SERVICE}
to = "{SERVICE_TO}"
from = ["{FRIEND}/128"]
[[allow_in]]
proto = "udp"
port = {SERVICE}
to = "{SERVICE_TO}"
[ipv6]
filter = true
"""
SIX_RULES = f"""ct state established,related accept
ip6 daddr {SERVICE_TO} meta l4proto {{ tcp, udp }} th dport {SERVICE} accept
ip6 daddr {SERVICE_TO} ip6 saddr {FRIEND} tcp dport {FRIENDS_SERVICE} accept
iifname {WAN} icmpv6 type packet-too-big accept
iifname {WAN} drop
"""

PROFILES = {
    one.name: one
    for one in (
        Profile("default"),
        Profile("timers", TIMERS, timers=True),
        Profile("eif", '[nat]\nfiltering = "endpoint-independent"\n'),
        Profile("adf", '[nat]\nfiltering = "address-dependent"\n'),
        Profile("apdm", '[nat]\nmapping = "address-and-port-dependent"\n', masquerade="masquerade random"),
        Profile("parity", "[nat]\nport_parity = true\n"),
        Profile("forwards", FORWARDS, dnat=DNAT),
        Profile("off", '[nat]\nhairpin = false\n[alg.ftp]\nenabled = false\n'),
        Profile(
            "exempt", '[nat]\nexempt = ["192.0.200.0/24"]\n[firewall]\nallow_out = ["tcp/21", "tcp/80", "udp/53"]\n',
            masquerade="ip daddr != 192.0.200.0/24 masquerade",
            guard="iifname lan0 ct state new tcp dport != { 21, 80 } drop\n"
            "iifname lan0 ct state new udp dport != 53 drop",
        ),
        Profile("limits", "[nat]\nmax_ports_per_host = 5\n"),
        Profile("sessions", "[nat]\nmax_sessions_per_host = 5\n"),
        Profile("rate", "[nat]\nnew_sessions_per_second = 10\n"),
        Profile("clamp", "[nat]\nmss_clamp = 1200\n", guard="tcp flags syn tcp option maxseg size set 1200"),
        Profile("holddown", "[nat]\nhold_down = 3\n[timeouts]\nudp = 1\n", timers=True, empty=True),
        Profile(
            "small", f'[nat]\nports = "{SMALL[0]}-{SMALL[1]}"\nhold_down = 0\n', empty=True,
            masquerade=f"meta l4proto {{ tcp, udp }} masquerade to :{SMALL[0]}-{SMALL[1]}",
        ),
        Profile("pool", f'[nat]\naddresses = {_LIST}\n', fresh=True),
        Profile(
            "pool-small", f'[nat]\naddresses = {_LIST}\nports = "{SMALL[0]}-{SMALL[1]}"\nhold_down = 0\n',
            empty=True, masquerade=f"meta l4proto {{ tcp, udp }} masquerade to :{SMALL[0]}-{SMALL[1]}",
        ),
        Profile("blocks", BLOCKS, empty=True),
        Profile("six", SIX + TIMERS, six=SIX_RULES, timers=True, fresh=True),
        Profile("six-any", f'{SIX}ipsec = "any"\n', six=SIX_RULES),
        Profile("six-none", f'{SIX}ipsec = "none"\n', six=SIX_RULES),
        Profile("six-adf", f'{SIX}[nat]\nfiltering = "address-dependent"\n', six=SIX_RULES),
        Profile("six-eif", f'{SIX}[nat]\nfiltering = "endpoint-independent"\n', six=SIX_RULES),
        Profile("nat64", TURNED, fresh=True),
        Profile("full", '[nat]\nmax_sessions = 64\n[timeouts]\ntcp_opening = 30\n', fresh=True),
        Profile("flooded", '[nat]\nmax_sessions = 64\n[timeouts]\ntcp_opening = 30\n', fresh=True),
    )
}  # fmt: skip
