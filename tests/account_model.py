"""What `bpf/include/lines.h` does, in Python: segments that pass without the helper.

The law of this file: the model of that header only; KernelModel asks it. Checksums are assumed to be right.
"""

from __future__ import annotations

import re

from algate.alg.engine import effects as fx
from algate.alg.engine.account import passed
from algate.alg.engine.corrections import MASK, distance
from algate.alg.engine.digest import digest
from algate.alg.engine.frames import ACK, FIN, RST, SYN, URG
from algate.alg.plugin.model import Lines

_COMMAND = re.compile(rb"([A-Za-z]{3,4})(?:[ ][ -~]*)?\r\n")
_REPLY = re.compile(rb"([0-9]{3})[ ][ -~]*\r\n")
LINE_MAX = 256


class AccountModel:
    """track.lines and the fields around it."""

    def __init__(self, secret: int, client: int) -> None:
        self.secret = secret
        self.client = client  # the commands' direction
        self.word = 0
        self.number = 0  # lines that passed
        self.known: dict[int, Lines] = {}
        self._kept: list[list[tuple[int, int]]] = [[], []]

    def punted(self, record: fx.AdjustRecord | None) -> int:
        """Count a punt; returns the word that it carries. The count never comes back to the statement's."""
        count = (self.word + 1) & 0xFFFF
        if record is not None and count == record.lines & 0xFFFF:
            count = (count + 1) & 0xFFFF
        self.word = self.word & ~0xFFFF | count
        return self.word

    def front(self, record: fx.AdjustRecord, direction: int) -> int:
        """Up to where the direction was let through."""
        return (record.decided[direction] + passed(record.lines, self.word).size[direction]) & MASK

    def passes(
        self, record: fx.AdjustRecord | None, direction: int, seq: int, flags: int, payload: bytes, acked: int,
        decisions: dict[tuple[int, int, int], fx.PutDecision],
    ) -> bool:  # fmt: skip
        """As line_passes(): whether the segment goes on by itself; counted, with a decision left behind."""
        if record is None or not record.flags & fx.ADJUST_LINES or (self.word ^ record.lines) & 0xFFFF:
            return False
        told = passed(record.lines, self.word)
        reply = direction != self.client
        size = len(payload)
        if seq != self.front(record, direction) or told.size[direction] > 60000 or not 5 <= size <= LINE_MAX:
            return False
        answers = told.commands + (record.flags >> fx.ADJUST_UNANSWERED & 0xFF)
        if (told.replies >= min(answers, 200)) if reply else (told.commands >= 200):
            return False
        found = (_REPLY if reply else _COMMAND).fullmatch(payload)
        lines = self.known[record.interest]
        if found is None or found[1].upper() not in (lines.replies if reply else lines.commands):
            return False
        if flags & (SYN | FIN | RST | URG) or not flags & ACK or not self._room(direction, acked, decisions):
            return False
        mine = fx.PutDecision(0, direction, seq, size, fx.VERDICT_PASS, digest(self.secret, payload), None, 0)
        decisions[direction, seq, size] = mine
        self._kept[direction].append((seq, size))
        self._count(direction, reply, size, payload[:1] != b"1")
        return True

    def _room(self, direction: int, acked: int, decisions: dict[tuple[int, int, int], fx.PutDecision]) -> bool:
        kept = self._kept[direction]
        for seq, size in kept[:]:
            if distance(acked, (seq + size) & MASK) >= 0:
                kept.remove((seq, size))
                decisions.pop((direction, seq, size), None)
        return len(kept) < 2

    def _count(self, direction: int, reply: bool, size: int, counts: bool) -> None:
        self.number += 1
        shift = 24 if reply else 16
        fields = ((shift, 0xFF, int(counts)), (32 + 16 * direction, 0xFFFF, size))
        for at, mask, more in fields:
            value = (self.word >> at) + more & mask
            self.word = self.word & ~(mask << at) | value << at
