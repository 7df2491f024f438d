"""`python -m tests.replay`: CPU time of the helper per punt and per session, from the sample's bytes to the effects
carried out.

The law of this file: the helper's own modules between two stubs. The kernel's calls do nothing, so what they cost
(about 1.2 µs for each map write, and the frame's way through TC) comes on top; `algate bench` measures that. Run it
with .venv/bin/python and .venv/compiled/bin/python: it says which build it has measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any, Final

from algate.alg.admin.build import build
from algate.alg.audit.events import Events
from algate.alg.engine import effects as fx
from algate.alg.engine.engine import Engine
from algate.alg.gateway import records
from algate.alg.gateway.addresses import Addresses
from algate.alg.helper.executor import Executor
from algate.alg.helper.guard import Guard
from algate.alg.helper.telling import Telling
from algate.alg.plugin.model import Address, Control, Conversation, EndPoint
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy
from algate.bpf import abi, syscall
from tests.kernel_model import SECRET, Packet, frame_of
from tests.wire import INFO, INSIDE, NAT64, PUBLIC, REMOTE, Lab

SESSIONS, ROUNDS = 100, 100  # of each family
ROWS = 1  # the table of addresses by handles, in place of a descriptor
WHOLE = 200  # sessions from their opening to their end
INSIDE6, PREFIX = ip_address("2001:db8::5").packed, ip_network("64:ff9b::/96")
HEAD = 14 + 20 + 32  # Ethernet, IP, TCP with timestamps
GREETING = ((1, b"220 hi\r\n"), (0, b"USER a\r\n"), (1, b"331 x\r\n"), (0, b"PASS b\r\n"), (1, b"230 ok\r\n"))
Say = Callable[[int], bytes]
PASSIVE = b"227 Entering Passive Mode (" + b",".join(b"%d" % byte for byte in REMOTE) + b",100,%d)\r\n"
# What is said, and whether by NAT64.
LINES: dict[str, tuple[bool, tuple[tuple[int, Say], ...]]] = {
    "a line that passes, and its reply": (False, ((0, lambda n: b"SITE x\r\n"), (1, lambda n: b"200 ok\r\n"))),
    "a PORT (one before it open), and its reply": (
        False, ((0, lambda n: b"PORT 10,0,0,5,%d,%d\r\n" % (100 + n, n)), (1, lambda n: b"200 ok\r\n")),
    ),
    "a PASV (one before it open), and its 227": (False, ((0, lambda n: b"PASV\r\n"), (1, lambda n: PASSIVE % n))),
    "an EPSV by NAT64 (one before it open), and its 227": (
        True, ((0, lambda n: b"EPSV\r\n"), (1, lambda n: PASSIVE % n)),
    ),
}  # fmt: skip


class Ports:
    """Ports without end, one after the other."""

    def __init__(self) -> None:
        self._next = 1024

    def reserve(self, _: int, public_ip: Address, *__: Any) -> EndPoint:
        self._next = self._next + 1 if self._next < 65535 else 1024
        return EndPoint(public_ip, self._next)

    def place(self, _: object) -> int:
        return 0

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Talk:
    """One control session as the kernel sees it, and its samples. Of NAT64 INSIDE is the handle of the host."""

    def __init__(self, number: int, six: bool) -> None:
        of_six = (0, 1, INSIDE6, b"", PREFIX) if six else ()
        key = fx.SessionKey(INSIDE, 3000 + number, REMOTE, 21)
        self.info = fx.SessionInfo(number, key, PUBLIC, 4000 + number, *of_six)
        self.seq = [1, 1]
        self._clock = self._punts = 0

    def sample(self, way: int, payload: bytes) -> bytes:
        """What the ring brings when a direction says this."""
        self._clock, self._punts = self._clock + 1, (self._punts + 1) & 0xFFFF
        key = self.info.key
        ends = (INSIDE, REMOTE, key.inside_port, 21), (REMOTE, PUBLIC, 21, self.info.public_port)
        packet = Packet(*ends[way], self.seq[way], self.seq[1 - way], 0x18, 8192, payload, (self._clock, 1))
        frame = frame_of(packet)
        head = records._PUNT.pack(
            time.monotonic_ns(), self.info.session, 0, records.pack_key(key), *self.seq, len(frame), self.seq[way],
            HEAD, 14, len(payload), abi.PuntKind.SEGMENT, way, 1, 0x18, 0, PUBLIC,
            self.info.public_port.to_bytes(2, "big"), 1500, self._punts, self._clock - 1, self._clock - 1,
        )  # fmt: skip
        self.seq[way] = (self.seq[way] + len(payload)) & 0xFFFF_FFFF
        return head + frame

    def track(self) -> fx.TrackView:
        pair, clock = (self.seq[0], self.seq[1]), (self._clock, self._clock)
        return fx.TrackView((0, 0), pair, pair, (8192, 8192), clock, (1460, 1460), 1 | 8 | 16, pair, 0, (0, 0))


class Replay:
    """A helper without a kernel, and sessions that have logged in. `six`: of a gateway with NAT64, where the kernel has
    handles for addresses."""

    def __init__(self, six: bool = False) -> None:
        table = SimpleNamespace(fd=-1)
        names = ("adjusts", "decisions", "replacements", "passable", "expectations", "held")
        gateway: Any = SimpleNamespace(**dict.fromkeys(names, table))
        if six:
            rows = SimpleNamespace(fd=ROWS, key=SimpleNamespace(size=4), value=SimpleNamespace(size=32))
            gateway.addresses6, gateway.handles = rows, table
        self.addresses = Addresses(gateway, lambda _: NAT64.key.inside_ip)
        for name in ("update", "delete", "delete_all"):
            setattr(syscall, name, lambda *_: None)
        syscall.lookup = lambda fd, *_: NAT64.inside6 + bytes(16) if fd == ROWS else None
        ports, events, self.guard, policy = Ports(), Events(), Guard(), FtpPolicy()
        told = Telling(events, lambda _: "ftp")
        parts: Any = (gateway, None, ports, lambda _: True, told.announce, self.addresses.packable)
        self.executor = Executor(*parts)
        self.talks = {number: Talk(number, number > SESSIONS) for number in range(1, 2 * SESSIONS + 1)}
        self.views: dict[int, fx.TrackView | None] = {}  # of sessions that are replayed whole
        kernel: Any = (ports, self._track, lambda _: None, SECRET)
        make: Any = Engine
        self.engine: Engine = make(
            lambda control: self.guard.call(PLUGIN.open, control, policy), *kernel, audience=events.audience,
            call=self.guard.call,
        )  # fmt: skip
        for number, talk in self.talks.items():
            self.executor.keys[number] = records.pack_key(talk.info.key)
            self.executor.publics[number] = ip_address(PUBLIC)
            self.executor.carry_out(self.engine.opened(talk.info, time.monotonic()))
            self.take([talk.sample(way, text) for way, text in GREETING])

    def _track(self, number: int) -> fx.TrackView | None:
        return self.talks[number].track() if number in self.talks else self.views.get(number)

    def take(self, samples: list[bytes]) -> float:
        """CPU seconds for these."""
        began = time.process_time()
        for sample in samples:
            punt = records.unpack_punt(sample)
            assert punt is not None and punt.segment is not None
            self.executor.carry_out(self.engine.segment(punt.segment, time.monotonic()))
        return time.process_time() - began


class Recorded(Lab):
    """A whole session as one helper met it: `steps` are what came, each with the kernel's track of that moment. Copies
    wait for the first sample that somebody waits for, as in a busy helper's turn."""

    LOG_IN: Final = (b"220 hi", b"USER u", b"331 word?", b"PASS p", b"230 in", b"TYPE I", b"200 so")
    BEFORE: Final = {
        "PASV": (b"PASV", PASSIVE[:-2]), "EPSV by NAT64": (b"EPSV", PASSIVE[:-2]),
        "PORT": (b"PORT 10,0,0,5,%d,%d", b"200 ok"), "EPRT by NAT64": (b"EPRT |2|2001:db8:1::5|%d|", b"200 ok"),
    }  # fmt: skip
    TRANSFER: Final = (b"LIST", b"150 here", b"226 done", b"QUIT", b"221 bye")

    def __init__(self, number: int, way: str) -> None:
        self.steps: list[tuple[str, fx.Segment | None, fx.TrackView | None]] = [("opened", None, None)]
        of = NAT64 if "NAT64" in way else INFO
        info = of._replace(session=number, key=of.key._replace(inside_port=1024 + number))
        super().__init__(stamps=True, info=info)
        self.kernel.lasts, self.kernel.named = 120.0, number
        command, reply = self.BEFORE[way]
        place = (20000 + number,) if way == "EPRT by NAT64" else (100 + number % 100, number & 0xFF)
        named = (command, reply % (number & 0xFF)) if b"%" in reply else (command % place, reply)
        for line in (*self.LOG_IN, *named):
            self.say(line)
        self._step("used")
        for line in self.TRANSFER:
            self.say(line)
        self._step("ended")

    def _open(self, control: Control) -> Conversation | None:
        return PLUGIN.open(control, FtpPolicy())

    def say(self, line: bytes) -> None:
        """The end whose line it is says it, and the other gets it."""
        end = self.ends[line[:1].isdigit()]
        end.stream += line + b"\r\n"
        self.launch(end.direction, end.send(end.sent, len(line) + 2))
        self.run()

    def think(self) -> None:
        """The helper reads the ring."""
        while self.punts:
            segment = self.punts.pop(0)
            self._step("copy" if segment.copied else "segment", segment)

    def _step(self, what: str, segment: fx.Segment | None = None) -> None:
        self.steps.append((what, segment, self.kernel.track(self.kernel.info.session)))
        if what == "copy" and segment is not None:
            self.engine.defer(segment, self.now)
            return
        self.do(self.engine.caught_up(self.kernel.info.session, self.now))
        if segment is not None:
            self.do(self.engine.segment(segment, self.now))


