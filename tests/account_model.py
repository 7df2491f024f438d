"""What `bpf/include/lines.h` does, in Python: segments that pass without waiting for the helper.

The law of this file: the model of that header only; KernelModel asks it. Checksums are assumed to be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from algate.alg.engine import effects as fx
from algate.alg.engine.account import BYTES, COMMANDS, COPIES, REPLIES, copies, passed
from algate.alg.engine.corrections import MASK, distance
from algate.alg.engine.digest import digest, replacement
from algate.alg.engine.frames import ACK, FIN, RST, SYN, URG
from algate.alg.plugin.model import Lines

_COMMAND = re.compile(rb"([A-Za-z]{3,4})(?:[ ][ -~]*)?\r\n")
_REPLY = re.compile(rb"([0-9]{3})[ ][ -~]*\r\n")
_USUAL = re.compile(rb"227 (.*)\(((?:[0-9]{1,5},){4}([0-9]{1,3}),([0-9]{1,3}))\)([^0-9(]{0,2})\r\n")
LINE_MAX = 256
SYNS = fx.TRACK_SYN_OUT | fx.TRACK_SYN_IN
HELD, PASSES, COPIED, TOLD = range(4)  # enum line
COPIES_MOST = 12


class AccountModel:
    """track.lines and the fields around it."""

    def __init__(self, secret: int, client: int) -> None:
        self.secret = secret
        self.client = client  # the commands' direction
        self.word = 0
        self.number = 0  # lines that passed
        self.copied = 0  # of these, of how many the helper got a copy
        self.agreed = 0  # the last expectation to which a reply agreed
        self.opening = 0  # the count of copies with the last one after which all lines are copied
        self.settled: int | None = None  # the word with the last reply that left nothing unanswered
        self.start = [0, 0]  # what follows the SYNs
        self.syns = 0
        self.refused = 0  # of how many of the next copies the ring has no room
        self.known: dict[int, Lines] = {}
        self.expected = 0  # because of the last line that passed
        self.retold: bytes | None = None  # what went on instead of it
        self.asked = -1  # the word with the last EPSV that went on so
        self.kept: list[list[tuple[int, int]]] = [[], []]

    def punted(self, record: fx.AdjustRecord | None) -> int:
        """Count a punt; returns the word that it carries. The count never comes back to the statement's."""
        count = (self.word + 1) & 0xFFFF
        if record is not None and count == record.lines & 0xFFFF:
            count = (count + 1) & 0xFFFF
        self.word = self.word & ~0xFFFF | count
        return self.word

    def front(self, record: fx.AdjustRecord, direction: int) -> int:
        """Up to where the direction was let through."""
        decided = (self.start if record.flags & fx.ADJUST_BEGINS else record.decided)[direction]
        return (decided + passed(record.lines, self.word).size[direction]) & MASK

    def passes(
        self, record: fx.AdjustRecord | None, direction: int, seq: int, flags: int, payload: bytes, acked: int,
        decisions: dict[tuple[int, int, int], fx.PutDecision],
        expect: Callable[[bytes], int] = lambda line: 0, forget: Callable[[int], object] = lambda number: None,
    ) -> int:  # fmt: skip
        """As line_passes(): whether the segment goes on by itself; then it is counted and leaves a decision behind.
        `expect`: what the kernel expects because of a line, by id, 0: nothing; `forget`: not after all."""
        self.expected, self.retold = 0, None
        if record is None or not record.flags & fx.ADJUST_LINES or (self.word ^ record.lines) & 0xFFFF:
            return HELD
        if record.flags & fx.ADJUST_BEGINS and self.syns != SYNS:
            return HELD
        told, read = passed(record.lines, self.word), copies(record.lines, self.word)
        reply = direction != self.client
        size = len(payload)
        if seq != self.front(record, direction) or told.size[direction] > 15000 or not 5 <= size <= LINE_MAX:
            return HELD
        if (told.replies if reply else told.commands) >= 100:
            return HELD
        found = (_REPLY if reply else _COMMAND).fullmatch(payload)
        lines = self.known[record.interest]
        unanswered = record.flags >> fx.ADJUST_UNANSWERED & 0xFF
        certain = bool(record.flags & fx.ADJUST_SETTLES)
        settled = 0
        if certain and self.settled is not None and (since := copies(record.lines, self.settled) & 0x3F) <= read:
            settled = since
        if settled and lines.then is not None:
            lines = lines.then
        if found is None or (word := found[1].upper()) not in (lines.replies if reply else lines.commands):
            return HELD
        if flags & (SYN | FIN | RST | URG) or not flags & ACK:
            return HELD
        instead: bytes | None = None
        if word in lines.retold:
            instead = self._retold(payload, reply, told.commands + unanswered - told.replies & 0x7F)
            if instead is None:
                return HELD
        unasked = reply and told.replies >= told.commands + unanswered
        settles = certain and word in lines.settling and told.replies + 1 == told.commands + unanswered
        opened = settled < ((self.opening - (record.lines >> COPIES)) & 0x3F) <= read
        agrees = record.agrees and self.word == record.lines and reply and word in lines.agreeing
        reads = record.flags & fx.ADJUST_COPIES and not settled
        reads = reads and not (record.agrees and self.agreed == record.agrees)
        kind = TOLD if word in lines.copied or opened or unasked or reads else PASSES
        if unasked or word in lines.copied - lines.told:
            kind = COPIED
        if agrees:
            kind = TOLD
        if kind != PASSES and read >= COPIES_MOST:
            kind = HELD
        if kind == HELD or not self._room(direction, acked, decisions):
            return HELD
        if word in lines.names and (unasked or not reply or not (expected := expect(payload))):
            return HELD
        if kind != PASSES and self.refused:
            self.refused -= 1
            if word in lines.names:
                forget(expected)
            return HELD
        self.expected = expected if word in lines.names else 0
        verdict = fx.VERDICT_PASS if instead is None else fx.VERDICT_REPLACE
        change = 0 if instead is None else replacement(self.secret, payload, instead)[1]
        mine = fx.PutDecision(0, direction, seq, size, verdict, digest(self.secret, payload), instead, change)
        decisions[direction, seq, size] = mine
        self.kept[direction].append((seq, size))
        self._count(direction, reply, size, payload[:1] != b"1", kind != PASSES)
        self.retold = instead
        if instead is not None:
            self.asked = self.word
        if agrees:
            self.agreed = record.agrees
        if kind == COPIED:
            self.opening = self.word >> COPIES & 0x3F
        if settles:
            self.settled = self.word
        return min(kind, COPIED)

    def _retold(self, line: bytes, reply: bool, unanswered: int) -> bytes | None:
        """As line_retold() and retell.h: the other family's words for a line, None: it is held."""
        if self.client != fx.OUT:
            return None
        if not reply:
            return b"PASV\r\n" if len(line) == 6 and not unanswered else None
        found = _USUAL.fullmatch(line)
        if found is None or self.word != self.asked:
            return None
        port = b"(|||%d|)" % (int(found[3]) << 8 | int(found[4])) + found[5] + b"\r\n"
        room = len(line) - len(port) - 4  # for a text and blanks
        text = b"Entering Extended Passive Mode"
        text = text if len(found[1]) <= len(text) < room else found[1]
        return b"229 " + text.ljust(room) + port

    def _room(self, direction: int, acked: int, decisions: dict[tuple[int, int, int], fx.PutDecision]) -> bool:
        kept = self.kept[direction]
        for seq, size in kept[:]:
            if distance(acked, (seq + size) & MASK) >= 0:
                kept.remove((seq, size))
                decisions.pop((direction, seq, size), None)
        return len(kept) < 2

    def _count(self, direction: int, reply: bool, size: int, counts: bool, copied: bool) -> None:
        self.number += 1
        self.copied += copied
        which = REPLIES if reply else COMMANDS
        fields = ((which, 0x7F, int(counts)), (COPIES, 0x3F, int(copied)), (BYTES + 14 * direction, 0x3FFF, size))
        for at, mask, more in fields:
            value = (self.word >> at) + more & mask
            self.word = self.word & ~(mask << at) | value << at
