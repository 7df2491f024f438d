"""One IRC control session: offers of the inside client are rewritten and opened, everything else passes.

The law of this file: the dialogue. Both sides agree like this: the inside client offers an address of its own, and
somebody accepts by connecting, once. Nothing that the server says opens anything.

Its own addresses are: the one that it has, the one that the outside sees for it on this session (clients learn it from
the IRC server, or from their users), and 0.0.0.0, which some clients send if they know none. All three mean "me", and
whichever it says, what opens leads to the port that it names on the host that said it. Another public address of the
gateway isn't its own: it may be what the outside sees for another host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, NamedTuple
from typing import Protocol as Interface

from algate.alg.protocols.base import (
    Action,
    Bypass,
    Control,
    Direction,
    EndPoint,
    Event,
    Expect,
    Replace,
    Reserve,
    Script,
    Side,
    Withdraw,
)
from algate.alg.protocols.irc import dcc
from algate.alg.protocols.lines import Flaw, Line, LineReader

LINE_LIMIT: Final = dcc.TAGS_MAX + dcc.LINE_MAX  # bytes; longer lines pass in pieces
# RFC 2812 section 3.1, IRCv3 capability negotiation
FIRST_WORDS: Final = (b"CAP", b"PASS", b"NICK", b"USER", b"STARTTLS")
SHOWN: Final = 128  # bytes of a line that an event carries
NOWHERE: Final = IPv4Address(0)


class IrcKeys(Interface):
    """The keys of [alg.irc] that this file reads."""

    @property
    def any_peer(self) -> bool: ...
    @property
    def min_port(self) -> int: ...
    @property
    def expect_timeout(self) -> float: ...
    @property
    def max_offers(self) -> int: ...


class Live(NamedTuple):
    """An offer that left: the client's own port, and the public one that the other side was told."""

    own: int
    public: int


@dataclass(slots=True)
class AskedOffers:
    """A line whose offers wait for their ports: `waiting`, by tag, and `granted`, those with a port, both in order."""

    line: Line
    waiting: dict[int, dcc.Offer]
    granted: list[tuple[int, dcc.Offer, EndPoint]] = field(default_factory=list)


