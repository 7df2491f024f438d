"""The sections of the configuration: every key with its type and default.

The law of this file: declarations. What must hold between keys is in `conflicts`; reading is in `load`.
"""

# ruff: noqa: RUF009 -- `option` and `required` make dataclass fields
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import MappingProxyType

from algate.alg.config.nodes import NodeShare, node_share
from algate.alg.plugin.families import any_end_point, host6, network6, translation_prefix
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.policy import Policy, Surroundings
from algate.alg.plugin.schema import option, required
from algate.alg.plugin.values import (  # fmt: skip
    PortRange,
    Service,
    block_size,
    boolean,
    device,
    host_prefix,
    integer,
    list_of,
    listen_point,
    mss_clamp,
    network,
    one_of,
    part,
    port_range,
    public_address,
    seconds,
    service,
    text,
)

LANS_MAX = 16  # MAX_LANS, abi.h
ADDRESSES_MAX = 16  # MAX_PUBLIC, abi.h
FORWARDS_MAX = 1024  # MAX_FORWARDS, abi.h
ALLOWED_MAX = 1024
SOURCES_MAX = 256  # of one [[allow_in]]
BLOCK_NETWORKS_MAX = 256
COUNT_MAX = (1 << 32) - 1
HOSTS_MOST = 1000  # series for each metric with a label `host`
DATAPATHS = ("auto", "tc", "xdp", "xdp-generic")


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """The devices. `lan` in the order given, at least one; `wan` one."""

    lan: tuple[str, ...] = option((), list_of(device, LANS_MAX))
    wan: str = option("", device)
    datapath: str = option("auto", one_of(*DATAPATHS))