def sample_of(segment: fx.Segment) -> bytes:
    """The inverse of unpack_punt."""
    info, kind = segment.info, abi.PuntKind.COPY if segment.copied else abi.PuntKind.SEGMENT
    kind = abi.PuntKind.RETOLD if segment.retold else kind
    return records._PUNT.pack(
        time.monotonic_ns(), info.session, segment.expectation, records.pack_key(info.key), *segment.acked,
        len(segment.frame), segment.seq, segment.payload_offset, segment.ip_offset, segment.payload_size, kind,
        segment.direction, info.alg, segment.tcp_flags, info.session_flags, info.public_ip,
        info.public_port.to_bytes(2, "big"), 1500, segment.lines, *segment.ts_recent,
    ) + segment.frame  # fmt: skip


def whole(replay: Replay, way: str) -> float:
    """CPU seconds for a session of each number, one after the other."""
    engine, carry_out, spent = replay.engine, replay.executor.carry_out, 0.0
    for number in range(1000, 1000 + WHOLE):
        recorded = Recorded(number, way)
        info, expected = recorded.kernel.info, 0
        bare = info._replace(inside6=b"", prefix=None)
        data = bare._replace(session=1 << 20 | number, key=info.key._replace(remote_port=20), alg=0)
        samples = [(what, sample_of(one) if one else b"", view) for what, one, view in recorded.steps]
        for what, sample, view in samples:
            replay.views[number] = view or recorded.kernel.track(number)
            began, effects = time.process_time(), list[fx.Effect]()
            if what == "opened":
                info = replay.addresses.told(bare, info.prefix)
                replay.executor.keys[number] = records.pack_key(info.key)
                replay.executor.publics[number] = ip_address(PUBLIC)
                effects = engine.opened(info, time.monotonic())
            elif sample:
                punt = records.unpack_punt(sample, {number: (records.pack_key(info.key), info)})
                assert punt is not None and punt.segment is not None
                if what == "copy":
                    engine.defer(punt.segment, time.monotonic())
                else:
                    effects = engine.segment(punt.segment, time.monotonic())
            else:
                effects = engine.caught_up(number, time.monotonic())
            carry_out(effects)
            spent += time.process_time() - began
            for one in effects:
                if isinstance(one, (fx.PutExpectation, fx.KnownExpectation)):
                    expected = one.expectation.id
            began = time.process_time()
            if what == "used":
                used = replay.addresses.told(data, info.prefix)
                carry_out(engine.expectation_used(expected, time.monotonic(), used))
            elif what == "ended":
                carry_out(engine.over(number, time.monotonic()))
                carry_out(engine.ended(number, time.monotonic()))
            spent += time.process_time() - began
    return spent


def main() -> None:
    """Prints µs, the least of three runs."""
    for way in Recorded.BEFORE:
        replay = Replay("NAT64" in way)
        best = min(whole(replay, way) for _ in range(3))
        print(f"{build()}: a whole session by {way}: {1e6 * best / WHOLE:.0f} µs")
        replay.guard.close()
    replay = Replay()
    for title, (six, lines) in LINES.items():
        least = [float("inf")] * len(lines)
        for _ in range(3):
            talks = [talk for number, talk in replay.talks.items() if six == (number > SESSIONS)]
            samples = [[[t.sample(way, say(n)) for t in talks] for way, say in lines] for n in range(ROUNDS)]
            gc.collect()
            gc.freeze()
            spent = [[replay.take(line) for line in each] for each in samples]
            least = [min(one, sum(each)) for one, each in zip(least, zip(*spent, strict=True), strict=True)]
        parts = [1e6 * part / (SESSIONS * ROUNDS) for part in least]
        print(f"{build()}: {title}: {' + '.join(f'{part:.1f}' for part in parts)} = {sum(parts):.1f} µs")
    replay.guard.close()


if __name__ == "__main__":
    main()
