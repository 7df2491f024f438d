"""The expectations and reservations of all control sessions.

The law of this file: the book of what was asked for, by tag and by id; it decides limits and life time, and writes
out. No stream, no plug-in: whoever calls tells the conversation what became of a tag.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, Protocol, final

from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.model import Address, EndPoint, Expect, Reserve, address
from algate.alg.plugin.spelled import packed

from .early import Actor, Early, actor
from .effects import (
    EXPECT_OPEN,
    EXPECT_PENDING,
    OUT,
    DeleteExpectation,
    Expectation,
    Inject,
    KnownExpectation,
    OpenExpectation,
    PutExpectation,
    ReleasePort,
    SessionInfo,
)
from .sink import Sink

TCP: Final = 6
PROTOCOLS: Final = {"tcp": TCP, "udp": 17}
NAMED: Final = 63  # bits of ids: the kernel's own (abi.h), and where their port begins
NAMED_PORT: Final = 47
UNHEARD_AFTER: Final = 0.05  # s, as Expect.acts_after
LOOKS_MOST: Final = 32  # timers of a kind in one tick of the engine, so that segments needn't wait for all of them


class PortBroker(Protocol):
    """Who holds the public ports; the service asks the kernel, tests use a dictionary."""

    def reserve(self, proto: int, public_ip: Address, inside: EndPoint, count: int, even: bool) -> EndPoint | None:
        """Hold `count` adjacent public ports for `inside`, the first even if `even`; None if there are none."""
        ...

    def share(self, proto: int, public_ip: Address, inside: EndPoint, count: int) -> EndPoint | None:
        """One more share of the block of public ports with the numbers of `inside`; None if all belong to others."""
        ...


def _public(info: SessionInfo) -> EndPoint | None:
    """The end point of a control session's own mapping: of IPv6 the inside one, None of IPv4 that isn't translated."""
    if info.translated:
        return EndPoint(address(info.public_ip), info.public_port)
    return EndPoint(address(info.inside_ip), info.key.inside_port) if info.inside6 else None


def named_by(number: int, info: SessionInfo) -> Expectation:
    """What the kernel expects under an id of its own: a connection from inside to a port of the outside."""
    to = EndPoint(address(info.remote_ip), number >> NAMED_PORT & 0xFFFF)
    return Expectation(
        number, info.session, info.key, info.alg, OUT, TCP, info.inside_ip, to, None, None, EXPECT_OPEN,
        False, 0.0,
    )  # fmt: skip


def is_named(made: Expectation, number: int, info: SessionInfo) -> bool:
    """Whether an expectation is `named_by` that id, but for this and for how long: field by field, since what nearly
    always is so is asked of each 227."""
    if made.direction != OUT or made.proto != TCP or made.state != EXPECT_OPEN or made.session != info.session:
        return False
    if made.persistent or made.early or made.ports or made.from_port:
        return False
    to = made.to
    port = number >> NAMED_PORT & 0xFFFF
    return to.port == port and packed(to.ip) == info.remote_ip and made.from_ip == info.inside_ip


def acts_early(expected: Expectation) -> bool:
    """Whether whoever comes hasn't agreed, but is known to do so afterwards."""
    return expected.early and expected.state == EXPECT_PENDING


class NoExpectationError(ValueError):
    """An Expect that can't be granted; the text is a reason name."""


@final
class Reservation(Fixed):
    """Public ports held under a tag."""

    __match_args__: Final = ("proto", "public", "inside", "ports", "shared")

    def __init__(self, proto: int, public: EndPoint, inside: EndPoint, ports: int, shared: bool = False) -> None:
        self.proto: Final = proto
        self.public: Final = public
        self.inside: Final = inside
        self.ports: Final = ports
        self.shared: Final = shared


class Book:
    """What one control session has: reservations and live expectations by tag."""

    __slots__ = ("acted", "expectations", "reservations")

    def __init__(self) -> None:
        self.expectations: dict[int, Expectation] = {}
        self.reservations: dict[int, Reservation] = {}
        self.acted: dict[int, Actor] = {}  # whose peer connected before it agreed, until it says whether it does