class IrcConversation:
    """`_live`: latest `max_offers` offers, by tag. `_irc`: the client began as IRC clients do; None: not known yet."""

    def __init__(self, control: Control, policy: IrcKeys) -> None:
        self._control = control
        ends = (control.inside.ip, control.public.ip)
        self._own = (*ends, NOWHERE)
        self._policy = policy
        self._readers = {side: LineReader(LINE_LIMIT, strict=True) for side in Side}
        self._irc: bool | None = True if control.resumed else None
        self._asks_tls = False
        self._live: dict[int, Live] = {}
        self._tag = 0
        self._asked: AskedOffers | None = None

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """Judge line by line, until one waits for its end or for a public port. What can't become DCC doesn't wait."""
        if self._control.inside_side is not Side.CLIENT:
            return [Bypass("client-outside")]  # its offers name no address of ours
        out, at = Script(), 0
        reader = self._readers[side]
        while at < len(data):
            line = reader.next(data, at, end) or self._unfinished(data[at:], side)
            if line is None:
                break
            at += len(line.raw)
            reader.accept(line)
            if side is Side.SERVER:
                if self._server(line, out):
                    break
            elif self._client(line, out):
                break
        return out.done()

    def _unfinished(self, raw: bytes, side: Side) -> Line | None:
        """The part of an unfinished line that may pass now; None if it has to wait."""
        word = raw.upper()
        if self._irc is None and side is Side.CLIENT and any(first.startswith(word) for first in FIRST_WORDS):
            return None
        if side is Side.SERVER and self._asks_tls:
            return None  # the answer to STARTTLS matters, and comes only once
        if dcc.may_become(raw):
            return None
        return Line(raw, raw, Flaw.REST, open_ended=True)

    def _server(self, line: Line, out: Script) -> bool:
        """Judge a line of the server, which opens nothing. True: TLS begins, nothing more is read."""
        text = _readable(line)
        starts = self._asks_tls and text is not None and dcc.command(text).startswith(b"670 ")
        if text is None or not self._translated(line, text, Side.SERVER, out):
            out.let(len(line.raw))
        if starts:
            out.say(Bypass("starttls"))
        return starts

    def _client(self, line: Line, out: Script) -> bool:
        """Judge a line of the client; True if its verdict waits for public ports."""
        if self._irc is None:
            self._irc = line.text.partition(b" ")[0].upper() in FIRST_WORDS
        text = _readable(line)
        self._asks_tls = self._asks_tls or (text is not None and dcc.command(text).strip().upper() == b"STARTTLS")
        if text is None or not dcc.is_dcc(text):
            out.let(len(line.raw))
            return False
        found = dcc.offers(text, self._own)
        if not found and self._translated(line, text, Side.CLIENT, out):
            return False
        wanted = self._wanted(line, found, out)
        if not wanted:
            out.let(len(line.raw))
            return False
        self._ask(line, wanted, out)
        return True

    def _wanted(self, line: Line, found: Sequence[dcc.Offer], out: Script) -> list[dcc.Offer]:
        """The offers of a line that may have a port; an event for each reason why others may not."""
        wanted: list[dcc.Offer] = []
        reasons = {} if found else {"malformed-offer": None}
        for offer in found:
            reason = self._objection(offer)
            if not reason and len(wanted) == self._policy.max_offers:
                reason = "expectation-limit"
            if reason:
                reasons[reason] = None
            else:
                wanted.append(offer)
        for reason in reasons:
            _refuse(line, reason, out)
        return wanted

    def _ask(self, line: Line, wanted: Sequence[dcc.Offer], out: Script) -> None:
        self._make_room(len(wanted), out)
        waiting = {self._tag + number: offer for number, offer in enumerate(wanted, 1)}
        self._tag += len(wanted)
        self._asked = AskedOffers(line, waiting)
        for tag, offer in waiting.items():
            out.say(Reserve(tag, EndPoint(self._control.inside.ip, offer.port)))

    def _objection(self, offer: dcc.Offer) -> str:
        """Why an offer opens nothing; "" if it may open."""
        if offer.port == 0:
            return "passive-offer"  # the other side will listen: just a connection from inside
        if not self._irc:
            return "not-irc"
        if offer.ip is None or (offer.ip.version == 6 and self._control.inside.ip.version == 4):
            return "address-form"
        if offer.ip not in self._own:
            return "not-client-address"
        if offer.port > 65535:
            return "bad-number"
        if offer.port < self._policy.min_port:
            return "port-too-low"
        return "" if self._policy.any_peer else "any-peer-off"

    def _make_room(self, wanted: int, out: Script) -> None:
        while len(self._live) + wanted > self._policy.max_offers:
            tag = next(iter(self._live))
            del self._live[tag]
            out.say(Withdraw(tag, "superseded"))

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        """An offer gets a port, or none; after the last one the line gets its verdict."""
        asked, out = self._asked, Script()
        offer = asked.waiting.pop(tag, None) if asked is not None else None
        if asked is None or offer is None:
            return ()
        if public is None:
            _refuse(asked.line, "no-port", out)
        else:
            asked.granted.append((tag, offer, public))
        if not asked.waiting:
            self._asked = None
            self._grant(asked, out)
        return out.done()

    def _grant(self, asked: AskedOffers, out: Script) -> None:
        """Open for the offers that have ports, and let the line pass with those ports in it."""
        line = asked.line
        changes = [(offer.start, offer.stop, _written(public)) for _, offer, public in asked.granted]
        grown = sum(len(new) - (stop - start) for start, stop, new in changes)
        if grown > 0 and len(line.raw) - dcc.tags(line.raw) + grown > dcc.LINE_MAX:
            for tag, _, _ in asked.granted:
                out.say(Withdraw(tag, "line-would-overflow"))  # the server would cut its end off
            _refuse(line, "line-would-overflow", out)
            changes = []
        else:
            for tag, offer, public in asked.granted:
                self._open(tag, offer, public, line, out)
        _rewrite(line, changes, out)

    def _open(self, tag: int, offer: dcc.Offer, public: EndPoint, line: Line, out: Script) -> None:
        self._live[tag] = Live(offer.port, public.port)
        fields = (("state", "open"), ("from", "any"), ("to", str(EndPoint(self._control.inside.ip, offer.port))))
        out.say(
            Expect(tag, Direction.IN, None, None, self._policy.expect_timeout, open=True),
            Event("expectation-made", _said(line), fields=fields),
        )

    def _translated(self, line: Line, text: bytes, side: Side, out: Script) -> bool:
        """RESUME by the other side and ACCEPT by the client name the port of an offer: each must see the one it knows.

        The other way round they are about the other side's offer, whose port wasn't changed.
        """
        if not dcc.is_dcc(text):
            return False
        theirs = side is Side.SERVER
        ports = {(live.public if theirs else live.own): live for live in self._live.values()}
        found = dcc.agreed(text, ports)
        if found is None:
            return False
        live = ports.get(found.port) if found.kind == ("RESUME" if theirs else "ACCEPT") else None
        port = found.port if live is None else live.own if theirs else live.public
        _rewrite(line, [] if live is None else [(found.start, found.stop, b"%d" % port)], out)
        return True

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """The offer was accepted or expired; a used one stays known, since a transfer may be resumed under it."""
        if outcome != "used":
            self._live.pop(tag, None)
        return [Event(f"expectation-{outcome}")]


def _readable(line: Line) -> bytes | None:
    """The text, in which 0xff is a letter: IRC has no Telnet. None: readers may disagree where this line ends."""
    text = line.raw[:-2]
    sure = line.flaw in (None, Flaw.TELNET) and line.raw[-2:] == b"\r\n" and b"\r" not in text and b"\0" not in text
    return text if sure else None


def _written(public: EndPoint) -> bytes:
    """An end point as every reader of its family knows it."""
    host = str(int(public.ip)) if public.ip.version == 4 else str(public.ip)
    return f"{host} {public.port}".encode()


def _refuse(line: Line, reason: str, out: Script) -> None:
    """Say that an offer opens nothing. The line gets its verdict elsewhere."""
    out.say(Event("expectation-refused", _said(line), reason))


def _rewrite(line: Line, changes: Sequence[tuple[int, int, bytes]], out: Script) -> None:
    """Let the line pass with each span, in order, replaced by the bytes given."""
    at = 0
    for start, stop, new in changes:
        if line.raw[start:stop] == new:
            continue
        out.let(start - at)
        out.say(Replace(stop - start, new))
        at = stop
    out.let(len(line.raw) - at)


def _said(line: Line) -> str:
    """A line for an event: bounded, one character per byte, escaped by whoever prints it."""
    return line.raw[:SHOWN].decode("latin-1")
