"""What is fuzzed: each target takes any bytes and raises if an invariant is broken.

The law of this file: pure; it imports no fuzzer, so that a plain test can replay the corpus.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from algate.alg.engine import effects as fx
from algate.alg.engine import held
from algate.alg.engine.flow import Flow
from algate.alg.engine.limits import Limits
from algate.alg.engine.stream import AHEAD_MAX, LATER_SEGMENTS, Stream
from algate.alg.plugin.families import WELL_KNOWN
from algate.alg.plugin.model import Control, EndPoint, Expect, Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.grammar import Form, Named, numbers, read
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.lines import LineReader
from algate.alg.testing import Stage, control
from tests.ftplab import FtpLab, tell
from tests.fuzz.readers import READERS
from tests.kernel_model import Packet, frame_of
from tests.textbook import Exchange
from tests.wire import INFO, INSIDE, REMOTE

LIMIT = 64  # bytes of a line: long enough for every form, short enough to be reached
DENY = (b"DELE", b"STOR", b"SITE")
STRICT = FtpPolicy(max_line=LIMIT, deny=tuple(word.decode() for word in DENY))
POLICIES = (FtpPolicy(max_line=LIMIT), STRICT, FtpPolicy(max_line=LIMIT, read_only=True, tls="refuse"))


def grammar(data: bytes) -> None:
    """The four forms: what is read can be written, and is then read as what was written."""
    version = 6 if data[:1] == b"6" else 4
    for form in Form:
        for text in (data[1:], form.value.encode() + b" " + data[1:]):
            named = read(form, text, version)
            if not isinstance(named, Named):
                continue
            assert 0 < named.port < 65536 and 0 <= named.start < named.stop <= len(text)
            to = EndPoint(IPv4Address("203.0.113.1") if version == 4 else IPv6Address("2001:db8::1"), 50001)
            again = read(form, text[: named.start] + numbers(form, to, named.delimiter) + text[named.stop :], version)
            assert isinstance(again, Named) and again.port == to.port
            assert again.ip == (None if named.ip is None else to.ip)


def lines(data: bytes) -> None:
    """However the stream is split, the lines add up to it, and their text is the same."""
    if not data:
        return
    size, data = data[0] % 16 + 1, data[1:]
    assert _cut(data, size) == _cut(data, len(data) or 1)


def _cut(data: bytes, size: int) -> list[tuple[bytes, object]]:
    reader, pending, at = LineReader(LIMIT), b"", 0
    found: list[tuple[bytes, object]] = []
    while at < len(data):
        pending, at = pending + data[at : at + size], at + size
        while (line := reader.next(pending, 0, at >= len(data))) is not None:
            assert line.raw and pending.startswith(line.raw)
            reader.accept(line)
            pending = pending[len(line.raw) :]
            if line.flaw is not None and line.flaw.name == "REST":
                found[-1] = (found[-1][0] + line.raw, found[-1][1])
            else:
                found.append((line.raw, (line.text, line.flaw)))
    assert pending == b"" and b"".join(raw for raw, _ in found) == data
    return found


def stream(data: bytes) -> None:
    """Reassembly against a dictionary of bytes: the first byte at a position wins, and memory is bounded."""
    made, model = Stream(1 << 32), dict[int, int]()
    for what, where, size in _triples(data):
        position = made.next + where - 64
        if what % 8 == 0:
            taken = made.take(size)
            assert taken == bytes(model[made.start - len(taken) + n] for n in range(len(taken)))
            continue
        if what % 8 == 1:
            made.forget()
            model = {at: byte for at, byte in model.items() if at < made.next}
            continue
        piece = bytes((what + n) & 255 for n in range(size * (60 if what % 32 == 2 else 1)))
        before = made.next
        fresh = made.accept(position, piece)
        assert fresh == made.next - before
        for at, byte in enumerate(piece, position):
            if at >= before:
                model.setdefault(at, byte)
        kept = set(range(before, made.next)) | {
            at for start, part in made.later for at in range(start, start + len(part))
        }
        model = {at: byte for at, byte in model.items() if at < before or at in kept}
        assert made.later_size == sum(len(part) for _, part in made.later) <= AHEAD_MAX
        assert len(made.later) <= LATER_SEGMENTS
        assert all(part == bytes(model[start + n] for n in range(len(part))) for start, part in made.later)
        assert bytes(made.pending) == bytes(model[made.start + n] for n in range(len(made.pending)))


def _triples(data: bytes) -> Iterator[tuple[int, int, int]]:
    for at in range(0, len(data) - 2, 3):
        yield data[at], data[at + 1], data[at + 2]


def _session(inside: Side, families: int) -> Control:
    """A control session; `families`: IPv6 alone, NAT64, or (any other) IPv4 alone."""
    own, far = (40000, 21) if inside is Side.CLIENT else (21, 40000)
    outside = f"[2001:db8:9::2]:{far}" if families == 1 else f"198.51.100.2:{far}"
    if families == 1:
        return control(inside, f"[2001:db8:1::5]:{own}", f"[2001:db8:1::5]:{own}", outside)
    if families == 2:
        made = control(inside, f"[2001:db8:1::5]:{own}", f"203.0.113.1:{own}", outside)
        return replace(made, prefix=WELL_KNOWN)
    return control(inside)


def machine(data: bytes) -> None:
    """Any dialogue: nothing raises, no foreign peer is expected, no careless server obeys what is denied."""
    if not data:
        return
    policy = POLICIES[data[0] % len(POLICIES)]
    stage = Stage(PLUGIN, policy, _session(Side(data[0] >> 7), data[0] >> 5 & 3))
    for turn in data[1:].split(b"\x01"):
        if not turn or stage.reset:
            continue
        side = Side(turn[0] & 1)
        for action in stage.say(side, turn[1:]):
            if isinstance(action, Expect):
                assert action.peer in (stage.control.remote.ip, stage.control.inside.ip) and action.once
                assert action.to is None or (action.to.ip == stage.control.remote.ip and action.to.port >= 1024)
        assert sum(one.open for one in stage.expectations.values()) <= 1
    if policy is STRICT and not stage.bypassed:
        for reader in READERS:
            assert not set(reader(stage.heard[Side.SERVER])) & set(DENY), reader.__name__


def engine(data: bytes) -> None:
    """A dialogue on a bad wire: the kernel model's assertions, both ends' streams, and the memory bound."""
    if len(data) < 4:
        return
    size = data[1] * 3
    wire, words = data[4 : 4 + size], data[4 + size :]
    told = [Exchange(b"", b"220 hello\r\n")]
    for number, part in enumerate(words.split(b"\x01")[:16]):
        command, _, reply = part.partition(b"\x02")
        told.append(Exchange(command + b"\r\n" if number or command else b"", reply + b"\r\n" if reply else b""))
    deny = ("DELE",) if data[0] & 2 else ()
    lab = FtpLab(
        told, bool(data[0] & 1), (), (0xFFFF_FF00, 1000), (90 + data[2], 90 + data[3]), bool(data[0] & 4), deny
    )
    steps = [(what % 12, what >> 7, where * 257, size + 1) for what, where, size in _triples(wire)]
    tell(lab, steps, faults=True, restarts=bool(data[0] & 8))
    lab.run()
    assert lab.engine.sessions() or lab.kernel.reset
    assert lab.engine.memory(lab.kernel.info.session) <= Limits().session
    assert len(lab.kernel.held.get(0, b"")) <= fx.HELD_MAX
    if lab.client_inside and not lab.kernel.bypassed:
        assert not deny or not any(set(reader(bytes(lab.server.got))) & {b"DELE"} for reader in READERS)


def frames(data: bytes) -> None:
    """Punts with broken frames, acknowledgements and stored bytes: what the kernel or a torn write could hand over."""
    if len(data) < 20:
        return
    lab = FtpLab([Exchange(b"", b"220 hello\r\n")], True)
    head, payload = data[:16], data[16:]
    seq, acked_out, acked_in, flags, direction, cut, where = struct.unpack("!IIIBBBB", head)
    ends = (INSIDE, REMOTE, 3000, 21) if direction & 1 else (REMOTE, bytes([203, 0, 113, 1]), 21, 4000)
    frame = bytearray(frame_of(Packet(*ends, 1001 + seq % 90000, 5001, flags & 63, 99, payload)))
    start = len(frame) - len(payload)
    if cut & 1:
        frame[14 + where % (start - 14)] ^= cut | 1
    offset = start - cut % 5 if cut & 2 else start
    way, acked = 1 - (direction & 1), (acked_out, acked_in)
    number = 1001 + seq % 90000
    segment = fx.Segment(INFO, way, number, bytes(frame), 14, offset, len(payload), flags, acked)
    for now in (1.0, 1.1):
        lab.engine.segment(segment, now)
        lab.engine.data_syn(1, direction & 1, bytes(frame), 14, now)
    flow = Flow()
    try:
        held.restore(flow, seq, 0, (), data[:where])
    except struct.error:
        pass
    else:
        assert flow.memory() <= 40 * len(data) + 100  # every 8 bytes may be a chunk


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (grammar, lines, stream, machine, engine, frames)
}
