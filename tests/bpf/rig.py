"""A gateway on a test bench: the real programs, loaded but attached to nothing, run packet by packet.

The law of this file: it runs the programs by BPF_PROG_TEST_RUN in its own network namespace, and reads what they
leave in maps. It knows the bench's addresses and devices, not what any test expects.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from algate.bpf import abi, syscall, testrun
from algate.bpf import ticks as clock
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram, port_row
from algate.cli.lab.host import PATIENCE
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC, Flow

CLONE_NEWNET = 0x40000000
LAN, WAN = "lan0", "wan0"
GATEWAY, PUBLIC, PUBLIC_2, ROUTER = "10.0.0.1", "203.0.113.1", "203.0.113.2", "203.0.113.254"
NETWORK = "203.0.113.0"  # of the WAN's link, 24 bits
INSIDE, INSIDE_2, REMOTE, REMOTE_2 = "10.0.0.2", "10.0.0.3", "198.51.100.7", "198.51.100.8"
OK, SHOT, REDIRECT = 0xFFFFFFFF, 2, 7  # OK: TC_ACT_UNSPEC, on to the filters of others
TCP, UDP, ICMP = 6, 17, 1
PROTOS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}
SECOND = clock.lasting(1)
HELPER_TIMEOUT = round(3 * PATIENCE) * SECOND  # the helper is alive for the length of a test, where it is emulated too
ticks = clock.now
SECRET = 0x0123_4567_89AB_CDEF
HASHES = ("sessions", "relations", "beginnings", "mappings", "shares", "forward_sources", "alg_ports", "allow_out",
          "expectations", "adjusts", "tracks", "decisions", "passable", "replacements", "held", "exempt", "devices",
          "wan_networks", "block_lists", "block_networks", "handles", "addresses6", "allow_in",
          "allow_in_sources")  # fmt: skip
LAN_NETWORK6, LAN6, WAN6, ROUTER6 = "2001:db8:1::/64", "2001:db8:1::1", "2001:db8:ffff::1", "2001:db8:ffff::fe"
INSIDE6, INSIDE6_2, REMOTE6, REMOTE6_2 = "2001:db8:1::2", "2001:db8:1::3", "2001:db8:9::7", "2001:db8:9::8"

ROUTERWARD = bytes.fromhex((WAN_MAC + GATEWAY_WAN_MAC).replace(":", ""))
HOSTWARD = bytes.fromhex((LAN_MAC + GATEWAY_LAN_MAC).replace(":", ""))
NEAR = {"tc_lan": (ROUTERWARD,), "tcx_lan": (ROUTERWARD,), "tc_wan_in": (HOSTWARD,), "tcx_wan_in": (HOSTWARD,)}


@contextmanager
def namespace() -> Iterator[None]:
    """A network namespace for this thread and the commands it starts; it vanishes with its last user."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(libc.unshare(CLONE_NEWNET), libc)
        try:
            yield
        finally:
            _check(libc.setns(home, CLONE_NEWNET), libc)
    finally:
        os.close(home)


def _check(result: int, libc: Any) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"network namespace: {os.strerror(number)}; run as root")


def build_devices() -> dict[str, int]:
    """The gateway's two devices with addresses, routes and neighbours that stay; ifindex by name."""
    commands = [
        f"link add {LAN} address {GATEWAY_LAN_MAC} type veth peer name lanpeer",
        f"link add {WAN} address {GATEWAY_WAN_MAC} type veth peer name wanpeer",
        *(f"link set {name} up" for name in ("lo", LAN, WAN, "lanpeer", "wanpeer")),
        f"addr add {GATEWAY}/24 dev {LAN}",
        f"addr add {PUBLIC}/24 dev {WAN}",
        f"addr add {PUBLIC_2}/24 dev {WAN}",
        f"route add default via {ROUTER}",
        f"neigh add {INSIDE} lladdr {LAN_MAC} dev {LAN} nud permanent",
        f"neigh add {INSIDE_2} lladdr {LAN_MAC} dev {LAN} nud permanent",
        f"neigh add {ROUTER} lladdr {WAN_MAC} dev {WAN} nud permanent",
    ]
    commands += [
        f"addr add {LAN6}/64 dev {LAN} nodad",
        f"addr add {WAN6}/64 dev {WAN} nodad",
        f"route add ::/0 via {ROUTER6} dev {WAN}",
        f"neigh add {INSIDE6} lladdr {LAN_MAC} dev {LAN} nud permanent",
        f"neigh add {INSIDE6_2} lladdr {LAN_MAC} dev {LAN} nud permanent",
        f"neigh add {ROUTER6} lladdr {WAN_MAC} dev {WAN} nud permanent",
    ]
    batch = "\n".join(commands)
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    for name in ("all", LAN, WAN):
        with open(f"/proc/sys/net/ipv4/conf/{name}/forwarding", "w") as switch:
            switch.write("1")
    with open("/proc/sys/net/ipv6/conf/all/forwarding", "w") as switch:
        switch.write("1")
    return {name: ifindex(name) for name in (LAN, WAN)}


