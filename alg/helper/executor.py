"""Carries out the engine's effects: one map write or frame each, in their order, on which safety rests.

The law of this file: no decision is made here, and nothing is read back; takeover.py does that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from algate.alg.engine import effects as fx
from algate.alg.engine.expectations import NAMED
from algate.alg.gateway import records
from algate.alg.plugin.model import Address, EndPoint
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import native
from algate.bpf.requests import port_row
from algate.bpf.syscall import Update

log = logging.getLogger(__name__)
Packed = tuple[bytes, bytes, bytes]
"""A decision: its key, its value and the replacement, which may be empty."""


class Keys(Protocol):
    """Of the control program: what is done to sessions, and to an expectation, by their packed keys."""

    def keys(self, op: abi.ControlOp, keys: Sequence[bytes]) -> int: ...

    def agree(self, key: bytes, number: int) -> bool: ...


class Ports(Protocol):
    """Whose public addresses and ports there are (ports.KernelPorts)."""

    def place(self, public: Address) -> int | None: ...

    def release(self, proto: int, public: EndPoint, inside: EndPoint, count: int) -> None: ...

    def unshare(self, proto: int, public: EndPoint, inside: EndPoint, count: int) -> None: ...


class Executor:
    """Bound to one loaded gateway. `announce` gets what the audit is told; `packable`: an expectation as the kernel's
    tables can have it; `outcomes` counts ends of expectations."""

    def __init__(
        self, gateway: Gateway, control: Keys, ports: Ports, inject: Callable[[bytes], bool],
        announce: Callable[[fx.Announce | fx.Describe | fx.Admitted], None],
        packable: Callable[[fx.Expectation], fx.Expectation] = lambda one: one,
    ) -> None:  # fmt: skip
        self._gateway = gateway
        self._control = control
        self._ports = ports
        self._inject = inject
        self._announce = announce
        self._packable = packable
        self.keys: dict[int, bytes] = {}  # session id -> packed session key
        self.publics: dict[int, Address] = {}  # session id -> its public address
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._held: dict[tuple[int, int], list[bytes]] = {}
        self._rows: dict[int, tuple[bytes, bytes]] = {}  # of expectations put by this helper: id -> key, value or b""
        self._latest: dict[bytes, int] = {}  # the same: key -> id of the one whose row it is
        self._adjust: tuple[fx.AdjustRecord | None, bytes] = (None, b"")
        self._row: tuple[fx.Expectation | None, int, tuple[bytes, bytes]] = (None, 0, (b"", b""))

    def carry_out(self, effects: list[fx.Effect]) -> None:
        """Do all of them in order, and those behind the others that only tell or free. A full table stops the list:
        what wasn't decided stays held, and TCP repeats it."""
        self._finish(effects, (), [])

    def prepare(self, effects: list[fx.Effect], early: int) -> Callable[[], object]:
        """What carries these out, with all that can be packed before it may: for the time in which they wait. So
        many of the first may be ahead of the other gateway, and are done here, apart from what only tells or frees."""
        last: list[fx.Effect] = []
        if not self._do(effects[:early], (), last):
            return partial(self._finish, (), (), last)
        rest = effects[early:]
        packed = [self._packed_decision(one) if isinstance(one, fx.PutDecision) else None for one in rest]
        return partial(self._finish, rest, packed, last)

    def _finish(self, effects: Sequence[fx.Effect], packed: Sequence[Packed | None], last: list[fx.Effect]) -> None:
        """`packed`: of each effect what was packed of it beforehand; empty if nothing was."""
        self._do(effects, packed, last)
        for one in last:
            self._step(one, None)

    def _do(self, effects: Sequence[fx.Effect], packed: Sequence[Packed | None], last: list[fx.Effect]) -> bool:
        """What only tells or frees is put aside. False: one of the others failed, and what is behind it is none's."""
        for place, one in enumerate(effects):
            if _waits_for_none(one):
                last.append(one)
            elif not self._step(one, packed[place] if packed else None):
                return False
        return True

    def _step(self, effect: fx.Effect, packed: Packed | None) -> bool:
        try:
            if packed is not None:
                self._write_decision(packed)
            else:
                self._act(effect)
        except OSError as error:
            name = type(effect).__name__
            self.failures[name] += 1
            log.warning("%s failed: %s", name, errno.errorcode.get(error.errno or 0, str(error)))
            return False
        return True

    def _act(self, effect: fx.Effect) -> None:
        """Carry one out, the frequent kinds first: each question is one comparison where this is compiled."""
        if isinstance(effect, fx.PutAdjust):
            self._put_adjust(effect)
        elif isinstance(effect, fx.PutDecision):
            self._write_decision(self._packed_decision(effect))
        elif isinstance(effect, fx.Inject):
            self._inject_frame(effect)
        elif isinstance(effect, (fx.Announce, fx.Describe, fx.Admitted)):
            self._announce(effect)
        elif isinstance(effect, fx.DropDecisions):
            self._drop_decisions(effect)
        elif isinstance(effect, fx.PutExpectation):
            self._put_expectation(effect)
        elif isinstance(effect, fx.OpenExpectation):
            self._open_expectation(effect)
        elif isinstance(effect, fx.DeleteExpectation):
            self._delete_expectation(effect)
        elif isinstance(effect, fx.ReleasePort):
            self._release_port(effect)
        elif isinstance(effect, fx.KnownExpectation):
            self._known_expectation(effect)
        elif isinstance(effect, fx.KeepHeld):
            self._keep_held(effect)
        elif isinstance(effect, fx.DropHeld):
            self._drop_held(effect)
        elif isinstance(effect, fx.PutLines):
            self.put_lines(effect)
        elif isinstance(effect, fx.BypassSession):
            self._bypass(effect)
        else:
            self._reset(effect)

    # -- decisions -----------------------------------------------------------------------------------------------------

    def packed(self, record: fx.AdjustRecord) -> bytes:
        """struct adjust. Of the latest one it is remembered: another gateway gets it before the kernel does, and so
        what it names is perhaps only packed by now."""
        if self._adjust[0] is not record:
            row = self._rows.get(record.agrees) if record.agrees else None
            if row is None and self._row[0] is not None and self._row[0].id == record.agrees:
                row = self._row[2]
            self._adjust = record, records.pack_adjust(record, row[0] if row is not None else b"")
        return self._adjust[1]

    def _put_adjust(self, effect: fx.PutAdjust) -> None:
        key = self.keys.get(effect.record.session)
        if key is not None:
            syscall.update(self._gateway.adjusts.fd, key, self.packed(effect.record))

    def drop_decisions(self, keys: Iterable[bytes]) -> None:
        """Delete decisions and their replacements; their bytes are then undecided."""
        for key in keys:
            syscall.delete(self._gateway.decisions.fd, key)
            syscall.delete(self._gateway.replacements.fd, key)

    def put_lines(self, effect: fx.PutLines) -> None:
        """The words of an interest, and of the one that may hold behind it."""
        then = effect.lines.then
        if then is not None:
            self.put_lines(fx.PutLines(then.number, then))
            behind = records.pack_passable(effect.interest, 0, b"")
            syscall.update(self._gateway.passable.fd, behind, native(then.number, 4))
        for reply, words in enumerate((effect.lines.commands, effect.lines.replies)):
            for word in words:
                key = records.pack_passable(effect.interest, reply, word)
                syscall.update(self._gateway.passable.fd, key, records.pack_line(effect.lines, word))

    def _packed_decision(self, effect: fx.PutDecision) -> Packed:
        key = records.pack_decision_key(effect.session, effect.seq, effect.size, effect.direction)
        new = effect.new or b""
        value = records.pack_decision(effect.digest, effect.sum_change, len(new), effect.verdict)
        return key, value, records.pack_piece(new) if effect.verdict == fx.VERDICT_REPLACE else b""

    def _write_decision(self, packed: Packed) -> None:
        key, value, new = packed
        if new:
            syscall.update(self._gateway.replacements.fd, key, new)
        syscall.update(self._gateway.decisions.fd, key, value)

    def _drop_decisions(self, effect: fx.DropDecisions) -> None:
        keys = [records.pack_decision_key(effect.session, seq, size, way) for way, seq, size, _ in effect.ranges]
        syscall.delete_all(self._gateway.decisions.fd, keys)
        for key, (_, _, _, replaced) in zip(keys, effect.ranges, strict=True):
            if replaced:
                syscall.delete(self._gateway.replacements.fd, key)

    def _inject_frame(self, effect: fx.Inject) -> None:
        if not self._inject(effect.frame):
            self.failures["Inject"] += 1

    # -- expectations --------------------------------------------------------------------------------------------------

    def _expectation(self, one: fx.Expectation, state: int) -> tuple[bytes, bytes]:
        inbound = one.direction == fx.IN
        # Outbound: port 0 of the control session's public address, which the data connection must use too.
        public = one.to.ip if inbound else self.publics.get(one.session)
        place = self._ports.place(public) if public is not None else 0
        row = port_row(place or 0, one.proto, one.to.port if inbound else 0)
        return records.pack_expectation(self._packable(one), state, row)

    def row(self, one: fx.Expectation, state: int) -> tuple[bytes, bytes]:
        """An expectation as the kernel has it: packed key and value. Of the latest one it is remembered, as `packed`
        does."""
        if self._row[0] is not one or self._row[1] != state:
            self._row = one, state, self._expectation(one, state)
        return self._row[2]

    def _put(self, one: fx.Expectation) -> None:
        key, value = row = self.row(one, one.state)
        syscall.update(self._gateway.expectations.fd, key, value)
        self._rows[one.id], self._latest[key] = row, one.id

    def _put_expectation(self, effect: fx.PutExpectation) -> None:
        self._put(effect.expectation)
        self.outcomes["made"] += 1

    def _known_expectation(self, effect: fx.KnownExpectation) -> None:
        one = effect.expectation
        key, _ = self._rows[one.id] = records.expectation_key(self._packable(one)), b""
        self._latest[key] = one.id
        self.outcomes["made"] += 1

    def _open_expectation(self, effect: fx.OpenExpectation) -> None:
        # The kernel opens, too (AdjustRecord.agrees), and what it opened may be used already. Unless it may come early,
        # a pending one can't be used meanwhile: writing the whole entry loses nothing.
        one = effect.expectation
        key, value = self._rows.get(one.id) or (b"", b"")
        if not value:
            key, value = self._expectation(one, one.state)
        there = syscall.lookup(self._gateway.expectations.fd, key, len(value))
        if there is None or records.state(there) != fx.EXPECT_PENDING:
            return
        if one.early:
            self._control.agree(key, one.id)
            return
        with contextlib.suppress(FileNotFoundError):
            value = records.in_state(value, fx.EXPECT_OPEN)
            syscall.update(self._gateway.expectations.fd, key, value, Update.EXISTING)

    def _delete_expectation(self, effect: fx.DeleteExpectation) -> None:
        one = effect.expectation
        row = self._rows.pop(one.id, None)
        key = row[0] if row is not None else records.expectation_key(self._packable(one))
        if effect.heir is not None:
            self._put(effect.heir)
        elif effect.outcome == "used" and one.id >> NAMED:  # its row went with its use, and may be another's by now
            if self._latest.get(key) == one.id:
                del self._latest[key]
        elif self._has_row(key, one.id):  # else it is another's newer one
            self._latest.pop(key, None)
            syscall.delete(self._gateway.expectations.fd, key)
        self.outcomes[effect.outcome] += 1

    def _has_row(self, key: bytes, number: int) -> bool:
        """Whether a row is that expectation's. Of rows that an earlier helper made, or the kernel, only that knows."""
        latest = self._latest.get(key)
        if latest is not None and not number >> NAMED:
            return latest == number
        there = syscall.lookup(self._gateway.expectations.fd, key, records.EXPECTATION_SIZE)
        return there is not None and records.expectation_id(there) == number

    def drop_expectation(self, left: fx.Expectation) -> None:
        """Delete an expectation that an earlier helper made and nobody owns, and give its public port back."""
        syscall.delete(self._gateway.expectations.fd, records.expectation_key(self._packable(left)))
        if left.reserved is not None and left.inside is not None:
            self._ports.release(left.proto, left.reserved, left.inside, 1)

    def _release_port(self, effect: fx.ReleasePort) -> None:
        give_back = self._ports.unshare if effect.shared else self._ports.release
        give_back(effect.proto, effect.public, effect.inside, effect.ports)

    # -- bytes acknowledged in a receiver's name -----------------------------------------------------------------------

    def _keep_held(self, effect: fx.KeepHeld) -> None:
        pieces = [effect.data[at : at + records.PIECE] for at in range(0, len(effect.data), records.PIECE)]
        keys = []
        for number, piece in enumerate(pieces):
            key = records.pack_decision_key(effect.session, number, len(piece), effect.direction)
            syscall.update(self._gateway.held.fd, key, records.pack_piece(piece))
            keys.append(key)
        for stale in self._held.get((effect.session, effect.direction), []):
            if stale not in keys:
                syscall.delete(self._gateway.held.fd, stale)
        self._held[(effect.session, effect.direction)] = keys

    def _drop_held(self, effect: fx.DropHeld) -> None:
        for key in self._held.pop((effect.session, effect.direction), []):
            syscall.delete(self._gateway.held.fd, key)

    def inherit_held(self, stored: Mapping[tuple[int, int], list[bytes]], sessions: Collection[int]) -> None:
        """Take over what an earlier helper stored, by session and direction, until KeepHeld or DropHeld ends it; what
        belongs to none of these sessions is deleted."""
        for (session, direction), keys in stored.items():
            self._held[(session, direction)] = keys
            if session not in sessions:
                self._drop_held(fx.DropHeld(session, direction))

    # -- sessions ------------------------------------------------------------------------------------------------------

    def _bypass(self, effect: fx.BypassSession) -> None:
        if not effect.shifted:
            self._control.keys(abi.ControlOp.BYPASS, [records.pack_key(effect.key)])

    def _reset(self, effect: fx.ResetSession) -> None:
        self._control.keys(abi.ControlOp.KILL, [records.pack_key(effect.key)])


def _waits_for_none(effect: fx.Effect) -> bool:
    """Whether it only tells or frees: no frame of the same list waits for it."""
    return isinstance(effect, (fx.Announce, fx.Describe, fx.Admitted, fx.ReleasePort))
