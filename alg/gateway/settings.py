"""Turning the configuration into what the kernel reads: struct config, watched ports, allowed services.

The law of this file: values into tables. No device is touched and nothing is looked up; devices and addresses are
given.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from algate.alg.config.load import Config
from algate.alg.gateway import portblocks, prefixes, records
from algate.alg.gateway.netlink import Device
from algate.alg.plugin.model import ProtocolPlugin
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.tables import Table

PROTO = {"tcp": 6, "udp": 17, "icmp": 1}
LEAST_TOLD = 1260  # bytes of IPv4 that are 1280 of IPv6, which every host may send


def public_addresses(config: Config, wan: Device) -> list[IPv4Address]:
    """The addresses that the outside sees: the configured ones, else the WAN device's first."""
    if config.nat.addresses:
        return list(config.nat.addresses)
    usable = [one.ip for one in wan.addresses if not one.ip.is_loopback and not one.ip.is_link_local]
    return usable[:1]


def _flags(config: Config) -> int:
    nat, flag = config.nat, abi.ConfigFlag
    chosen = {
        flag.MAPPING_APDM: nat.mapping == "address-and-port-dependent",
        flag.FILTER_EIF: nat.filtering == "endpoint-independent",
        flag.FILTER_ADF: nat.filtering == "address-dependent",
        flag.PARITY: nat.port_parity,
        flag.HAIRPIN: nat.hairpin,
        flag.FAIL_OPEN: config.alg.fail == "open",
        flag.ALLOW_LIST: bool(config.firewall.allow_out),
        flag.EXEMPT: bool(nat.exempt),
    }
    return sum(int(bit) for bit, wanted in chosen.items() if wanted)


def _mss_clamp(config: Config, wan: Device, headers: int) -> int:
    """Bytes; 0: off. "auto": what fits into the WAN's MTU behind headers of so many bytes (RFC 9293 section 3.7.1)."""
    wanted = config.nat.mss_clamp
    if isinstance(wanted, int):
        return wanted
    return wan.mtu - headers if wanted == "auto" else 0


def _mss_turned(config: Config, lans: Sequence[Device], wan: Device) -> int:
    """Of what NAT64 translates, in bytes; 0: off. "auto": the smaller link counts, on whichever side.

    A WAN below 1260 carries less than IPv6 hosts may be told of. What is large there is cut (turn_cut.h), but not what
    a device is to segment or to sum, as hosts' segments usually are: segments are made to fit, whatever is wanted."""
    wanted = config.nat.mss_clamp
    fitting = [wan.mtu - 40] if wan.mtu < LEAST_TOLD else []
    if wanted == "auto":
        fitting += [one.mtu - 60 for one in (wan, *lans)]
    elif isinstance(wanted, int) and wanted:
        fitting.append(wanted)
    return min(fitting, default=0)


def _timeouts(config: Config) -> list[int]:
    t = config.timeouts
    return [ticks.lasting(s) for s in (t.tcp_opening, t.tcp_established, t.tcp_closing, t.tcp_reset, t.udp, t.icmp)]


def write_config(
    gateway: Gateway, config: Config, lans: Sequence[Device], wan: Device, addresses: Sequence[IPv4Address]
) -> int:
    """Write struct config, keeping the digest's secret if the pins have one, what is told, and the lease of a gateway
    of two. Returns the secret."""
    secret = gateway.configs[0].secret or secrets.randbits(63) | 1
    former = gateway.configs[0]
    nat, whole = config.nat, abi.SHARE_WHOLE
    blocks = portblocks.layout(nat.port_block, nat.ports)
    leased = bool(config.lease.node)
    share = max(1, round(nat.host_share * whole))
    value = abi.Config(
        secret=secret, wan=wan.index, flags=_flags(config), public_count=len(addresses),
        port_first=nat.ports.first, port_last=nat.ports.last,
        mss_clamp=_mss_clamp(config, wan, 40),
        helper_timeout=ticks.lasting(config.alg.helper_timeout),
        hold_down=ticks.lasting(nat.hold_down) if nat.hold_down else 0,
        max_sessions_per_host=nat.max_sessions_per_host, max_ports_per_host=nat.max_ports_per_host,
        new_sessions_per_second=nat.new_sessions_per_second, max_unanswered_per_host=nat.max_unanswered_per_host,
        share_own=whole - share if share < whole else 0, share_free=share, max_sessions=gateway.max_sessions,
        port_block=blocks.size, block_idle=ticks.lasting(portblocks.idle_time(nat, scarce=True)),
        block_first=blocks.first // abi.BLOCK_UNIT, block_count=blocks.number,
        gone_at=former.gone_at if leased else 0,
        tell=former.tell, tell_net=former.tell_net, tell_mask=former.tell_mask,
        new_until=(former.new_until or 1) if leased else former.new_until if config.ha.node else 0,
    )  # fmt: skip
    for place, address in enumerate(addresses):
        value.public_ip[place] = abi.ip_to_be32(address)
    for place, device in enumerate(lans):
        value.lan[place] = device.index
        value.lan_mac[place * 8 : place * 8 + 8] = [*records.pack_link(device.mac, device.bare)]
    value.wan_mac[: len(value.wan_mac)] = [*records.pack_link(wan.mac, wan.bare)]
    for kind, limit in enumerate(_timeouts(config)):
        value.timeouts[kind] = limit
    gateway.configs.put(0, value)
    if gateway.hosts.get(abi.MappingKey()) is None:  # where hosts are counted for whom there is no room
        gateway.hosts.put(abi.MappingKey(), abi.Host())
    return secret