class Expectations:
    """All of them. Methods append effects in the order in which they must be carried out."""

    def __init__(self, ports: PortBroker, per_session: int, total: int) -> None:
        self._ports = ports
        self._per_session = per_session
        self._total = total
        self._live: dict[int, tuple[int, int]] = {}  # id -> session, tag
        self._expiry: list[tuple[float, int]] = []
        self._ranges: dict[tuple[bytes, EndPoint, int, int], list[Expectation]] = {}  # one row each, the last one's
        self._next_id = 0
        self._early = Early()
        self._acts_after: dict[int, float] = {}  # id -> Expect.acts_after

    def __len__(self) -> int:
        return len(self._live)

    def whose(self, expectation: int) -> tuple[int, int] | None:
        """Session and tag of a live expectation."""
        return self._live.get(expectation)

    def reserve(self, book: Book, info: SessionInfo, action: Reserve, out: Sink) -> EndPoint | None:
        """Reserve under the tag; what the tag had before is withdrawn, its port freed after the new one is chosen."""
        proto = PROTOCOLS[action.proto]
        if action.tag not in book.reservations and len(book.reservations) >= self._per_session:
            return None
        packed_ip = info.public_ip if info.translated else info.inside_ip
        public_ip = address(packed_ip)
        public: EndPoint | None
        if len(packed_ip) == 16:  # every port is the inside host's own
            public = action.inside
        elif action.shared:
            public = self._ports.share(proto, public_ip, action.inside, action.count)
        else:
            public = self._ports.reserve(proto, public_ip, action.inside, action.count, action.even)
        self.withdraw(book, action.tag, "replaced", "", out)
        if public is not None:
            book.reservations[action.tag] = Reservation(proto, public, action.inside, action.count, action.shared)
        return public

    def expect(self, book: Book, info: SessionInfo, action: Expect, out: Sink, named: int = 0) -> None:
        """Make an expectation, replacing the tag's former one. RefusedError if it can't be granted. `named`: the id
        under which the kernel expects something already, which may be this very connection."""
        old = book.expectations.get(action.tag)
        if old is None and (len(book.expectations) >= self._per_session or len(self._live) >= self._total):
            raise NoExpectationError("expectation-limit")
        made = self._make(book.reservations.get(action.tag), info, action, out.now)
        if action.acts_after is not None and action.peer is not None and not action.open:
            self._acts_after[made.id] = action.acts_after
            if action.once and self._early.known and self._early.knows(actor(made), out.now):
                made = made._replace(early=True)
        known = named and is_named(made, named, info)
        if known:
            made = made.named(named, made.expires)
        if old is not None:
            self._end(book, action.tag, "replaced", "", out)
        self._enter(book, action.tag, made)
        heapq.heappush(self._expiry, (made.expires, made.id))
        if len(self._expiry) > 2 * len(self._live) + 1024:
            self._expiry = [entry for entry in self._expiry if entry[1] in self._live]
            heapq.heapify(self._expiry)
        out.append(KnownExpectation(made) if known else PutExpectation(made))

    def adopt(self, book: Book, tag: int, known: Expectation) -> None:
        """Take over a range that an earlier helper opened; its row is in the kernel."""
        self._enter(book, tag, known)

    def _enter(self, book: Book, tag: int, made: Expectation) -> None:
        book.expectations[tag] = made
        self._live[made.id] = (made.session, tag)
        if made.ports:
            self._ranges.setdefault(_row(made), []).append(made)

    def ranged(self) -> set[int]:
        """The sessions that have a range of ports open."""
        return {one.session for sharers in self._ranges.values() for one in sharers}

    def inherit(self, book: Book, found: Expectation) -> int:
        """Go on with an expectation of another helper's; the tag that it has from now on."""
        tag = -2 - len(book.expectations)  # -1 is a range of ports: see engine.ADOPTED
        self._enter(book, tag, found)
        if found.reserved is not None and found.inside is not None:
            book.reservations[tag] = Reservation(found.proto, found.reserved, found.inside, 1)
        heapq.heappush(self._expiry, (found.expires, found.id))
        if not found.id >> NAMED:  # it may be from a clock ahead of this one
            self._next_id = max(self._next_id, found.id)
        return tag

    def unheard(self, book: Book) -> None:
        """The peers' words about these may have passed unread: who then connects to one that is pending has agreed."""
        for one in book.expectations.values():
            if one.state == EXPECT_PENDING:
                self._acts_after[one.id] = UNHEARD_AFTER

    def _make(self, held: Reservation | None, info: SessionInfo, action: Expect, now: float) -> Expectation:
        to, inside, reserved = action.to, None, None
        if action.direction != OUT:
            proto = PROTOCOLS[action.proto]
            if held is not None and held.proto == proto:
                inside, reserved = held.inside, held.public
                to = self._within(held, to)
            elif held is None and to == _public(info) and info.key.proto == proto:
                inside = EndPoint(address(info.inside_ip), info.key.inside_port)
            else:
                raise NoExpectationError("expectation-without-port")
            if action.ports and not (held is not None and held.shared and action.ports == held.ports):
                raise NoExpectationError("expectation-range")
        if to is None:
            raise NoExpectationError("expectation-without-target")
        if action.ports and (action.once or not action.open):
            raise NoExpectationError("expectation-range")
        self._next_id = max(self._next_id + 1, int(now * 1_000_000_000))
        return Expectation(
            self._next_id, info.session, info.key, info.alg, int(action.direction), PROTOCOLS[action.proto],
            b"" if action.peer is None else packed(action.peer), to, inside, reserved,
            EXPECT_OPEN if action.open else EXPECT_PENDING, not action.once, now + action.lifetime,
            action.from_port or 0, action.ports,
        )  # fmt: skip

    @staticmethod
    def _within(held: Reservation, to: EndPoint | None) -> EndPoint:
        """The reserved port meant: `to` may choose one of a block."""
        if to is None:
            return held.public
        if to.ip != held.public.ip or not 0 <= to.port - held.public.port < held.ports:
            raise NoExpectationError("expectation-without-port")
        return to

    def open(self, book: Book, tag: int, out: Sink) -> bool:
        """Both sides agreed: open it and let the held first packets go. False if the tag has none: its peer may have
        acted, and agrees now."""
        who = book.acted.pop(tag, None)
        if who is not None:
            self._early.agreed(who, out.now)
        return self._open(book, tag, out)

    def act(self, book: Book, tag: int, out: Sink) -> None:
        """The peer has connected, and that counts as its agreement."""
        found = book.expectations.get(tag)
        if found is not None:
            self._has_acted(book, tag, found)
        self._open(book, tag, out)

    def _has_acted(self, book: Book, tag: int, found: Expectation) -> None:
        if len(book.acted) >= self._per_session:
            del book.acted[next(iter(book.acted))]
        book.acted[tag] = actor(found)

    def _open(self, book: Book, tag: int, out: Sink) -> bool:
        found = book.expectations.get(tag)
        if found is None:
            return False
        if found.state != EXPECT_OPEN:
            found = found.opened()
            book.expectations[tag] = found
            out.append(OpenExpectation(found))
        out.extend(self._early.let_go(found.id))
        return True

    def withdraw(self, book: Book, tag: int, outcome: str, reason: str, out: Sink) -> None:
        """Drop expectation and reservation of the tag, whichever there is."""
        who = book.acted.pop(tag, None)
        found = book.expectations.get(tag)
        if who is None and found is not None and acts_early(found):
            who = actor(found)
        if who is not None and outcome == "withdrawn":
            self._early.disagreed(who)
        self._end(book, tag, outcome, reason, out)
        self._release(book, tag, out, used=False)

    def withdraw_all(self, book: Book, reason: str, out: Sink) -> None:
        """The control session ends or is no longer understood."""
        for tag in [*book.expectations]:
            self.withdraw(book, tag, "withdrawn", reason, out)
        for tag in [*book.reservations]:
            self._release(book, tag, out, used=False)

    def used(self, book: Book, tag: int, out: Sink) -> None:
        """The kernel admitted a connection. A persistent one lives on."""
        found = book.expectations[tag]
        if acts_early(found):
            self._has_acted(book, tag, found)
        if not found.persistent:
            self._end(book, tag, "used", "", out)
            self._release(book, tag, out, used=True)

    def due(self, now: float) -> Iterator[tuple[int, int]]:
        """Session and tag of some that have expired; the caller withdraws them and asks again when next_due() says."""
        for _ in range(LOOKS_MOST):
            if not self._expiry or self._expiry[0][0] > now:
                return
            _, number = heapq.heappop(self._expiry)
            whose = self._live.get(number)
            if whose is not None:
                yield whose

    def acted(self, now: float) -> Iterator[tuple[int, int]]:
        """Session and tag of some whose peer has agreed by connecting, and whose word hasn't come; see `due`."""
        for number in self._early.acted(now, LOOKS_MOST):
            whose = self._live.get(number)
            if whose is not None:
                yield whose

    def next_due(self) -> float:
        """When due() or acted() may have something; may be early."""
        return min(self._expiry[0][0] if self._expiry else float("inf"), self._early.next_due())

    def hold(self, made: Expectation, frame: Inject, now: float) -> bool:
        """Keep a first packet for a pending expectation, the latest few of each. False if there is no room."""
        return self._early.hold(made.id, frame, self._acts_after.get(made.id), now)

    def acts_at_once(self, made: Expectation, now: float) -> bool:
        """Its peer is known to agree afterwards: a first packet need not wait for that."""
        return made.id in self._acts_after and self._early.knows(actor(made), now)

    def _end(self, book: Book, tag: int, outcome: str, reason: str, out: Sink) -> None:
        found = book.expectations.pop(tag, None)
        if found is None:
            return
        del self._live[found.id]
        self._acts_after.pop(found.id, None)
        self._early.let_go(found.id)
        out.append(DeleteExpectation(found, outcome, reason, self._heir(found)))

    def _heir(self, gone: Expectation) -> Expectation | None:
        """Sessions of one peer share the row of a range: who takes it over."""
        sharers = self._ranges.get(_row(gone), []) if gone.ports else []
        if gone in sharers:
            sharers.remove(gone)
        if not sharers:
            self._ranges.pop(_row(gone), None)
        return sharers[-1] if sharers else None

    def _release(self, book: Book, tag: int, out: Sink, used: bool) -> None:
        found = book.reservations.pop(tag, None)
        if found is not None:
            out.append(ReleasePort(found.proto, found.public, found.inside, found.ports, used, found.shared))


def _row(one: Expectation) -> tuple[bytes, EndPoint, int, int]:
    return one.from_ip, one.to, one.proto, one.direction
