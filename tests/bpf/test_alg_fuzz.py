"""The gate on control sessions against a model of it, with random decisions, shifts and segments.

Nothing here plays TCP: decisions overlap, shifts are absurd, segments come from anywhere. In any case the bytes that
leave are the model's, with every checksum right (scapy is the oracle), or none leave and the reason is counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from algate.alg.engine.corrections import Corrections, distance
from algate.bpf import abi
from algate.bpf.abi import ConfigFlag, Direction, Verdict
from tests import packets
from tests.bpf.rig import REDIRECT, SHOT, Rig
from tests.bpf.watched import FIRST, IN, OUT, Watched, watch

SIDES = (OUT, IN)
ROUNDS, SEGMENTS = 20, 24
FRAGMENT = bytes(range(256)) * 6
SYN, FIN, RST, ACK = 2, 1, 4, 16


@dataclass
class Decided:
    load: bytes
    verdict: Verdict
    new: bytes


@dataclass
class Gate:
    """The model: tables as the helper writes them, the track as the kernel keeps it."""

    decisions: dict[tuple[int, int, int], Decided] = field(default_factory=dict)
    shifts: dict[int, Corrections] = field(default_factory=dict)
    decided: dict[int, int] = field(default_factory=dict)
    next: dict[int, int] = field(default_factory=lambda: dict(FIRST))  # type: ignore[arg-type]
    bypass: bool = False
    owed: bool = False
    untouchable: bool = False
    alive: bool = True
    fail_open: bool = False

    def judge(self, side: int, seq: int, flags: int, load: bytes, injected: bool) -> tuple[str, bytes]:
        """("", what leaves as payload), or (reason, b"")."""
        if not injected and not flags & RST:
            end = (seq + len(load) + bool(flags & FIN)) % 2**32
            if distance(end, self.next[side]) > 0:
                self.next[side] = end
        free = (self.bypass and distance(self.decided[side], seq) <= 0) or self.untouchable
        if self.untouchable and self.shifts and distance(self.decided[side], seq) > 0:
            free = False
        undecided = False
        if load:
            found = self.decisions.get((side, seq, len(load)))
            if found is None or found.load != load:
                if injected and not free:
                    return "no-decision", b""
                undecided = not free
            elif found.verdict == Verdict.REPLACE:
                load = found.new
        elif not free and not injected and flags & (FIN | RST) and distance(seq, self.decided[side]) > 0:
            undecided = bool(flags & FIN) or distance(self.next[side], self.decided[side]) > 0
        if undecided and self.alive:
            return "punt-held", b""
        again = bool(self.shifts) and distance(self.decided[side], seq) > 0
        if undecided and (not self.fail_open or self.owed or again):
            return "helper-dead", b""
        self.untouchable |= undecided
        return "", load


def history(random: Random, start: int) -> Corrections:
    """Random corrections such as a stream could have."""
    made = Corrections(random.randrange(-60, 60))
    at = start
    for _ in range(random.randrange(9)):
        size, gap = random.randrange(1, 60), random.randrange(60)
        made.add((at + gap) % 2**32, (at + gap + size) % 2**32, random.randrange(1 - size, 60))
        at += gap + size
    return made


def write(watched: Watched, gate: Gate, random: Random) -> None:
    """Random tables, in the model and in the kernel."""
    for side in SIDES:
        for _ in range(random.randrange(1, 8)):
            offset, size = random.randrange(-5, 200), random.choice((1, 2, 7, 8, 22, 63, 64, 500, 1400))
            load = _load(offset, size)
            verdict = random.choice((Verdict.PASS, Verdict.PASS, Verdict.REPLACE))
            new = bytes(random.randbytes(random.choice((1, 2, size, size + 1, size + 12, 3)))) if verdict == 2 else b""
            if random.random() < 0.15:  # for other bytes: it must not be used
                load = load[:-1] + bytes([load[-1] ^ 1])
            watched.decide(side, load, verdict, new, at=offset)
            gate.decisions[side, (FIRST[side] + offset) % 2**32, size] = Decided(load, verdict, new)
        gate.shifts[side] = history(random, FIRST[side] + random.randrange(-20, 100))
        gate.decided[side] = (FIRST[side] + random.randrange(300)) % 2**32
    gate.bypass = random.random() < 0.2
    gate.owed = random.random() < 0.3
    own, other = gate.shifts[OUT], gate.shifts[IN]
    flags = (abi.AdjustFlag.BYPASS if gate.bypass else 0) | (abi.AdjustFlag.OWED if gate.owed else 0)
    watched.adjust(
        [*map(tuple, own.items)], [*map(tuple, other.items)], (own.base, other.base),
        (gate.decided[OUT], gate.decided[IN]), flags,
    )  # fmt: skip


def _load(offset: int, size: int) -> bytes:
    start = (offset + 512) % 256
    return FRAGMENT[start : start + min(size, 1500 - start % 64)][:size].ljust(size, b"~")


def choose(random: Random, gate: Gate, side: Direction) -> tuple[int, bytes]:
    """A segment's place and payload: often a decided one, often nearly one."""
    mine = [(key, one) for key, one in gate.decisions.items() if key[0] == side]
    kind = random.randrange(8)
    if kind < 4:
        (_, seq, _), one = random.choice(mine)
        at, load = distance(seq, FIRST[side]), one.load
        if kind == 3:
            cut = random.randrange(len(load))
            return random.choice(((at + cut, load[cut:]), (at, load[:cut]), (at, load + b"!"), (at + 1, load)))
        return at, load
    if kind < 6:
        return random.randrange(-3, 400), b""
    size = random.choice((1, 5, 8, 100, 1448))
    return random.randrange(400), _load(random.randrange(200), size)