def write_config6(gateway: Gateway, config: Config, lans: Sequence[Device], wan: Device) -> None:
    """Write what is for IPv6 alone, where its programs are loaded. With an MSS of "auto" 60 bytes are for headers."""
    if not gateway.six:
        return
    flag, wanted = abi.SixFlag, config.ipv6
    chosen = {
        flag.FILTER: wanted.filter,
        flag.IPSEC_ANY: wanted.ipsec == "any",
        flag.IPSEC_SPOKEN: wanted.ipsec == "spoken",
        flag.HOST_64: wanted.host_prefix == 64,
    }
    most = _mss_clamp(config, wan, 60)
    turned = _mss_turned(config, lans, wan)
    value = abi.Config6(flags=sum(int(bit) for bit, on in chosen.items() if on), mss_clamp=most, mss_turned=turned)
    prefix, own = config.nat64.prefix, prefixes.own_address([one.name for one in lans])
    if prefix is not None:
        value.prefix_bits = prefix.prefixlen
        value.prefix[:] = [*prefix.network_address.packed]
        value.lowest_mtu = config.nat64.lowest_ipv6_mtu
    if own is not None:
        value.address[:] = [*own.packed]
    gateway.configs6.put(0, value)


def write_own_address6(gateway: Gateway, lans: Iterable[str]) -> None:
    """Write the address that NAT64's own errors come from, if it is another than a moment ago: it may come late."""
    own, value = prefixes.own_address(list(lans)), gateway.configs6[0]
    wanted = bytes(16) if own is None else own.packed
    if bytes(value.address) != wanted:
        value.address[:] = [*wanted]
        gateway.configs6.put(0, value)


def write_surroundings(gateway: Gateway, wan: Device, known: Collection[int]) -> None:
    """Write what an untranslated packet is judged by: the networks on the WAN's own link, and the devices that inside
    hosts may be routed to, by index. The WAN is one of them once its programs are attached, not before."""
    _replace_networks(gateway.wan_networks, [one.network for one in wan.addresses])
    for index in known:
        gateway.devices.put(index, 1)
    for index, _ in list(gateway.devices.items()):
        if index not in known:
            gateway.devices.delete(index)


def write_services(gateway: Gateway, config: Config, plugins: dict[str, ProtocolPlugin]) -> None:
    """Write which plug-in watches which ports, and which services may be opened from inside."""
    wanted: dict[tuple[int, int], int] = {}
    for name, policy in config.alg.protocols.items():
        plugin = plugins.get(name)
        if plugin is not None and policy.enabled:
            for port in policy.watched or plugin.default_ports:
                wanted[(PROTO[plugin.transport], port)] = plugin.number
    _replace(gateway.alg_ports, wanted)
    _replace_networks(gateway.exempt, config.nat.exempt)
    _replace(gateway.allow_out, {(PROTO[one.proto], one.port): 1 for one in config.firewall.allow_out})


def refuse_new(gateway: Gateway) -> None:
    """Let nobody open anything from inside until the configuration is written again; what there is goes on."""
    value = gateway.configs[0]
    value.flags |= abi.ConfigFlag.ALLOW_LIST
    gateway.configs.put(0, value)
    _replace(gateway.allow_out, {})


def _replace_networks(table: Table[abi.ExemptKey, int], wanted: Iterable[IPv4Network]) -> None:
    """Make a table of networks equal to `wanted`, as _replace does."""
    networks = {(one.prefixlen, abi.ip_to_be32(one.network_address)) for one in wanted}
    for length, address in networks:
        table.put(abi.ExemptKey(prefix_len=length, address=address), 1)
    for key, _ in list(table.items()):
        if (key.prefix_len, key.address) not in networks:
            table.delete(key)


def _replace(table: Table[abi.ServiceKey, int], wanted: dict[tuple[int, int], int]) -> None:
    """Make a table of services equal to `wanted`; an entry that stays is never missing in between."""
    for (proto, port), value in wanted.items():
        table.put(abi.ServiceKey(port=abi.be16(port), proto=proto), value)
    for key, _ in list(table.items()):
        if (key.proto, abi.be16(key.port)) not in wanted:
            table.delete(key)
