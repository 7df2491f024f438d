"""Scripted TCP ends on both links of a gateway: every segment as the script writes it, and what arrived checked.

The law of this file: it sends exactly what it is told and keeps what came; it repeats nothing by itself and knows no
FTP. The ends are ghosts of the compliance bed: addresses that no kernel owns, so nobody resets what a script does. One
thread; time passes only in `Links.pump`.

A position counts bytes of a sender's stream from its first one (so -1 is the SYN's number). Each end reassembles what
it receives, and notes as `faults` what would disturb a real end: two versions of one byte, an acknowledgement of what
was never sent, a wrong checksum, a packet larger than the link that may not be fragmented.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence

from algate.cli.lab.host import Host
from tests.compliance import packet as pk
from tests.compliance.bed import Ghost
from tests.compliance.packet import TCP, Ip, Packet
from tests.compliance.wires import BUFFER, Wire

VNET_HDR = struct.Struct(
    "=BBHHHH"
)  # struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
PACKET_VNET_HDR = 15  # linux/if_packet.h
NEEDS_CSUM, GSO_TCPV4 = 1, 1
ETHERNET = 14
PATIENCE = 8.0  # s within which what must come comes, the gateway's own repetitions included
SILENCE = 0.2  # s without it: it won't come
ROUND = 0.005  # s per look at the links
WRAP = 1 << 32


def distance(one: int, other: int) -> int:
    """one - other in sequence numbers, -2^31 <= result < 2^31."""
    return (one - other + (1 << 31)) % WRAP - (1 << 31)


class Tap(Wire):
    """A wire that is read when asked, and that reports and sends GSO packets as such."""

    def _watch(self) -> None:
        self.socket.setsockopt(263, PACKET_VNET_HDR, 1)  # SOL_PACKET

    def _unwatch(self) -> None:
        pass

    def send(self, frame: bytes) -> None:
        self._write(bytes(VNET_HDR.size) + frame)

    def send_super(self, frame: bytes, header: int, gso: int) -> None:
        """Send a TCP packet with `header` bytes of headers, link included, to be split into segments of `gso` bytes."""
        start = ETHERNET + 20
        self._write(VNET_HDR.pack(NEEDS_CSUM, GSO_TCPV4, header, gso, start, 16) + frame)

    def _write(self, data: bytes) -> None:
        for _ in range(1000):
            try:
                self.socket.send(data)
                return
            except OSError as error:
                if error.errno not in (11, 105):  # EAGAIN, ENOBUFS: the queue drains
                    raise
                time.sleep(0.0005)

    def read(self) -> None:
        """Deliver everything that has come."""
        while True:
            try:
                data, where = self.socket.recvfrom(1 << 17)
            except (BlockingIOError, OSError):
                return
            header, frame = data[: VNET_HDR.size], data[VNET_HDR.size :]
            if len(frame) < 34 or where[2] == socket.PACKET_OUTGOING:
                continue
            if frame[12:14] == b"\x08\x06":
                self._resolve(frame)
            elif frame[12:14] == b"\x08\x00":
                self._hand_over(frame, VNET_HDR.unpack(header))

    def _hand_over(self, frame: bytes, header: tuple[int, ...]) -> None:
        ghost = self.ghosts.get(socket.inet_ntoa(frame[30:34]))
        if ghost is None or frame[:6] != ghost.mac:
            return
        with contextlib.suppress(struct.error, IndexError):
            packet = pk.parse(frame[ETHERNET:])
            packet.gso = header[3] if header[1] else 0
            if header[0] & NEEDS_CSUM:  # the device would have computed it
                packet.wrong = [one for one in packet.wrong if one == "IP header"]
            ghost.deliver(packet)


class Place(Ghost):
    """A host of a script: its TCP ends get their segments, everything else goes to the inbox."""

    def __init__(self, wire: Tap, ip: str, hop: bytes) -> None:
        super().__init__(wire, ip, hop)
        self.ends: list[End] = []

    def deliver(self, packet: Packet) -> None:
        for end in reversed(self.ends):  # a new one on the same ports gets its own
            if end.owns(packet):
                end.take(packet)
                return
        super().deliver(packet)


class Links:
    """Both links of a gateway, and the clock of the scripts on them. `mtu` of both."""

    def __init__(
        self, inside: Host, outside: Host, hops: tuple[bytes, bytes], prefixes: tuple[str, str], mtu: int = 1500
    ) -> None:
        """`hops`: MAC of the gateway on each; `prefixes`: "10.77." and the like, for the addresses of places."""
        self.taps = (Tap(inside), Tap(outside))
        self.mtu = mtu
        self.patience = PATIENCE
        self._hops = hops
        self._prefixes = prefixes
        self._numbers = itertools.count(1)
        self._ports = itertools.count(20001, 3)
        self._poll = select.poll()
        for tap in self.taps:
            tap.socket.setsockopt(socket.SOL_SOCKET, 33, BUFFER)
            self._poll.register(tap.socket, select.POLLIN)

    def place(self, side: int, ip: str = "") -> Place:
        """A new host; side 0 is inside, 1 outside."""
        number = next(self._numbers)
        return Place(
            self.taps[side], ip or f"{self._prefixes[side]}{1 + number // 90}.{10 + number % 90}", self._hops[side]
        )

    def port(self) -> int:
        """A port that no other script uses."""
        return next(self._ports)

    def pump(self, seconds: float = 0.0) -> None:
        """Take what comes for that long; at least once."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            self._poll.poll(max(0.0, min(left, ROUND)) * 1000)
            for tap in self.taps:
                tap.read()
            if left <= 0:
                return

    def until(self, true: Callable[[], object], what: str = "it", seconds: float | None = None) -> None:
        """Pump until it is true; AssertionError naming `what` if that takes too long (default: `patience`)."""
        seconds = self.patience if seconds is None else seconds
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
            self.pump(ROUND)

    def never(self, true: Callable[[], object], what: str, seconds: float = SILENCE) -> None:
        """Pump for that long; AssertionError if it becomes true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.pump(ROUND)
            assert not true(), what

    def close(self) -> None:
        for tap in self.taps:
            tap.close()


class End:
    """One end of a connection. `sent` and `got` are positions: of its next byte, and how far it has the peer's stream.

    `auto`: acknowledge what comes in order. `stamps`, `scale`, `sack`: options that its SYN offers.
    """

    def __init__(
        self, links: Links, place: Place, port: int, peer: tuple[str, int], *, iss: int = 1000, mss: int = 1460,
        stamps: bool = False, scale: int | None = None, sack: bool = False, auto: bool = True, window: int = 8192,
    ) -> None:  # fmt: skip
        self.links, self.place, self.port, self.peer = links, place, port, peer
        self.iss, self.mss, self.stamps, self.scale, self.sack = iss, mss, stamps, scale, sack
        self.auto, self.window = auto, window
        self.first: int | None = None  # the peer's number of position 0
        self.sent = 0
        self.highest = 0  # position after all it ever sent
        self.acked = 0
        self.clock = 100_000
        self.echo = 0
        self.bytes: dict[int, int] = {}
        self.got = 0
        self.stream = bytearray()
        self.fin: int | None = None
        self.reset = False
        self.arrived: list[Packet] = []
        self.faults: list[str] = []
        place.ends.append(self)

    # -- sending -------------------------------------------------------------------------------------------------------

    def segment(
        self, data: bytes = b"", flags: str = "PA", *, at: int | None = None, ack: int | None = None,
        options: bytes | None = None, stamp: int | None = None, head: Ip | None = None, ttl: int = 64,
        sacks: Sequence[tuple[int, int]] = (), urgent: int = 0, window: int | None = None, bad_sum: bool = False,
    ) -> bytes:  # fmt: skip
        """The bytes of a segment as this end would send it, without sending it: see `send`."""
        at = self.sent if at is None else at
        self.highest = max(self.highest, at + len(data) + ("F" in flags))
        if options is None:
            options = self._options(flags, stamp, sacks)
        reply = (
            (self._number(self.got + (self.fin == self.got)) if ack is None else self._number(ack))
            if "A" in flags
            else 0
        )
        return pk.tcp(
            self.place.ip, self.port, *self.peer, flags, (self.iss + 1 + at) % WRAP, reply, data,
            head or Ip(ttl=ttl, df=True), options, self.window if window is None else window, urgent, bad_sum,
        )  # fmt: skip

    def send(self, data: bytes = b"", flags: str = "PA", **more: object) -> bytes:
        """Send exactly this segment; keywords as for `segment`. Moves no position. Returns the packet."""
        return self.place.raw(self.segment(data, flags, **more))  # type: ignore[arg-type]

    def say(self, data: bytes, flags: str = "PA", **more: object) -> None:
        """Send the next bytes of the stream, in one segment."""
        packet = self.segment(data, flags, **more)  # type: ignore[arg-type]
        self.sent += len(data) + ("F" in flags)
        self.place.raw(packet)

    def say_super(self, data: bytes, gso: int) -> None:
        """Send the next bytes of the stream in one GSO packet."""
        packet = bytearray(self.segment(data))
        header = 20 + (packet[32] >> 4) * 4
        size = len(packet) - 20
        partial = pk.ones(pk.address(self.place.ip) + pk.address(self.peer[0]) + struct.pack("!HH", TCP, size)) ^ 0xFFFF
        packet[36:38] = struct.pack("!H", partial)
        self.sent += len(data)
        wire = self.place.wire
        assert isinstance(wire, Tap)
        wire.send_super(self.place.hop + self.place.mac + b"\x08\x00" + bytes(packet), ETHERNET + header, gso)

    def ack(self, **more: object) -> None:
        """Send an empty acknowledgement."""
        self.send(b"", "A", **more)

    def _options(self, flags: str, stamp: int | None, sacks: Sequence[tuple[int, int]]) -> bytes:
        made = b""
        if "S" in flags:
            made += struct.pack("!BBH", 2, 4, self.mss)
            made += b"\4\2" if self.sack else b""
            made += bytes((3, 3, self.scale)) if self.scale is not None else b""
        if self.stamps:
            self.clock += 1
            # Two NOPs before it, as RFC 7323 appendix A recommends.
            made += b"\1\1\x08\x0a" + struct.pack("!II", self.clock if stamp is None else stamp, self.echo)
        if sacks:
            made += b"\1\1" + bytes((5, 2 + 8 * len(sacks)))
            made += b"".join(struct.pack("!II", self._number(start), self._number(stop)) for start, stop in sacks)
        return made + b"\1" * (-len(made) % 4)

    def _number(self, position: int) -> int:
        return ((self.first or 0) + position) % WRAP

    # -- receiving -----------------------------------------------------------------------------------------------------

    def owns(self, packet: Packet) -> bool:
        return packet.proto == TCP and (packet.dport, packet.source, packet.sport) == (self.port, *self.peer)

    def position(self, packet: Packet) -> int:
        """Of the first byte of a segment that came."""
        return self.got + distance(packet.seq, self._number(self.got))

    def take(self, packet: Packet) -> None:
        """A segment from the wire."""
        self.arrived.append(packet)
        self.faults += [f"{one} checksum of {packet.said()}" for one in packet.wrong]
        if packet.df and len(packet.raw) > self.links.mtu and not packet.gso:
            self.faults.append(f"{len(packet.raw)} bytes that may not be fragmented")
        if packet.gso and packet.gso + len(packet.raw) - len(packet.data) > self.links.mtu:
            self.faults.append(f"GSO packet of segments of {packet.gso} bytes")
        size = packet.gso or len(packet.data)
        if size > self.mss - len(packet.options):
            self.faults.append(f"a segment of {size} bytes for an MSS of {self.mss}")
        if "S" in packet.flags:
            self.first = (packet.seq + 1) % WRAP
        if "A" in packet.flags:
            self._note_ack(packet)
        if self.first is None:
            return
        self._note_stamp(packet)
        if "R" in packet.flags:
            self.reset |= self.position(packet) == self.got
            return
        self._store(packet)

    def _note_ack(self, packet: Packet) -> None:
        acked = distance(packet.ack, (self.iss + 1 + self.acked) % WRAP) + self.acked
        if acked > self.highest and "R" not in packet.flags:
            self.faults.append(f"acknowledges {acked} bytes of {self.highest} that were sent")
        self.acked = max(self.acked, min(acked, self.highest))

    def _note_stamp(self, packet: Packet) -> None:
        if self.stamps and packet.options[:4] == b"\1\1\x08\x0a" and self.position(packet) <= self.got:
            self.echo = struct.unpack("!I", packet.options[4:8])[0]

    def _store(self, packet: Packet) -> None:
        at = self.position(packet)
        for place, byte in enumerate(packet.data, at):
            if place < 0:
                continue
            if self.bytes.setdefault(place, byte) != byte:
                self.faults.append(f"another version of byte {place}: {packet.data!r} at {at}")
                break
        if "F" in packet.flags:
            self.fin = at + len(packet.data)
        while self.got in self.bytes:
            self.stream.append(self.bytes[self.got])
            self.got += 1
        if self.auto and (packet.data or "F" in packet.flags):
            self.ack()

    # -- what scripts wait for -----------------------------------------------------------------------------------------

    def hears(self, line: bytes, seconds: float | None = None) -> bytes:
        """Wait until the stream has this text; returns the stream."""
        self.links.until(
            lambda: line in self.stream, f"{self.place.ip} hears {line!r}, has {bytes(self.stream)!r}", seconds
        )
        return bytes(self.stream)

    def told(self, position: int | None = None, seconds: float | None = None) -> None:
        """Wait until everything it sent, or everything up to a position, is acknowledged."""
        goal = self.highest if position is None else position
        self.links.until(
            lambda: self.acked >= goal, f"{self.place.ip} is acknowledged to {goal}, is to {self.acked}", seconds
        )

    def more(self, count: int, what: str = "something") -> Packet:
        """Wait for a packet after the first `count` that arrived; returns the latest."""
        self.links.until(lambda: len(self.arrived) > count, what)
        return self.arrived[-1]

    def lines_after(self, start: int, least: int = 0) -> bytes:
        """What the stream has from a position on, once that is more than `least` bytes and ends a line."""

        def whole() -> bool:
            return len(self.stream) - start > least and self.stream.endswith(b"\n")

        self.links.until(whole, f"{self.place.ip} hears a line, has {bytes(self.stream[start:])!r}")
        return bytes(self.stream[start:])

    @property
    def data(self) -> list[Packet]:
        """The segments with payload that came."""
        return [one for one in self.arrived if one.data]


def meet(server: End, iss: int) -> Packet:
    """Wait for the SYN with that number, which tells the server the client's public end. Doesn't take it yet."""
    inbox = server.place.inbox
    found: list[Packet] = []

    def syn() -> bool:
        found.extend(
            one for one in inbox if one.dport == server.port and one.flags.rstrip("EC") == "S" and one.seq == iss
        )
        return bool(found)

    server.links.until(syn, f"a SYN reaches {server.place.ip}:{server.port}")
    inbox.remove(found[0])
    server.peer = (found[0].source, found[0].sport)
    return found[0]


def handshake(client: End, server: End) -> None:
    """The three-way handshake."""
    client.send(b"", "S", at=-1)
    server.take(meet(server, client.iss))
    server.send(b"", "SA", at=-1)
    client.links.until(lambda: client.first is not None, "the SYN-ACK comes back")
    count = len(server.arrived)
    client.ack()
    server.more(count, "the third ACK arrives")
