"""A gateway that is loaded but attached to nothing, in a lab's gateway namespace, for test-runs packet by packet.

The law of this file: it loads, configures as in the shipped example, opens sessions and runs programs; which path is
measured, and what it is called, is decided elsewhere.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Self

from algate.alg.config import load as config
from algate.alg.engine.digest import digest
from algate.alg.gateway import netlink
from algate.alg.gateway.settings import (
    public_addresses,
    write_config,
    write_config6,
    write_services,
    write_surroundings,
)
from algate.alg.plugin import policy, registry
from algate.bpf import abi, testrun, ticks
from algate.bpf.loader import Gateway
from algate.bpf.programs import XDP_PROGRAMS
from algate.bpf.syscall import ProgInfo, prog_info
from algate.bpf.testrun import RunResult, SkBuff, XdpMd
from algate.cli.bench import frames
from algate.cli.bench.benchmark import BenchPrograms
from algate.cli.bench.contenders import example_config
from algate.cli.bench.frames import Way
from algate.cli.lab.host import LabError, call_in
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab, ip

REDIRECT, OK = 7, 0xFFFFFFFF  # TC_ACT_UNSPEC: what is left alone goes on to the filters of others
RING_PAGES = 256
MAX_SESSIONS = 131_072
HOST_MAC, ROUTER_MAC = bytes.fromhex("020000000102"), bytes.fromhex("020000000202")
ISN = {abi.Direction.OUT: 1000, abi.Direction.IN: 5000}
WANTED = {True: 4, False: REDIRECT}  # XDP_REDIRECT, TC_ACT_REDIRECT


class BenchRig:
    """`with BenchRig(lab, programs) as rig:` a gateway with empty maps, whose pins vanish with it."""

    def __init__(self, lab: Lab, programs: BenchPrograms, nat64: str = "", filter6: bool = False) -> None:
        """`nat64`: the prefix of a gateway with NAT64; `filter6`: one that filters IPv6."""
        self.lab, self.programs, self.nat64, self.filter6 = lab, programs, nat64, filter6
        self.pins = Path("/sys/fs/bpf") / f"ag-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        self.lab.undo(["rm", "-rf", str(self.pins)])
        self.pins.mkdir()
        try:
            call_in(self.lab.gw.netns, self._set_up)
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gateway.close()
        self._clear()

    def _clear(self) -> None:
        for pin in self.pins.iterdir():
            pin.unlink()
        self.pins.rmdir()

    def _set_up(self) -> None:
        path = self.lab.folder / "rig.toml"
        path.write_text(example_config())
        plugins = registry.discover()
        # one host is to fill the pool
        own = {"nat.host_share": 1.0} | ({"nat64.prefix": self.nat64} if self.nat64 else {})
        own |= {"ipv6.filter": True} if self.filter6 else {}
        configured = config.load(path, own, policy.kinds(plugins))
        lan, wan = netlink.find_device(LAN_DEVICE), netlink.find_device(WAN_DEVICE)
        if lan is None or wan is None:
            raise LabError("the lab's gateway has lost a device")
        self.lan, self.wan = lan, wan
        addresses = public_addresses(configured, wan)
        self.public = str(addresses[0])
        self.gateway = Gateway(self.pins, MAX_SESSIONS, len(addresses), six=self.filter6, nat64=bool(self.nat64))
        self.gateway.install_stages()
        self.gateway.open_ring(lambda cpu, sample: None, lambda count: None, RING_PAGES)
        self.secret = write_config(self.gateway, configured, [lan], wan, addresses)
        write_config6(self.gateway, configured, [lan], wan)
        write_services(self.gateway, configured, plugins)
        write_surroundings(self.gateway, wan, {lan.index, wan.index})
        self.beat()

    def beat(self) -> None:
        """Refresh the helper's heartbeat, and make room in its ring."""
        self.gateway.heartbeat.put(0, ticks.count())
        self.gateway.drain()

    def outward(self, port: int, remote_port: int, *, host: int = 0) -> Way:
        """A frame from inside host number `host`."""
        inside = str(IPv4Address(self.lab.plan.clients[0]) + host)
        return Way(inside, port, self.lab.plan.servers[0], remote_port, HOST_MAC, self.lan.mac)

    def inward(self, remote_port: int, public_port: int) -> Way:
        return Way(self.lab.plan.servers[0], remote_port, self.public, public_port, ROUTER_MAC, self.wan.mac)

    def unmapped(self, remote_port: int, port: int) -> Way:
        """What `inward` would be without NAT: a frame to the inside host."""
        server, client = self.lab.plan.servers[0], self.lab.plan.clients[0]
        return Way(server, remote_port, client, port, ROUTER_MAC, self.wan.mac)

    def turned(self, way: Way) -> Way:
        """`outward` of the IPv6 inside host, by NAT64."""
        prefix = IPv6Network(self.nat64)[int(IPv4Address(way.destination))]
        return replace(way, source=self.lab.plan.clients6[0], destination=str(prefix))

    def six(self, way: Way) -> Way:
        """`outward` or `inward` between hosts that both speak IPv6."""
        ends = self.lab.plan.clients6[0], self.lab.plan.servers6[0]
        source, destination = ends if way.source_mac == HOST_MAC else ends[::-1]
        return replace(way, source=source, destination=destination)

    def open6(self, port: int, remote_port: int) -> None:
        """Established sessions of the IPv6 inside host, of UDP and TCP: by NAT64, or through the filter."""
        out, into = self.outward(port, remote_port), self.inward(remote_port, port)
        a, b = ISN[abi.Direction.OUT], ISN[abi.Direction.IN]
        for frame, answer in (
            (frames.udp(out, bytes(22)), frames.udp(into, bytes(22))),
            (frames.tcp(out, b"", frames.SYN, a - 1, 0), frames.tcp(into, b"", frames.SYN_ACK, b - 1, a)),
        ):
            self.once("tc_lan", self.inside6(out, frame))
            self.once("tc_wan_in", self.outside6(into, answer))
        self.once("tc_lan", self.inside6(out, frames.tcp(out, b"", frames.ACK, a, b)))

    def inside6(self, way: Way, frame: bytes) -> bytes:
        """The IPv6 inside host's frame of this payload."""
        return frames.over6(self.turned(way) if self.nat64 else self.six(way), frame)

    def outside6(self, way: Way, frame: bytes) -> bytes:
        """What comes for it from outside: IPv4 if NAT64 turns it."""
        return frame if self.nat64 else frames.over6(self.six(way), frame)

    def context(self, program: str, frame: bytes) -> SkBuff | XdpMd:
        """The context of a frame that came in on the device of `program`."""
        index = self.lan.index if program.endswith("lan") else self.wan.index
        if program in XDP_PROGRAMS or program == "forward":
            return testrun.xdp_context(len(frame), ingress_ifindex=index)
        return testrun.skb_context(ifindex=index, ingress_ifindex=index)

    def once(self, program: str, frame: bytes, wanted: int = REDIRECT) -> None:
        """One run that must end in `wanted`. LabError if it doesn't."""
        fd, context = self.gateway.fds[program], self.context(program, frame)
        got = call_in(self.lab.gw.netns, lambda: testrun.run(fd, frame, context).value)
        if got != wanted:
            raise LabError(f"{program} gave {got}, expected {wanted}: the bench's paths are out of date")

    def repeated(self, fd: int, frame: bytes, context: SkBuff | XdpMd, repeat: int, vary: int = 0) -> RunResult:
        """Run the frame through a program again and again."""
        return call_in(
            self.lab.gw.netns, partial(self.programs.replay, fd, frame, context, repeat, vary)
        )  # fmt: skip

    def open(self, proto: int, port: int, remote_port: int) -> abi.Session:
        """An established session of inside host 0."""
        out, into = self.outward(port, remote_port), self.inward(remote_port, port)
        if proto == frames.UDP:
            self.once("tc_lan", frames.udp(out, bytes(22)))
            self.once("tc_wan_in", frames.udp(into, bytes(22)))
        else:
            a, b = ISN[abi.Direction.OUT], ISN[abi.Direction.IN]
            self.once("tc_lan", frames.tcp(out, b"", frames.SYN, a - 1, 0))
            self.once("tc_wan_in", frames.tcp(into, b"", frames.SYN_ACK, b - 1, a))
            self.once("tc_lan", frames.tcp(out, b"", frames.ACK, a, b))
        session = self.gateway.sessions[self.key(proto, port, remote_port)]
        if session.port_index & 0xFFFF != port:
            raise LabError(f"the rig's port {port} wasn't kept: the bench's paths are out of date")
        return session

    def key(self, proto: int, port: int, remote_port: int) -> abi.SessionKey:
        plan = self.lab.plan
        return abi.SessionKey(
            inside_ip=abi.ip_to_be32(plan.clients[0]), remote_ip=abi.ip_to_be32(plan.servers[0]),
            inside_port=abi.be16(port), remote_port=abi.be16(remote_port), proto=proto,
        )  # fmt: skip

    def decide(self, identity: int, seq: int, load: bytes) -> None:
        """As the helper writes it: this outbound payload may pass."""
        key = abi.DecisionKey(id=identity, seq=seq, size=len(load), dir=abi.Direction.OUT)
        self.gateway.decisions.put(key, abi.Decision(digest=digest(self.secret, load), verdict=abi.Verdict.PASS))

    def adjust(self, identity: int, key: abi.SessionKey, growth: int) -> None:
        """As the helper writes it: the first outbound line left `growth` bytes longer."""
        record = abi.Adjust(id=identity, decided=(ISN[abi.Direction.OUT] + 100, ISN[abi.Direction.IN]))
        record.count[abi.Direction.OUT] = 1
        start = ISN[abi.Direction.OUT] + 20
        record.at[0] = abi.Correction(start=start, end=start + 20, before=0, after=growth)
        self.gateway.adjusts.put(key, record)

    def expect(self, control: abi.Session, key: abi.SessionKey, first_port: int, count: int) -> None:
        """`count` open expectations of inside host 0 towards the server's ports from `first_port` on."""
        made = []
        for number in range(count):
            place = abi.ExpectationKey(
                from_=key.inside_ip, to=key.remote_ip, to_port=abi.be16(first_port + number), proto=frames.TCP,
                dir=abi.Direction.OUT,
            )  # fmt: skip
            value = abi.Expectation(
                id=1 + number, control_id=control.id, control_key=key, state=abi.ExpectationState.OPEN, alg=control.alg,
                expires=(ticks.now() + 100_000) % ticks.WRAP,
            )  # fmt: skip
            made.append((place, value))
        self.gateway.expectations.put_many(made)

    def taken(self, kind: abi.ProtoClass) -> int:
        """Public ports of a protocol that are in use."""
        return sum(1 for row, slot in self.gateway.ports.items() if slot.owner and (row >> 16) % 3 == kind)

    def sizes(self) -> dict[str, ProgInfo]:
        """Of every program of the gateway."""
        return {name: prog_info(fd) for name, fd in self.gateway.fds.items()}


def name_neighbours(lab: Lab, hosts: int) -> None:
    """Neighbours that never expire, for inside hosts and the next hop; and forwarding on."""
    first = IPv4Address(lab.plan.clients[0])
    lines = [
        f"neigh replace {first + number} lladdr {HOST_MAC.hex(':')} dev {LAN_DEVICE} nud permanent"
        for number in range(hosts)
    ]
    if lab.plan.six:
        lines.append(f"neigh replace {lab.plan.clients6[0]} lladdr {HOST_MAC.hex(':')} dev {LAN_DEVICE} nud permanent")
        next_hop6 = lab.plan.wan6.replace("::/64", "::1")
        lines.append(f"neigh replace {next_hop6} lladdr {ROUTER_MAC.hex(':')} dev {WAN_DEVICE} nud permanent")
    lines.append(f"neigh replace {lab.plan.next_hop} lladdr {ROUTER_MAC.hex(':')} dev {WAN_DEVICE} nud permanent")
    ip("\n".join(lines), lab.gw.netns)
    lab.gw.sysctl("ipv4/ip_forward", "1")
