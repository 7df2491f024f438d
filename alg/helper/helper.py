"""The helper: ring to engine, engine to maps and TAP.

The law of this file: it joins the perf ring, the engine and the executor, and keeps their clock. Lifecycle, devices and
operators' sockets belong to the service.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from algate.alg.audit.events import Events
from algate.alg.audit.metrics import Metrics
from algate.alg.audit.witness import Witness
from algate.alg.config.load import Config
from algate.alg.engine.effects import Effect, Segment, SessionInfo, View
from algate.alg.engine.engine import Engine
from algate.alg.engine.limits import Limits
from algate.alg.gateway import counted, records
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.records import Punt
from algate.alg.helper import takeover
from algate.alg.helper.backlog import Backlog
from algate.alg.helper.beginnings import Beginnings
from algate.alg.helper.behind import Behind
from algate.alg.helper.delays import Delays
from algate.alg.helper.endings import Endings
from algate.alg.helper.executor import Executor
from algate.alg.helper.guard import Guard
from algate.alg.helper.lost import Lost
from algate.alg.helper.ports import KernelPorts
from algate.alg.helper.refused import Refused
from algate.alg.helper.strays import strays
from algate.alg.helper.tails import Tails
from algate.alg.helper.tap import Tap
from algate.alg.helper.telling import Telling
from algate.alg.helper.watchers import Watchers
from algate.alg.plugin.model import ProtocolPlugin, address
from algate.bpf import abi, syscall, ticks
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram
from algate.bpf.tables import U32

log = logging.getLogger(__name__)
_REFUSED: Final = int(abi.PuntKind.REFUSED)  # members of an enum of abi.h cost more than what is done by them
_TAIL: Final = int(abi.PuntKind.TAIL)
_UNSENT: Final = int(abi.PuntKind.UNSENT)
_OPENED: Final = int(abi.PuntKind.OPENED)
_EXPECT_USED: Final = int(abi.PuntKind.EXPECT_USED)
_PATH: Final = int(abi.PuntKind.PATH)
_DATA_SYN: Final = int(abi.PuntKind.DATA_SYN)
PAGES = 1024  # of 4 KiB per CPU: room for 60 of the largest samples, or thousands of command lines
HEARD_MOST = 20  # turns before an answer


def now() -> float:
    """The engine's clock: CLOCK_MONOTONIC in seconds, the one that the kernel's ticks count."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


PIECE_KEY, PIECES = ctypes.sizeof(abi.PieceKey), ctypes.sizeof(abi.Pieces)  # bytes


def _session_of(punt: Punt) -> int:
    """The control session; 0 of a used expectation, whose punt names the data connection."""
    return 0 if punt.kind == _EXPECT_USED else punt.info.session


