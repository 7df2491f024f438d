"""Two TCP ends and the wire between them, with the kernel model and the engine in the middle.

The law of this file: the ends know TCP and nothing of the gateway. Each assertion is something that a real end would
suffer from: an acknowledgement of bytes never sent, two versions of one byte, a wrong address.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

from algate.alg.engine import effects as fx
from algate.alg.engine.corrections import MASK, distance
from algate.alg.engine.engine import Engine
from algate.alg.engine.frames import ACK, FIN, PSH, RST, SYN
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Control, Conversation
from tests.kernel_model import SECRET, KernelModel, Packet, size_of
from tests.toy import Ports, Toy

INSIDE, REMOTE, PUBLIC = bytes([10, 0, 0, 5]), bytes([198, 51, 100, 2]), bytes([203, 0, 113, 1])
KEY = fx.SessionKey(INSIDE, 3000, REMOTE, 21)
INFO = fx.SessionInfo(77, KEY, PUBLIC, 4000)
INSIDE6, REMOTE6 = (IPv6Address(f"2001:db8:{one}").packed for one in ("1::5", "9::2"))
PREFIX = IPv6Network("64:ff9b::/96")
# The key has handles out of 0.0.0.0/8 for IPv6 addresses.
NAT64 = fx.SessionInfo(77, KEY._replace(inside_ip=bytes((0, 1, 2, 3))), PUBLIC, 4000, 0, 1, INSIDE6, b"", PREFIX)
SIX = fx.SessionInfo(
    77, fx.SessionKey(bytes((0, 1, 2, 3)), 3000, bytes((0, 9, 9, 9)), 21), b"", 0, 0, 1, INSIDE6, REMOTE6
)


class End:
    """One end: what it sends and what it got. Offsets count payload bytes from the start of the stream."""

    def __init__(
        self, direction: int, isn: int, peer_isn: int, mss: int, stamps: bool, info: fx.SessionInfo
    ) -> None:  # fmt: skip
        self.direction = direction  # of what it sends
        key = info.key
        public = (info.public_ip, info.public_port) if info.public_ip else (info.inside_ip, key.inside_port)
        inside, remote = (info.inner_ip, key.inside_port), (info.remote_ip, key.remote_port)
        outside = info.remote_ip, key.remote_port
        near, far = (inside, remote) if direction == fx.OUT else (outside, public)
        self.names = near[0], far[0], near[1], far[1]  # its own and the other's address and ports, as it knows them
        self.isn, self.peer_isn, self.mss = isn, peer_isn, mss
        self.stamps = stamps
        self.stream = b""
        self.sent = 0  # highest offset sent
        self.una = 0
        self.fin_sent = self.fin_acked = self.fin_got = False
        self.got = bytearray()
        self.later: dict[int, int] = {}  # offset -> byte
        self.reset = False
        self.clock = 1
        self.sizes: list[int] = []
        self.pmtu = 65535
        self.deaf = False  # hears no ICMP errors
        self.told: list[int] = []
        self.hurried = 0

    def hears(self, mtu: int) -> None:
        """Frag-needed about something that it sent."""
        self.told.append(mtu)
        if not self.deaf:
            self.pmtu = min(self.pmtu, mtu)

    def hurries(self, seq: int) -> None:
        """Told that the way is broken: RFC 6069 repeats at once what is about its oldest unacknowledged byte."""
        if seq == (self.isn + 1 + self.una) & MASK and self.una < self.sent + self.fin_sent:
            self.hurried += 1

    @property
    def most(self) -> int:
        """Payload of its next segment at most."""
        headers = 40 if len(self.names[0]) == 4 else 60
        return min(self.mss - 40, self.pmtu - headers - (12 if self.stamps else 0))

    def packet(self, flags: int, offset: int = 0, size: int = 0, seq: int | None = None) -> Packet:
        """A segment of this end's stream, as the end writes it."""
        seq = (self.isn + 1 + offset) & MASK if seq is None else seq
        ack = (self.peer_isn + 1 + len(self.got) + self.fin_got) & MASK
        self.clock += 1
        stamps = (self.clock, 1) if self.stamps else None
        return Packet(*self.names, seq, ack, flags, 8192, self.stream[offset : offset + size], stamps)

    def send(self, offset: int, size: int) -> Packet:
        """Send bytes of the stream, new or again, with the FIN if it is closed and they reach its end."""
        end = min(offset + size, len(self.stream))
        self.sent = max(self.sent, end)
        flags = ACK | PSH
        if self.fin_sent and end == len(self.stream):
            flags |= FIN
        return self.packet(flags, offset, end - offset)

    def acknowledgement(self) -> Packet:
        return self.packet(ACK, self.sent + (self.fin_sent and self.sent == len(self.stream)))

    def receive(self, packet: Packet) -> Packet | None:
        """Take a segment; returns the acknowledgement that it calls for."""
        assert (packet.dst, packet.src, packet.dport, packet.sport) == self.names
        at = distance(packet.seq, (self.peer_isn + 1) & MASK)
        if packet.flags & RST:
            if at == len(self.got):
                self.reset = True
            return None
        acked = distance(packet.ack, (self.isn + 1) & MASK)
        assert acked <= self.sent + self.fin_sent, "acknowledges what was never sent"
        self.una = max(self.una, min(acked, self.sent))
        self.fin_acked |= self.fin_sent and acked > len(self.stream)
        if packet.payload:
            self.sizes.append(len(packet.payload))
        for offset, byte in enumerate(packet.payload, at):
            if offset < len(self.got):
                if offset >= 0:
                    assert self.got[offset] == byte, "another version of a byte"
            elif offset - len(self.got) < 60000:
                assert self.later.setdefault(offset, byte) == byte, "another version of a byte"
        while len(self.got) in self.later:
            self.got.append(self.later.pop(len(self.got)))
        if packet.flags & FIN and at + len(packet.payload) == len(self.got):
            self.fin_got = True
        if packet.payload or packet.flags & FIN or at < len(self.got):
            return self.acknowledgement()
        return None


