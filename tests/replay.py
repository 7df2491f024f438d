"""`python -m tests.replay`: CPU time of the helper per punt, from the sample's bytes to the effects carried out.

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
from typing import Any

from algate.alg.admin.build import build
from algate.alg.audit.events import Events
from algate.alg.engine import effects as fx
from algate.alg.engine.engine import Engine
from algate.alg.gateway import records
from algate.alg.helper.executor import Executor
from algate.alg.helper.guard import Guard
from algate.alg.helper.telling import Telling
from algate.alg.plugin.model import EndPoint
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy
from algate.bpf import abi, syscall
from tests.kernel_model import Packet, frame_of
from tests.wire import INSIDE, PUBLIC, REMOTE

SESSIONS, ROUNDS = 100, 100  # of each family
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

    def reserve(self, *_: Any, **__: Any) -> EndPoint:
        self._next = self._next + 1 if self._next < 65535 else 1024
        return EndPoint(ip_address(PUBLIC), self._next)

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
    """A helper without a kernel, and sessions that have logged in."""

    def __init__(self) -> None:
        table = SimpleNamespace(fd=-1)
        names = ("adjusts", "decisions", "replacements", "passable", "expectations", "held")
        gateway: Any = SimpleNamespace(**dict.fromkeys(names, table))
        for name in ("update", "delete", "delete_all", "lookup"):
            setattr(syscall, name, lambda *_: None)
        ports, events, self.guard, policy = Ports(), Events(), Guard(), FtpPolicy()
        told = Telling(events, lambda _: "ftp")
        parts: Any = (gateway, None, ports, lambda _: True, told.announce)
        self.executor = Executor(*parts)
        self.talks = {number: Talk(number, number > SESSIONS) for number in range(1, 2 * SESSIONS + 1)}
        kernel: Any = (ports, lambda number: self.talks[number].track(), lambda _: None, 0x1234)
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

    def take(self, samples: list[bytes]) -> float:
        """CPU seconds for these."""
        began = time.process_time()
        for sample in samples:
            punt = records.unpack_punt(sample)
            assert punt is not None and punt.segment is not None
            self.executor.carry_out(self.engine.segment(punt.segment, time.monotonic()))
        return time.process_time() - began


def main() -> None:
    """Prints µs, the least of three runs."""
    replay = Replay()
    for title, (six, lines) in LINES.items():
        best = float("inf")
        for _ in range(3):
            talks = [talk for number, talk in replay.talks.items() if six == (number > SESSIONS)]
            samples = [t.sample(way, say(n)) for n in range(ROUNDS) for t in talks for way, say in lines]
            gc.collect()
            gc.freeze()
            best = min(best, replay.take(samples))
        print(f"{build()}: {title}: {1e6 * best / (SESSIONS * ROUNDS):.1f} µs")
    replay.guard.close()


if __name__ == "__main__":
    main()