@dataclass(frozen=True, slots=True)
class Nat:
    """How addresses are translated. A limit of 0 is no limit; `mss_clamp` is "off", "auto" or bytes.

    `port_block`: an inside host gets its public ports in blocks of so many, all protocols', and more blocks as it needs
    them; 0: single ports of the whole range. An empty block is the host's for `port_block_idle` s more, or for
    `hold_down` if that is longer. The first block of each host of `port_block_hosts` is computed from its address, so
    that no log is needed to tell whose a port is. `port_block_node`: this gateway is one of several that have the same
    addresses and the same blocks; a computed block is the same on each, of the others each gives out its own.

    `host_share`: a host may begin sessions and take ports while it has less than this part of what it has and what is
    free. 1: no such limit.
    """

    addresses: tuple[IPv4Address, ...] = option((), list_of(public_address, ADDRESSES_MAX))
    mapping: str = option("endpoint-independent", one_of("endpoint-independent", "address-and-port-dependent"))
    filtering: str = option(
        "address-and-port-dependent",
        one_of("endpoint-independent", "address-dependent", "address-and-port-dependent"),
    )
    ports: PortRange = option(PortRange(1024, 65535), port_range())
    port_parity: bool = option(False, boolean)
    port_block: int = option(0, block_size)
    port_block_idle: float = option(300.0, seconds(2))
    port_block_hosts: tuple[IPv4Network, ...] = option((), list_of(network, BLOCK_NETWORKS_MAX))
    port_block_node: NodeShare = option(NodeShare(1, 1), node_share)
    hairpin: bool = option(True, boolean)
    hold_down: float = option(120.0, seconds(0))
    exempt: tuple[IPv4Network, ...] = option((), list_of(network))
    mss_clamp: int | str = option("off", mss_clamp)
    max_sessions: int = option(1048576, integer(1, 1 << 26))
    max_sessions_per_host: int = option(0, integer(0, COUNT_MAX))
    max_ports_per_host: int = option(0, integer(0, COUNT_MAX))
    new_sessions_per_second: int = option(0, integer(0, COUNT_MAX))
    host_share: float = option(0.5, part)
    max_unanswered_per_host: int = option(4096, integer(0, (1 << 31) - 1))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Idle seconds until a session ends: RFC 5382 REQ-5, RFC 7857 section 2, RFC 4787 REQ-5, RFC 5508 REQ-2."""

    tcp_established: float = option(7440.0, seconds(0.01))
    tcp_transitory: float = option(240.0, seconds(0.01))
    tcp_opening: float = option(240.0, seconds(0.01))
    tcp_closing: float = option(240.0, seconds(0.01))
    tcp_reset: float = option(240.0, seconds(0.01))
    udp: float = option(300.0, seconds(0.01))
    icmp: float = option(60.0, seconds(0.01))


@dataclass(frozen=True, slots=True)
class Firewall:
    """The services that may be opened from inside; empty: all."""

    allow_out: tuple[Service, ...] = option((), list_of(service))


@dataclass(frozen=True, slots=True)
class Forward:
    """One [[forward]]: `wan_port` of the public address leads to `to`; a range maps port by port from `to.port` up.

    `from_` lists who may use it; empty: everybody. `alg` names a plug-in; "": none. An IPv6 host in `to` is reached by
    NAT64.
    """

    proto: str = required(one_of("tcp", "udp"))
    wan_port: PortRange = required(port_range())
    to: EndPoint = required(any_end_point)
    from_: tuple[IPv4Network, ...] = option((), list_of(network))
    alg: str = option("", text)
    number: int = field(default=0, compare=False)  # its place in the file, for messages


@dataclass(frozen=True, slots=True)
class Ipv6:
    """IPv6 without translation. `filter`: what comes from outside must belong to what an inside host began, or to an
    [[allow_in]]; false: IPv6 is let alone. `ipsec`: from whom ESP and IKE come in: "spoken", from a peer that the
    inside host spoke to.

    `host_prefix`: what counts as one host for the limits of [nat], here and under NAT64: an address, or all of a /64.
    """

    filter: bool = option(False, boolean)
    ipsec: str = option("spoken", one_of("spoken", "any", "none"))
    host_prefix: int = option(128, host_prefix)


@dataclass(frozen=True, slots=True)
class AllowIn:
    """One [[allow_in]]: a service of an inside IPv6 host that the outside may open. `from_` empty: everybody."""

    proto: str = required(one_of("tcp", "udp"))
    port: PortRange = required(port_range())
    to: IPv6Address = required(host6)
    from_: tuple[IPv6Network, ...] = option((), list_of(network6, SOURCES_MAX))
    number: int = field(default=0, compare=False)  # its place in the file, for messages


@dataclass(frozen=True, slots=True)
class Nat64:
    """Inside IPv6 hosts reach IPv4 hosts behind `prefix` (RFC 6146, 6052); None: no such translation.

    `lowest_ipv6_mtu`: what IPv4 lets others fragment becomes IPv6 packets of at most so many bytes (RFC 7915 section
    4), less where the LAN's link takes less.
    """

    prefix: IPv6Network | None = option(None, translation_prefix)
    lowest_ipv6_mtu: int = option(1280, integer(1280, 16384))


@dataclass(frozen=True, slots=True)
class Alg:
    """[alg]. `protocols`: plug-in name -> its policy, for every installed plug-in."""

    fail: str = option("closed", one_of("closed", "open"))
    helper_timeout: float = option(3.0, seconds(0.05, 3600))
    classify: str = option("auto", one_of("auto", "on", "off"))
    protocols: Mapping[str, Policy] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """Where /metrics, /healthz, /readyz and /health are served; None: nowhere. `names`: by which names they may be
    asked for, other than addresses, localhost and the host's own name. `top_hosts`: how many inside hosts, those with
    most sessions, have series of their own (host_sessions, host_ports, host_refused); 0: none."""

    listen: EndPoint | None = option(EndPoint(IPv4Address("127.0.0.1"), 1025), listen_point)
    names: tuple[str, ...] = option((), list_of(text))
    top_hosts: int = option(0, integer(0, HOSTS_MOST))


@dataclass(frozen=True, slots=True)
class LogSection:
    """Which translations are logged, and where: `whose` answers from it.

    `sinks`: of journal, syslog, file and ipfix; empty: whichever of `file`, `syslog` and `ipfix` is given, else the
    journal. `syslog`: a daemon by UDP, None: the local one. `ipfix`: a collector. `file` is put aside at `file_size`
    MiB, and there are at most `files` of them. `per_second`: records that each sink takes, 0: 2,000 for the journal,
    20,000 for syslog, all for a file and for a collector."""

    level: str = option("none", one_of("none", "blocks", "mappings", "sessions"))
    sinks: tuple[str, ...] = option((), list_of(one_of("journal", "syslog", "file", "ipfix")))
    file: str = option("", text)
    file_size: int = option(64, integer(1, 1 << 20))
    files: int = option(8, integer(1, 10_000))
    syslog: EndPoint | None = option(None, listen_point)
    ipfix: EndPoint | None = option(None, listen_point)
    per_second: int = option(0, integer(0, COUNT_MAX))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The sinks in use."""
        given = tuple(name for name in ("file", "syslog", "ipfix") if getattr(self, name))
        return () if self.level == "none" else self.sinks or given or ("journal",)

    @property
    def collector(self) -> EndPoint:
        """Of IPFIX; only where one is given."""
        if self.ipfix is None:
            raise ValueError("no ipfix")
        return self.ipfix