class Lab:
    """Ends, wire, kernel, engine. `queue` holds what is in flight: (direction, packet, already at the gateway)."""

    def __init__(
        self,
        isn: tuple[int, int] = (1000, 5000),
        mss: tuple[int, int] = (1460, 1460),
        stamps: bool = False,
        limits: Limits | None = None,
        ports: Ports | None = None,
        info: fx.SessionInfo = INFO,
    ) -> None:
        self.limits = limits or Limits()
        self.now = 100.0
        self.ports = ports or Ports()
        self.queue: list[tuple[int, Packet, bool]] = []
        self.punts: list[fx.Segment] = []
        self.errors: list[tuple[str, int, int]] = []  # what the kernel tells: engine's method, direction, mtu
        self.router = [65535, 65535]  # what the way of each direction takes beyond the gateway's links
        self.kernel = KernelModel(info, self.punts.append, self._leaves)
        self.kernel.told = lambda direction, mtu: self.ends[direction].hears(mtu)
        self.kernel.hurried = lambda direction, seq: self.ends[direction].hurries(seq)
        self.kernel.unsent = lambda direction, mtu: self.errors.append(("unsent", direction, mtu))
        self.kernel.now = self.now
        self.toys: list[Toy] = []
        self.engine = self._engine()
        self.effects: list[fx.Effect] = []
        self.ends = tuple(End(d, isn[d], isn[1 - d], mss[d], stamps, info) for d in (0, 1))
        self.inside, self.outside = self.ends
        for end in self.ends:
            self.kernel.tracked.mss[end.direction] = end.mss
            flags = SYN if end.direction == fx.OUT else SYN | ACK
            self.kernel._follow(end.direction, end.packet(flags, seq=end.isn))
        self.kernel._follow(fx.OUT, self.inside.packet(ACK))
        self.do(self.engine.opened(info, self.now))

    def _engine(self) -> Engine:
        return Engine(self._open, self.ports, self.kernel.track, self.kernel.adjusted, SECRET, self.limits,
            decided=self.kernel.decided,
        )  # fmt: skip

    def _open(self, control: Control) -> Conversation | None:
        self.toys.append(Toy(control))
        return self.toys[-1]

    def _leaves(self, direction: int, packet: Packet) -> None:
        assert size_of(packet) <= self.kernel.mtu[direction], "beyond the device's MTU"
        if size_of(packet) > self.router[direction]:
            self.ends[direction].hears(self.router[direction])
            self.errors.append(("path", direction, self.router[direction]))
            return
        self.queue.append((direction, packet, True))

    def do(self, effects: list[fx.Effect]) -> None:
        self.effects = effects
        self.kernel.carry_out(effects)

    def submit(self, packet: Packet, unfinished: bool = False) -> None:
        """A segment reaches the gateway at once."""
        direction = fx.OUT if packet.src == self.kernel.info.inside_ip else fx.IN
        self.kernel.segment(direction, packet, unfinished=unfinished)
        self.think()

    def think(self) -> None:
        """The helper reads the ring, and judges copies behind whatever waits."""
        number, behind = self.kernel.info.session, False
        while self.punts or self.errors:
            if self.punts:
                segment = self.punts.pop(0)
                if segment.copied and self.engine.defer(segment, self.now):
                    behind = True
                    continue
                self.do(self.engine.segment(segment, self.now))
                continue
            what, direction, mtu = self.errors.pop(0)
            self.do(self.engine.narrowed(number, direction, mtu, self.now, mtu + 1 if what == "path" else 0))
        if behind:
            self.do(self.engine.caught_up(number, self.now))

    def arrive(self, index: int) -> None:
        """Move a packet in flight one hop: to the gateway, or to its end."""
        direction, packet, past = self.queue.pop(index)
        if not past:
            self.kernel.segment(direction, packet)
            return
        answer = self.ends[1 - direction].receive(packet)
        if answer is not None:
            self.queue.append((1 - direction, answer, False))

    def launch(self, direction: int, packet: Packet) -> None:
        """An end writes a segment."""
        self.queue.append((direction, packet, False))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.kernel.now = self.now
        self.do(self.engine.tick(self.now))

    def run(self) -> None:
        """Deliver everything in flight, in order, until nothing is left."""
        for _ in range(10000):
            self.think()
            if not self.queue:
                if not self.errors:
                    return
                continue
            self.arrive(0)
        raise AssertionError("the packets never stop")

    def outage(self, arrivals: int, known: bool) -> None:
        """Nobody serves, and the ends go on meanwhile: what is in flight arrives, and what they may say they say, whole
        or in part, new or once more. `known`: the heartbeat is over; else the kernel still copies into a dead ring."""
        self.punts.clear()
        self.errors.clear()
        self.kernel.reads, self.kernel.alive = False, not known
        for number in range(arrivals):
            for end in self.ends:
                self.goes_on(end, number)
            while self.queue:
                self.arrive(0)
            self.now += 0.2
            self.kernel.now = self.now

    def goes_on(self, end: End, number: int) -> None:
        """During an outage: an end's timer runs out, or it says the next few bytes."""
        if number % 2 and end.una < end.sent:
            self.launch(end.direction, end.send(end.una, end.most))
        elif end.sent < len(end.stream):
            self.launch(end.direction, end.send(end.sent, 1 + number))

    def restart(self) -> None:
        """The helper dies and another takes over."""
        self.kernel.stop_after = None
        self.kernel.reads = self.kernel.alive = True
        self.punts.clear()
        self.errors.clear()
        self.engine = self._engine()
        stale = set(self.kernel.decisions)
        left = [*self.kernel.expectations.values()]
        effects = self.engine.restore(self.kernel.info, dict(self.kernel.held), self.now, left)
        self.do(effects)
        written = {(e.direction, e.seq, e.size) for e in effects if isinstance(e, fx.PutDecision)}
        for key in stale - written:
            del self.kernel.decisions[key]

    def finish(self) -> None:
        """Both ends repeat what isn't acknowledged, as TCP does, until everything has arrived."""
        for _ in range(400):
            self.run()
            if all(e.una == len(e.stream) and (e.fin_acked or not e.fin_sent) for e in self.ends) and not self._owes():
                return
            for end in self.ends:
                if end.una < len(end.stream) or (end.fin_sent and not end.fin_acked):
                    self.launch(end.direction, end.send(end.una, end.most))
            self.run()
            self.tick(0.4)
        raise AssertionError("the streams never came to an end")

    def _owes(self) -> bool:
        session = self.engine._sessions.get(self.kernel.info.session)
        if session is None or session.bypassed:
            return False
        return any(flow.ledger.owed() or flow.ledger.answers or flow.spans for flow in session.flows)
