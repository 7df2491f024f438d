"""Carries the engine's effects out: one map write or frame each, in their order, which is the safety argument.

The law of this file: no decision is made here. It also reads back what the engine asks of the kernel: struct track, the
adjust record, held bytes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from algate.alg.engine import effects as fx
from algate.alg.helper.ports import KernelPorts
from algate.alg.helper.punts import pack_key, unpack_key
from algate.alg.plugin.model import Address, EndPoint
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.requests import Control, port_row
from algate.bpf.syscall import Update

log = logging.getLogger(__name__)
_DECISION_KEY = struct.Struct("=QIHBx")
_DECISION = struct.Struct("=QIHBx")
_PASSABLE = struct.Struct("=IB3x4s")
_YES = (1).to_bytes(4, "little")
_EXPECTATION_KEY = struct.Struct("=4s4s2sBB")
_EXPECTATION = struct.Struct("=QQ16sQ4s2sBBII2sHH2x")
_TRACK = struct.Struct("=QII II II II II II HH BB B x Q 24x".replace(" ", ""))
PIECE = abi.REPLACEMENT_MAX
NO_IP = bytes(4)
TICK = (1 << abi.TICK_SHIFT) / 1e9  # s


def decision_key(session: int, seq: int, size: int, direction: int) -> bytes:
    """struct decision_key."""
    return _DECISION_KEY.pack(session, seq, size, direction)


class Executor:
    """Bound to one loaded gateway. `announce` gets what the audit tells; `outcomes` counts ends of expectations."""

    def __init__(
        self, gateway: Gateway, control: Control, ports: KernelPorts, inject: Callable[[bytes], bool],
        announce: Callable[[fx.Announce | fx.Describe | fx.Admitted], None],
    ) -> None:  # fmt: skip
        self._gateway = gateway
        self._control = control
        self._ports = ports
        self._inject = inject
        self._announce = announce
        self.keys: dict[int, bytes] = {}  # session id -> packed session key
        self.publics: dict[int, Address] = {}  # session id -> its public address
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._held: dict[tuple[int, int], list[bytes]] = {}
        self._acts: dict[type, Callable[[Any], None]] = {
            fx.PutExpectation: self._put_expectation, fx.OpenExpectation: self._open_expectation,
            fx.DeleteExpectation: self._delete_expectation, fx.ReleasePort: self._release_port,
            fx.PutAdjust: self._put_adjust, fx.PutLines: self._put_lines,
            fx.PutDecision: self._put_decision, fx.DropDecisions: self._drop_decisions,
            fx.Inject: self._inject_frame, fx.KeepHeld: self._keep_held, fx.DropHeld: self._drop_held,
            fx.Announce: announce, fx.Describe: announce, fx.Admitted: announce,
            fx.BypassSession: self._bypass, fx.ResetSession: self._reset,
        }  # fmt: skip

    def carry_out(self, effects: list[fx.Effect]) -> None:
        """All of them in order. A full table stops the list: what was not decided stays held, and TCP repeats it."""
        for effect in effects:
            try:
                self._acts[type(effect)](effect)
            except OSError as error:
                name = type(effect).__name__
                self.failures[name] += 1
                log.warning("%s failed: %s", name, errno.errorcode.get(error.errno or 0, str(error)))
                return

    # -- decisions -----------------------------------------------------------------------------------------------------

    def _put_adjust(self, effect: fx.PutAdjust) -> None:
        key = self.keys.get(effect.record.session)
        if key is not None:
            syscall.update(self._gateway.adjusts.fd, key, effect.record.pack())

    def decisions(self) -> set[bytes]:
        """The keys of all decisions in the kernel."""
        return {bytes(key) for key, _ in self._gateway.decisions.items()}

    def drop_decisions(self, keys: Iterable[bytes]) -> None:
        """Delete decisions and their replacements; those bytes are undecided then."""
        for key in keys:
            syscall.delete(self._gateway.decisions.fd, key)
            syscall.delete(self._gateway.replacements.fd, key)

    def _put_lines(self, effect: fx.PutLines) -> None:
        for reply, words in enumerate((effect.lines.commands, effect.lines.replies)):
            for word in words:
                key = _PASSABLE.pack(effect.interest, reply, word)
                syscall.update(self._gateway.passable.fd, key, _YES)

    def lines_kept(self, session: int, key: bytes) -> list[bytes]:
        """The keys of the decisions that lines left which passed without a helper."""
        track = self._gateway.tracks.get(abi.SessionKey.unpack(key))
        if track is None or track.id != session:
            return []
        kept = enumerate(zip(track.line_seq, track.line_size, strict=True))
        return [decision_key(session, seq, size, place >> 1) for place, (seq, size) in kept if size]

    def decided(self, session: int, direction: int, seq: int, size: int) -> int | None:
        """The digest of a decision, None if there is none."""
        key = _DECISION_KEY.pack(session, seq, size, direction)
        raw = syscall.lookup(self._gateway.decisions.fd, key, _DECISION.size)
        return None if raw is None else int(_DECISION.unpack(raw)[0])

    def _put_decision(self, effect: fx.PutDecision) -> None:
        key = decision_key(effect.session, effect.seq, effect.size, effect.direction)
        new = effect.new or b""
        if effect.verdict == fx.VERDICT_REPLACE:
            syscall.update(self._gateway.replacements.fd, key, new.ljust(PIECE, b"\0"))
        value = _DECISION.pack(effect.digest, effect.sum_change & 0xFFFFFFFF, len(new), effect.verdict)
        syscall.update(self._gateway.decisions.fd, key, value)

    def _drop_decisions(self, effect: fx.DropDecisions) -> None:
        for direction, seq, size, replaced in effect.ranges:
            key = decision_key(effect.session, seq, size, direction)
            syscall.delete(self._gateway.decisions.fd, key)
            if replaced:
                syscall.delete(self._gateway.replacements.fd, key)

    def _inject_frame(self, effect: fx.Inject) -> None:
        if not self._inject(effect.frame):
            self.failures["Inject"] += 1

    # -- expectations --------------------------------------------------------------------------------------------------

    def _expectation(self, one: fx.Expectation, state: int) -> tuple[bytes, bytes]:
        inbound = one.direction == fx.IN
        ranged = one.ports > 0
        to = one.to.ip.packed, (0 if ranged and not inbound else one.to.port).to_bytes(2, "big")
        key = _EXPECTATION_KEY.pack(one.from_ip or NO_IP, *to, one.proto, one.direction)
        # Outbound: port 0 of the control session's public address, which the data connection must have too.
        public = one.to.ip if inbound else self.publics.get(one.session)
        place = self._ports.place(public) if public is not None else 0
        row = port_row(place or 0, one.proto, one.to.port if inbound else 0)
        inside_ip, inside_port = (one.inside.ip.packed, one.inside.port) if one.inside else (NO_IP, 0)
        expires = (int(one.expires * 1e9) >> abi.TICK_SHIFT) & 0xFFFFFFFF
        flags = abi.ExpectationFlag.PERSISTENT if one.persistent else 0
        value = _EXPECTATION.pack(
            one.id, one.session, pack_key(one.control_key), state, inside_ip, inside_port.to_bytes(2, "big"),
            one.alg, int(flags), row, expires, one.from_port.to_bytes(2, "big"),
            one.to.port if ranged else 0, one.to.port + one.ports - 1 if ranged else 0,
        )  # fmt: skip
        return key, value

    def ranges(self) -> list[fx.Expectation]:
        """What an earlier helper opened for ranges of ports."""
        found = []
        for key, value in self._gateway.expectations.items():
            if not value.last:
                continue
            inbound = key.dir == fx.IN
            to = EndPoint(abi.be32_to_ip(key.to), value.first)
            inside = EndPoint(abi.be32_to_ip(value.inside_ip), value.first) if inbound else None
            left = (value.expires - (time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> abi.TICK_SHIFT)) & 0xFFFFFFFF
            expires = time.clock_gettime(time.CLOCK_MONOTONIC) + left * (1 << abi.TICK_SHIFT) / 1e9
            found.append(fx.Expectation(
                value.id, value.control_id, unpack_key(bytes(value.control_key)), value.alg, key.dir, key.proto,
                abi.be32_to_ip(key.from_).packed, to, inside, to if inbound else None, value.state, True, expires,
                abi.be16(value.from_port), value.last - value.first + 1,
            ))  # fmt: skip
        return found

    def _put_expectation(self, effect: fx.PutExpectation) -> None:
        syscall.update(self._gateway.expectations.fd, *self._expectation(effect.expectation, effect.expectation.state))
        self.outcomes["made"] += 1

    def _open_expectation(self, effect: fx.OpenExpectation) -> None:
        # Only the helper opens, and a pending one can't be used meanwhile: writing it whole loses nothing.
        with contextlib.suppress(FileNotFoundError):
            key, value = self._expectation(effect.expectation, fx.EXPECT_OPEN)
            syscall.update(self._gateway.expectations.fd, key, value, Update.EXISTING)

    def _delete_expectation(self, effect: fx.DeleteExpectation) -> None:
        fd = self._gateway.expectations.fd
        key, value = self._expectation(effect.expectation, 0)
        if effect.heir is not None:
            syscall.update(fd, *self._expectation(effect.heir, effect.heir.state))
        elif (syscall.lookup(fd, key, _EXPECTATION.size) or b"")[:8] == value[:8]:  # else another session's newer one
            syscall.delete(fd, key)
        self.outcomes[effect.outcome] += 1

    def _release_port(self, effect: fx.ReleasePort) -> None:
        give_back = self._ports.unshare if effect.shared else self._ports.release
        give_back(effect.proto, effect.public, effect.inside, effect.ports)

    # -- bytes acknowledged in a receiver's name -----------------------------------------------------------------------

    def _keep_held(self, effect: fx.KeepHeld) -> None:
        pieces = [effect.data[at : at + PIECE] for at in range(0, len(effect.data), PIECE)]
        keys = []
        for number, piece in enumerate(pieces):
            key = _DECISION_KEY.pack(effect.session, number, len(piece), effect.direction)
            syscall.update(self._gateway.held.fd, key, piece.ljust(PIECE, b"\0"))
            keys.append(key)
        for stale in self._held.get((effect.session, effect.direction), []):
            if stale not in keys:
                syscall.delete(self._gateway.held.fd, stale)
        self._held[(effect.session, effect.direction)] = keys

    def _drop_held(self, effect: fx.DropHeld) -> None:
        for key in self._held.pop((effect.session, effect.direction), []):
            syscall.delete(self._gateway.held.fd, key)

    def stored(self) -> dict[int, dict[int, bytes]]:
        """What an earlier helper kept: by session and direction."""
        found: dict[tuple[int, int], list[tuple[int, int, bytes]]] = {}
        for key, value in self._gateway.held.items():
            piece = bytes(value.bytes[: key.size])
            found.setdefault((key.id, key.dir), []).append((key.seq, key.size, piece))
            self._held.setdefault((key.id, key.dir), []).append(bytes(key))
        whole: dict[int, dict[int, bytes]] = {}
        for (session, direction), pieces in found.items():
            whole.setdefault(session, {})[direction] = b"".join(piece for _, _, piece in sorted(pieces))
        return whole

    def left(self, now: float) -> dict[int, list[fx.Expectation]]:
        """The live expectations that an earlier helper made, by control session; `publics` are known. The rest goes."""
        found: dict[int, list[fx.Expectation]] = {}
        ticks = int(now * 1e9) >> abi.TICK_SHIFT
        for key, value in list(self._gateway.expectations.items()):
            if value.last:  # a range of ports: see `ranges`
                continue
            inbound = key.dir == fx.IN
            to = EndPoint(abi.be32_to_ip(key.to), abi.be16(key.to_port))
            inside = EndPoint(abi.be32_to_ip(value.inside_ip), abi.be16(value.inside_port))
            if value.state in (fx.EXPECT_PENDING, fx.EXPECT_OPEN) and value.control_id in self.publics:
                remaining = (value.expires - ticks + (1 << 31)) % (1 << 32) - (1 << 31)
                one = fx.Expectation(
                    value.id, value.control_id, unpack_key(bytes(value.control_key)), value.alg, key.dir, key.proto,
                    abi.be32_to_ip(key.from_).packed if key.from_ else b"", to, inside if inbound else None,
                    to if inbound else None, int(value.state), bool(value.flags & abi.ExpectationFlag.PERSISTENT),
                    now + remaining * TICK,
                )  # fmt: skip
                found.setdefault(one.session, []).append(one)
                continue
            syscall.delete(self._gateway.expectations.fd, bytes(key))
            if inbound:
                self._ports.release(key.proto, to, inside, 1)
        return found

    # -- sessions ------------------------------------------------------------------------------------------------------

    def _bypass(self, effect: fx.BypassSession) -> None:
        if not effect.shifted:
            self._control.keys(abi.ControlOp.BYPASS, [pack_key(effect.key)])

    def _reset(self, effect: fx.ResetSession) -> None:
        self._control.keys(abi.ControlOp.KILL, [pack_key(effect.key)])

    def track(self, session: int) -> fx.TrackView | None:
        """struct track of a control session, None if the kernel has none of this generation."""
        key = self.keys.get(session)
        raw = syscall.lookup(self._gateway.tracks.fd, key, _TRACK.size) if key else None
        if raw is None:
            return None
        (
            number, isn_out, isn_in, next_out, next_in, acked_out, acked_in, sent_out, sent_in, window_out, window_in,
            ts_out, ts_in, mss_out, mss_in, _, _, flags, lines,
        ) = _TRACK.unpack(raw)  # fmt: skip
        if number != session:
            return None
        return fx.TrackView(
            (isn_out, isn_in), (next_out, next_in), (acked_out, acked_in), (window_out, window_in), (ts_out, ts_in),
            (mss_out, mss_in), flags, (sent_out, sent_in), lines,
        )  # fmt: skip

    def adjust(self, session: int) -> fx.AdjustRecord | None:
        """The adjust record of a control session, None if there is none of this generation."""
        key = self.keys.get(session)
        raw = syscall.lookup(self._gateway.adjusts.fd, key, self._gateway.adjusts.value.size) if key else None
        record = fx.AdjustRecord.unpack(raw) if raw else None
        return record if record is not None and record.session == session else None