@dataclass(frozen=True, slots=True)
class Ha:
    """A second gateway that goes on with this one's sessions. `node`: which of the two this is, "" is neither.

    `engine`: the Redis or Valkey beside this node, to which the other one writes; `peer`: the one beside the other;
    `witness`: the one that keeps the epoch. `when_alone`: with nobody to write to, control sessions "go-on", or what
    would change one of them is put on "hold". `user` and `password_file`: by which this node is known to all three.
    """

    node: str = option("", one_of("", "a", "b"))
    engine: EndPoint | None = option(EndPoint(IPv4Address("127.0.0.1"), 6379), listen_point)
    peer: EndPoint | None = option(None, listen_point)
    witness: EndPoint | None = option(None, listen_point)
    when_alone: str = option("go-on", one_of("go-on", "hold"))
    user: str = option("", text)
    password_file: str = option("", text)
    tls_ca: str = option("", text)
    tls_cert: str = option("", text)
    tls_key: str = option("", text)


@dataclass(frozen=True, slots=True)
class Lease:
    """Several active gateways that share addresses, and lease their ports of one engine. `node`: this one's name, ""
    leases nothing; `lots`: parts that the ports are leased in; `seconds`: of a lease; the rest as in Ha."""

    node: str = option("", text)
    engine: EndPoint | None = option(None, listen_point)
    lots: int = option(16, integer(2, 64))
    seconds: float = option(60.0, seconds(1, 3600))
    user: str = option("", text)
    password_file: str = option("", text)
    tls_ca: str = option("", text)
    tls_cert: str = option("", text)
    tls_key: str = option("", text)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that `algate run` is told. `text`: the file as it was read; `overrides`: keys of the command line."""

    gateway: GatewaySection = field(default_factory=GatewaySection)
    nat: Nat = field(default_factory=Nat)
    timeouts: Timeouts = field(default_factory=Timeouts)
    firewall: Firewall = field(default_factory=Firewall)
    forwards: tuple[Forward, ...] = ()
    ipv6: Ipv6 = field(default_factory=Ipv6)
    allow_in: tuple[AllowIn, ...] = ()
    nat64: Nat64 = field(default_factory=Nat64)
    alg: Alg = field(default_factory=Alg)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)
    ha: Ha = field(default_factory=Ha)
    lease: Lease = field(default_factory=Lease)
    path: Path | None = field(default=None, compare=False)
    text: str = field(default="", compare=False, repr=False)
    overrides: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), compare=False)


SECTIONS: Mapping[str, type] = MappingProxyType(
    {"gateway": GatewaySection, "nat": Nat, "timeouts": Timeouts, "firewall": Firewall, "forward": Forward,
     "ipv6": Ipv6, "allow_in": AllowIn, "nat64": Nat64, "alg": Alg, "metrics": MetricsSection, "log": LogSection,
     "ha": Ha, "lease": Lease}
)  # fmt: skip


def surroundings(name: str, forwards: Sequence[Forward], nat: Nat, firewall: Firewall) -> Surroundings:
    """What the policy of plug-in `name` may know about the rest of the configuration."""
    own = tuple(one for one in forwards if one.alg == name)
    return Surroundings(tuple(forwards), own, nat.ports, nat.addresses, firewall.allow_out)