def ifindex(name: str) -> int:
    import socket

    return socket.if_nametoindex(name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with a frame: its return, the frame after it, and by how much counters moved.

    What TC redirects has the neighbour's addresses, or is given them by the kernel: that is a matter of time, so `data`
    has those that it came with, and `link` what stood there.
    """

    action: int
    data: bytes
    drops: dict[str, int]
    counts: dict[str, int]
    link: bytes = b""


class Rig:
    """Programs and maps by name."""

    def __init__(self, gateway: Gateway, devices: dict[str, int]) -> None:
        self.gateway, self.devices = gateway, devices
        self.punts: list[tuple[abi.Punt, bytes]] = []
        self._touched: set[int] = set()
        self._resets = 0
        gateway.install_stages()
        # The kernel reports a loss with the next sample that has room, perhaps in a later test.
        self.ring = gateway.open_ring(self._on_sample, lambda _: None, 16)

    def _on_sample(self, cpu: int, sample: bytes) -> None:
        punt = abi.Punt.unpack(sample)
        start = ctypes.sizeof(abi.Punt)
        self.punts.append((punt, sample[start : start + punt.frame_size]))

    def reset(self) -> None:
        """An empty gateway with the bench's configuration."""
        gateway = self.gateway
        used = {session.port_index for _, session in gateway.sessions.items()} | self._touched
        for key, mapping in gateway.mappings.items():
            used |= {mapping.port_index, port_row(0, key.proto, abi.be16(key.inside_port))}
        for row in used - {abi.EXEMPT_ROW}:
            gateway.ports.put(row, abi.PortSlot())
        self._touched.clear()
        for name in HASHES:
            getattr(gateway, name).clear()
        for name in ("hosts", "peers", "fragments", "fragment_ids", "pieces"):
            clear(gateway._map_fd(name))
        for row, bits in gateway.port_bits.items():
            if bits:
                gateway.port_bits.put(row, 0)
        for row, held in gateway.port_blocks.items():
            if held.holder:
                gateway.port_blocks.put(row, abi.PortBlock())
        for row, bits in gateway.block_bits.items():
            if bits:
                gateway.block_bits.put(row, 0)
        for row in range(16):
            gateway.forwards.put(row, abi.Forward())
        for row in range(abi.POOL_ROWS):
            gateway.pools.put(row, abi.Pool())
        self._resets += 1
        gateway.pools.put(abi.POOL_FREED, abi.Pool(used=self._resets << 16))  # what is kept of IPv6 ends is void
        gateway.heartbeat.put(0, 0)
        gateway.drain()
        self.punts.clear()
        for index in self.devices.values():
            gateway.devices.put(index, 1)
        gateway.wan_networks.put(abi.ExemptKey(prefix_len=24, address=abi.ip_to_be32(NETWORK)), 1)
        gateway.configs6.put(0, abi.Config6(flags=abi.SixFlag.FILTER | abi.SixFlag.IPSEC_SPOKEN))
        self.configure()

    def taken(self) -> list[tuple[abi.Punt, bytes]]:
        """What came through the perf ring since the last call, as (punt, frame)."""
        self.gateway.drain()
        taken, self.punts = self.punts, []
        return taken

    def configure(self, **changes: Any) -> abi.Config:
        """Write the configuration: the bench's defaults with `changes`. Timeouts as {TimeoutKind: seconds}."""
        seconds = {
            abi.TimeoutKind.TCP_OPENING: 240,
            abi.TimeoutKind.TCP_ESTABLISHED: 7440,
            abi.TimeoutKind.TCP_CLOSING: 240,
            abi.TimeoutKind.TCP_RESET: 240,
            abi.TimeoutKind.UDP: 300,
            abi.TimeoutKind.ICMP: 60,
        } | changes.pop("timeouts", {})
        config = abi.Config(
            secret=SECRET,
            wan=self.devices[WAN],
            flags=abi.ConfigFlag.HAIRPIN,
            public_count=1,
            public_ip=(abi.ip_to_be32(PUBLIC),),
            lan=(self.devices[LAN],),
            timeouts=tuple(int(seconds[kind] * SECOND) for kind in sorted(seconds)),
            port_first=1024,
            port_last=65535,
            helper_timeout=HELPER_TIMEOUT,
            max_sessions=self.gateway.max_sessions,
        )
        for name, value in changes.items():
            if not hasattr(config, name):
                raise AttributeError(name)
            setattr(config, name, value)
        self.gateway.configs.put(0, config)
        return config

    def beat(self) -> None:
        """The helper's sign of life."""
        self.gateway.heartbeat.put(0, ticks())

    def run(self, name: str, frame: bytes, flags: int = 0, **context: Any) -> Outcome:
        """One run; `flags`: ProgramRun; keywords as for testrun.skb_context."""
        before, made = self._read(), testrun.skb_context(**context)
        result = testrun.run(self.gateway.fds[name], frame, made, flags=flags, room=len(frame) + 4096)
        after = self._read()
        link, data = result.data[:12], result.data
        if result.value == REDIRECT and link in NEAR.get(name, (ROUTERWARD, HOSTWARD)):
            data = frame[:12] + data[12:]
        return Outcome(result.value, data, *_moved(before, after), link)

    def lan(self, frame: bytes, **context: Any) -> Outcome:
        """LAN ingress: the shortcut."""
        return self.run("tc_lan", frame, **self._at(LAN, LAN) | context)

    def wan_in(self, frame: bytes, **context: Any) -> Outcome:
        return self.run("tc_wan_in", frame, **self._at(WAN, WAN) | context)

    def wan_out(self, frame: bytes, **context: Any) -> Outcome:
        """WAN egress of a forwarded packet."""
        return self.run("tc_wan_out", frame, **self._at(WAN, LAN) | context)

    def local_out(self, frame: bytes, **context: Any) -> Outcome:
        """WAN egress of a packet that the gateway itself made."""
        return self.run("tc_wan_out", frame, **self._at(WAN, None) | context)

    def tap(self, frame: bytes, kind: abi.InjectKind, **context: Any) -> Outcome:
        """A frame from the helper, marked in its first byte."""
        return self.run("tc_tap", bytes([kind]) + frame[1:], **self._at(LAN, LAN) | context)

    def xdp(self, name: str, frame: bytes) -> Outcome:
        """`xdp_lan` or `xdp_wan`."""
        before = self._read()
        index = self.devices[LAN if name == "xdp_lan" else WAN]
        result = testrun.run(self.gateway.fds[name], frame, testrun.xdp_context(len(frame), ingress_ifindex=index))
        return Outcome(result.value, result.data, *_moved(before, self._read()))

    def control(self, request: abi.Control) -> abi.Control:
        """One request to the control program, and its answer."""
        result = testrun.run(self.gateway.fds["control"], bytes(14) + bytes(request), room=16384)
        return abi.Control.unpack(result.data, 14)

    def reserve(self, proto: int, port: int, ip: str, inside_port: int, address: int = 0) -> int | None:
        """Reserve a port through the control program; the port, or None."""
        got = ControlProgram(self.gateway.fds["control"]).reserve(address, proto, port, IPv4Address(ip), inside_port)
        if got is not None:
            self._touched.add(port_row(address, proto, got))
        return got

    def session(self, flow: Flow, proto: int) -> abi.Session | None:
        """The session of a conversation as the inside host sends it."""
        return self.gateway.sessions.get(session_key(flow, proto))

    def parent(self, data: abi.Session) -> int | None:
        """The id of the control session that expected this one."""
        return self.gateway.relations.get(data.id)

    def slot(self, proto: int, port: int, address: int = 0) -> abi.PortSlot:
        self._touched.add(port_row(address, proto, port))
        return self.gateway.ports[port_row(address, proto, port)]

    def put_slot(self, proto: int, port: int, slot: abi.PortSlot, address: int = 0) -> int:
        """Write a row of `ports`; its number."""
        row = port_row(address, proto, port)
        self._touched.add(row)
        self.gateway.ports.put(row, slot)
        return row

    def _at(self, device: str, came_by: str | None) -> dict[str, int]:
        return {"ifindex": self.devices[device], "ingress_ifindex": self.devices[came_by] if came_by else 0}

    def _read(self) -> tuple[list[int], list[int]]:
        return self.gateway.drops.sums(), self.gateway.counters.sums()


def session_key(flow: Flow, proto: int) -> abi.SessionKey:
    return abi.SessionKey(
        inside_ip=abi.ip_to_be32(flow.source),
        remote_ip=abi.ip_to_be32(flow.destination),
        inside_port=abi.be16(flow.source_port),
        remote_port=0 if proto == ICMP else abi.be16(flow.destination_port),
        proto=proto,
    )


def clear(fd: int) -> None:
    """Delete all entries of a hash that has no table."""
    info = syscall.map_info(fd)
    for _ in range(info.max_entries):
        key = syscall.next_key(fd, None, info.key_size)
        if key is None:
            return
        syscall.delete(fd, key)


def _moved(before: Any, after: Any) -> tuple[dict[str, int], dict[str, int]]:
    reasons = abi.reasons()
    drops = {
        reasons[row][0]: new - old for row, (old, new) in enumerate(zip(before[0], after[0], strict=True)) if new != old
    }
    counts = {
        abi.Counter(row).name: new - old
        for row, (old, new) in enumerate(zip(before[1], after[1], strict=True))
        if new != old
    }
    return drops, counts