def test_the_gate_is_the_model(rig: Rig) -> None:
    met: Counter[str] = Counter()
    for seed in range(ROUNDS):
        rig.reset()
        met += one_round(rig, seed)
    assert met["left"] > ROUNDS * SEGMENTS // 4
    assert {"no-decision", "punt-held", "helper-dead", "replaced", "failed open"} <= set(met)


def one_round(rig: Rig, seed: int) -> Counter[str]:
    """Random tables, then random segments; what became of them."""
    random = Random(seed)
    watched, gate = watch(rig), Gate()
    write(watched, gate, random)
    gate.alive, gate.fail_open = random.random() < 0.75, random.random() < 0.5
    if not gate.alive:
        rig.gateway.heartbeat.put(0, 0)
    if gate.fail_open:
        rig.configure(flags=ConfigFlag.FAIL_OPEN)
    rig.taken()
    met: Counter[str] = Counter()
    for _ in range(SEGMENTS):
        side = random.choice(SIDES)
        at, load = choose(random, gate, side)
        flags = "PA" if load else random.choice(("A", "A", "A", "RA") if gate.alive else ("A",))
        options = _options(random)
        if len(load) > 1400:
            options = []
        ack = (FIRST[Direction(1 - side)] + random.randrange(-50, 600)) % 2**32
        frame = watched.frame(side, load, flags, at=at, ack=ack, options=options, window=random.randrange(1, 65535))
        injected = random.random() < 0.4 and "R" not in flags
        if "R" in flags and gate.judge(side, (FIRST[side] + at) % 2**32, RST | ACK, b"", False)[0] == "":
            continue  # it would end the session, and the test
        bits = ACK | (RST if "R" in flags else 0)
        reason, left = gate.judge(side, (FIRST[side] + at) % 2**32, bits, load, injected)
        watched.doubt()
        out = watched.inject(side, frame) if injected else watched.send(side, frame)
        told = f"seed {seed}, {side.name}, at {at}, {len(load)} bytes, {flags}, injected {injected}, {out.drops}"
        if reason:
            assert out.action == SHOT and out.drops == {reason: 1}, told
            met[reason] += 1
        else:
            assert out.action == REDIRECT and out.drops == {}, told
            packets.same(out.data, wanted(watched, gate, side, frame, left), told)
            met["left"] += 1
            met["replaced"] += left != load
        held = [copy for _, copy in rig.taken()]
        assert held == ([frame] if reason == "punt-held" else []), told
    met["failed open"] += gate.untouchable
    return met


def wanted(watched: Watched, gate: Gate, side: Direction, frame: bytes, load: bytes) -> bytes:
    """The oracle for what leaves."""
    own, other = gate.shifts[side], gate.shifts[1 - side]
    fields: dict[str, Any] = {
        "TCP_seq": own.shift(packets.field(frame, "TCP_seq")),
        "TCP_ack": other.unshift(packets.field(frame, "TCP_ack")),
    }
    options = packets.field(frame, "TCP_options")
    if any(name == "SAck" for name, _ in options):
        fields["TCP_options"] = [
            (name, tuple(other.unshift(edge) for edge in value)) if name == "SAck" else (name, value)
            for name, value in options
        ]
    if load:
        fields["Raw_load"] = load
    return watched.expected(side, frame, **fields)


def _options(random: Random) -> list[Any]:
    stamp: list[Any] = [("NOP", None), ("NOP", None), ("Timestamp", (random.randrange(2**32), 5))]
    edges = tuple((FIRST[OUT] + random.randrange(-50, 500)) % 2**32 for _ in range(2 * random.randrange(1, 4)))
    sack: list[Any] = [("NOP", None), ("NOP", None), ("SAck", edges)]
    return random.choice(([], stamp, sack, [*stamp, *sack]))