class Helper:
    """Owns the TAP, engine and executor of one loaded gateway."""

    def __init__(
        self, gateway: Gateway, control: ControlProgram, ports: KernelPorts, config: Config,
        plugins: Mapping[str, ProtocolPlugin], events: Events, secret: int,
        tap: Tap | None = None,
    ) -> None:  # fmt: skip
        """`tap`: one made earlier. `carry_out`, `gone`: what becomes of effects (and of which session what brought them
        about is, 0: of several), and of a session behind its last ones; with a second gateway both wait for it."""
        self.config = config
        self.lost = 0
        self.broken = 0
        self.taken = 0  # samples
        self.metrics: Metrics | None = None
        self.witness = Witness()
        self._gateway = gateway
        self._events = events
        self._guard = Guard()
        self._watchers = Watchers(plugins, config, self._guard)
        self._infos = self._watchers.infos
        self._known: dict[int, tuple[bytes, SessionInfo]] = {}  # the same with their packed keys
        self._latest: dict[bytes, int] = {}  # by packed key, the session that has it
        self._telling = Telling(events, self._watchers.name)
        self.faults, self.transfers = self._telling.faults, self._telling.transfers
        self.tap = tap or Tap()
        self.lost_ends = Lost(self.tap.write)
        self.refused = Refused(gateway, self.tap.write, self.lost_ends.gone)
        self.tails = Tails(self._head_known, self.tap.write)
        self.tails_waiting: Callable[[], None] = lambda: None
        self.due_changed: Callable[[], None] = lambda: None
        self._turning = False
        self._addresses = Addresses(gateway, control.intern)
        ports.raw = self._addresses.raw
        told = self._telling.announce, self._addresses.packable
        self.executor = Executor(gateway, control, ports, self.tap.write, *told)
        self.carry_out: Callable[[list[Effect], int], None] = lambda effects, _: self.executor.carry_out(effects)
        self.gone: Callable[[int, Callable[[], None]], None] = lambda _, forget: forget()
        self._endings = Endings(gateway, control, self._over, self._gone, self._lasted)
        kept = takeover.Kept(gateway, self.executor.keys)
        self.engine = Engine(
            self._watchers.open, ports, kept.track, kept.adjust, secret, Limits(), events.audience,
            self._watchers.may_expect_anybody,
            kept.decided, self._guard.call,
        )  # fmt: skip
        self._behind = Behind(self.engine, self._take, self._caught_up)
        self.delays = Delays(self.engine.waits)
        self._beginnings = Beginnings(plugins, self._put_opening, self.executor.put_lines, self._guard.call)
        self._backlog = Backlog(self._beginnings.hold_names)
        events.audience_changed = self.attend
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Judge by this configuration from now on. A plug-in that fails ends its session, unless fail is "open"."""
        self.config = self._watchers.config = config
        self.engine.fail_by("bypass" if config.alg.fail == "open" else "reset")
        self.attend()

    def look_at_transfers(self) -> Iterator[None]:
        """Tell the audit of data connections that ended, a few per step. The kernel keeps ended ones for a while."""
        return self._telling.look_at_transfers(lambda key, begins: counted.counters(self._gateway, key, begins))

    def open_ring(self, pages: int = PAGES) -> list[int]:
        """Open the perf ring; descriptors that become readable when `self.turn` has something to do."""
        return self._gateway.open_ring(self._sample, self._lost, pages)

    def turn(self) -> bool:
        """Handle a bounded number of samples. True: there are more, and no descriptor will say so."""
        self._turning = True
        self._telling.keep()
        try:
            more = self._gateway.turn()
            if more or self._backlog.much:
                self._backlog.look(self._gateway.unread())
            return more
        finally:
            self._behind.all(now())
            self.broken += self._telling.tell_all()
            self._turning = False

    def _hear(self) -> None:
        """Take what nobody was woken for: whoever asks about sessions means also one that began a moment ago."""
        for _ in range(HEARD_MOST):
            if self._turning or not self.turn():
                break

    def _take(self, punt: Punt) -> None:
        """Judge what nobody waits for."""
        try:
            self._carry_out(self._judged(punt), _session_of(punt))
        except Exception:
            self.broken += 1
            log.exception("a punt could not be handled")

    def _caught_up(self, number: int) -> None:
        """Judge the copies of a session, all at once."""
        try:
            try:
                effects = self.engine.caught_up(number, now())
            except Exception as error:
                effects = self.engine.faulted(number, error, now())
            self._carry_out(effects, number)
        except Exception:
            self.broken += 1
            log.exception("copies could not be judged")

    def _lost(self, number: int) -> None:
        self.lost += number

    def _sample(self, _cpu: int, sample: bytes) -> None:
        self.taken += 1
        # A fault in this sample must not lose those that follow in the same turn.
        try:
            punt = records.unpack_punt(sample, self._known)
            if punt is None:
                self.broken += 1
                return
            info, segment = punt.info, punt.segment
            if self._infos.get(info.session) is info:
                self._endings.stir(info.session)
                if segment is not None:  # nearly always
                    self._segment(punt, segment)
                    return
            elif records.has_handle(info.key):
                punt = self._addresses.of_punt(punt, self.config.nat64.prefix)
            self._other(punt)
        except Exception:
            self.broken += 1
            log.exception("a punt could not be handled")

    def _segment(self, punt: Punt, segment: Segment) -> None:
        """One of a session that is known."""
        number = segment.info.session
        if segment.copied:
            if self._turning and self._behind.copy(number, punt, now()):
                return
        else:
            self._behind.overtake(number, now())
        self._carry_out(self._judged(punt), number)
        if self.metrics is not None and not segment.copied:
            moment, arrived = now(), punt.time / 1e9
            self.metrics.decision.observe(max(0.0, moment - arrived))
            self.delays.came(number, punt.direction, arrived, moment)

    def _other(self, punt: Punt) -> None:
        """What isn't a segment of a known session."""
        kind = punt.kind
        if kind == _REFUSED:
            self.refused.tell(punt)
        elif kind == _TAIL:
            key = punt.info.key
            self.tails.hold(punt.frame, punt.ip_offset, punt.direction, now(), key.inside_ip + key.remote_ip)
            self.tails_waiting()
        elif kind == _UNSENT:
            session = punt.info.session
            self.carry_out(self.engine.narrowed(session, punt.direction, punt.mtu, now()), session)
        else:
            if kind != _EXPECT_USED:  # that is of the data connection, which no ALG watches
                self._know(punt.info)
            if punt.segment is not None:
                self._segment(punt, punt.segment)
                return
            if kind == _EXPECT_USED and self._behind.use(punt):
                return
            if kind == _DATA_SYN:
                self._behind.settle(punt.info.session, now())  # it waits for one of its copies
            self._carry_out(self._judged(punt), _session_of(punt))

    def _carry_out(self, effects: list[Effect], session: int = 0) -> None:
        """Carry out the engine's effects. It may have set a timer; the turn reports that at its end in any case."""
        if self.witness.watched:
            self.witness.see(effects)
        self.carry_out(effects, session)
        if not self._turning:
            self.due_changed()

    def _head_known(self, key: bytes) -> bool:
        if len(key) == PIECE_KEY:  # IPv6
            return self._gateway.six and syscall.lookup(self._gateway.pieces.fd, key, PIECES) is not None
        return syscall.lookup(self._gateway.fragments_fd, key, records.FRAGMENT_SIZE) is not None

    def _know(self, info: SessionInfo) -> None:
        if info.session not in self._infos:
            self._infos[info.session] = info
            key = self.executor.keys[info.session] = records.pack_key(info.key)
            self._known[info.session] = key, info
            before = self._latest.get(key, 0)
            self._endings.stir(before)
            self._latest[key] = max(before, info.session)
            if any(info.public_ip):
                self.executor.publics[info.session] = address(info.public_ip)

    def _judged(self, punt: Punt) -> list[Effect]:
        """What the engine makes of a punt; a fault in it costs only that session."""
        try:
            return self._dispatch(punt)
        except Exception as error:
            return self.engine.faulted(punt.info.session, error, now())

    def _dispatch(self, punt: Punt) -> list[Effect]:
        if punt.segment is not None:
            return self.engine.segment(punt.segment, now())
        kind = punt.kind
        if kind == _OPENED:
            return self.engine.opened(punt.info, now())
        if kind == _EXPECT_USED:
            return self.engine.expectation_used(punt.expectation, now(), punt.info)
        if kind == _PATH:
            return self.engine.narrowed(punt.info.session, punt.direction, punt.mtu, now(), punt.given)
        if kind == _DATA_SYN:
            return self.engine.data_syn(punt.expectation, punt.direction, punt.frame, punt.ip_offset, now())
        self.broken += 1
        return []

    def attend(self) -> None:
        """Have every line come here while anybody listens to commands, or if the configuration says so."""
        wanted = self.config.alg.classify
        # With a second gateway each line is held, so that what passed is written down at the other one.
        everything = wanted == "off" or bool(self.config.ha.node) or (wanted == "auto" and self._events.heard())
        if self._beginnings.state(self.config, everything):
            self.engine.stated()
        self._carry_out(self.engine.attend(everything))

    def _put_opening(self, place: int, row: bytes) -> None:
        syscall.update(self._gateway.map_fd("openings"), U32.pack(place), row)

    def tick(self) -> None:
        """Run the engine's timers that are due."""
        moment = now()
        if self.engine.next_due() <= moment:
            self._carry_out(self.engine.tick(moment))

    def take_over(self, control: ControlProgram) -> int:
        """Watch the control sessions that an earlier helper left, with what it owed their receivers; how many."""
        left = takeover.read(self._gateway, now(), self._addresses, self.config.nat64.prefix)
        for one in left.data:
            self.transfers.admit(one.control, None, 0, one.session, one.key)
        for info in left.controls:
            self._know(info)
        takeover.hand_over(left, self.engine, self.executor, now())
        takeover.release_unclaimed(self._gateway, control)
        self.due_changed()
        return len(left.controls)

    def look_at_controls(self) -> Iterator[None]:
        """Take back what control sessions held that have ended since the last look, however they ended; some sessions
        per step."""
        return self._endings.look(self.executor.keys)

    def _over(self, number: int) -> None:
        self.witness.over(number)
        effects = self.engine.over(number, now())
        if effects:
            self._carry_out(effects, number)

    def _lasted(self, seconds: float) -> None:
        if self.metrics is not None:
            self.metrics.session.observe(seconds)

    def _gone(self, number: int) -> None:
        self.witness.over(number)
        self.delays.forget(number)
        self._carry_out(self.engine.ended(number, now()), number)
        self.transfers.forget(number)
        self.gone(number, lambda: self._drop(number))

    def _drop(self, number: int) -> None:
        """Of a session whose effects have all been carried out."""
        self._infos.pop(number, None)
        self._known.pop(number, None)
        key = self.executor.keys.pop(number, None)
        if key is not None and self._latest.get(key) == number:
            del self._latest[key]
        self.executor.publics.pop(number, None)

    def forget(self, live: Mapping[int, bytes]) -> None:
        """Tell the engine which control sessions the kernel no longer has, and drop what it doesn't know and can't end.
        `live`: id -> key, as the sweep saw them."""
        self._addresses.forget()
        for number in [one for one in self._infos if one not in live]:
            key = self.executor.keys.get(number)
            value = self._gateway.sessions.get(abi.SessionKey.unpack(key)) if key else None
            if value is not None and value.id == number and value.alg:
                continue
            self._gone(number)
        expectations = self._gateway.expectations
        for row in [*strays(expectations, self.engine.expecting, ticks.now())]:
            syscall.delete(expectations.fd, row)

    def counts(self) -> Counter[str]:
        """Reasons of the engine and failures of the executor."""
        total = Counter({"plugin-failed": 0, "engine-failed": 0})  # from the start: alerts compare with before
        total.update(self.engine.counts)
        total.update({f"failed-{name}": number for name, number in self.executor.failures.items()})
        total["broken-sample"] = self.broken
        return total

    def view(self, number: int) -> View | None:
        """What is known about a control session's dialogue."""
        self._hear()
        return self.engine.view(number)

    def watches(self, number: int) -> bool:
        """Whether it knows a session."""
        self._hear()
        return number in self.engine

    def sessions(self) -> list[int]:
        """Ids of the sessions that it knows."""
        self._hear()
        return list(self.engine.sessions())

    def key(self, number: int) -> bytes | None:
        """The packed key of a session that it knows."""
        self._hear()
        return self.executor.keys.get(number)

    def kill(self, number: int, reason: str = "killed") -> None:
        """End a control session: RST to both ends, and nothing of it stays."""
        self._carry_out(self.engine.kill(number, now(), reason), number)

    def others(self, addresses: Collection[IPv4Address]) -> dict[int, bytes]:
        """Control sessions whose public address isn't one of these: id -> the outside end's address."""
        self._hear()
        infos, engine = self._infos, self.engine
        return {
            number: infos[number].key.remote_ip
            for number, public in self.executor.publics.items()
            if public not in addresses and number in engine and number in infos
        }

    def ended(self, number: int) -> None:
        """The kernel just lost a control session."""
        self._carry_out(self.engine.ended(number, now()), number)

    def close(self) -> None:
        """The TAP vanishes; maps and programs stay."""
        self.tap.close()
        self._guard.close()
