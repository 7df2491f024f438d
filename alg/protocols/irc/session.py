"""One IRC control session: offers of the inside client are rewritten and opened, everything else passes.

The law of this file: the dialogue. What makes both sides agree: the inside client's offer of an address of its own, and
whoever takes it up by connecting, once. Nothing that the server says opens anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
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

LINE_LIMIT = 4096  # bytes; longer lines pass in pieces. IRC's own limit is 512.
FIRST_WORDS = (b"CAP", b"PASS", b"NICK", b"USER")  # RFC 2812 section 3.1, IRCv3 capability negotiation
SHOWN = 128  # bytes of a line that an event carries
_STARTTLS = re.compile(rb":[^ ]+ 670 ")


class Policy(Interface):
    """The keys of [alg.irc] that are read here."""

    @property
    def any_peer(self) -> bool: ...
    @property
    def min_port(self) -> int: ...
    @property
    def expect_timeout(self) -> float: ...
    @property
    def max_offers(self) -> int: ...


class Live(NamedTuple):
    """An offer as it left: the client's own port, and the public one that the other side was told."""

    own: int
    public: int


class Asked(NamedTuple):
    """An offer whose port is being asked for."""

    tag: int
    line: Line
    offer: dcc.Offer


class IrcConversation:
    """`_live`: offers by tag, the latest `max_offers`. `_irc`: the client began as IRC clients do, None: not yet."""

    def __init__(self, control: Control, policy: Policy) -> None:
        self._control = control
        self._policy = policy
        self._readers = {side: LineReader(LINE_LIMIT, strict=True) for side in Side}
        self._irc: bool | None = True if control.resumed else None
        self._asks_tls = False
        self._live: dict[int, Live] = {}
        self._tag = 0
        self._asked: Asked | None = None

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """Line by line, until one waits for its end or for a public port. What can't become DCC doesn't wait."""
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
        """What came of a line, to be let go before its end; None: it has to wait."""
        word = raw.upper()
        if self._irc is None and side is Side.CLIENT and any(first.startswith(word) for first in FIRST_WORDS):
            return None
        if dcc.may_become(raw, side is Side.SERVER):
            return None
        return Line(raw, raw, Flaw.REST, open_ended=True)

    def _server(self, line: Line, out: Script) -> bool:
        """Nothing of the server's opens anything. True: nothing more is read, TLS begins."""
        starts = self._asks_tls and _STARTTLS.match(line.text) is not None
        if not _readable(line) or not self._translated(line, True, out):
            out.let(len(line.raw))
        if starts:
            out.say(Bypass("starttls"))
        return starts

    def _client(self, line: Line, out: Script) -> bool:
        """Judge a line of the client; True if its verdict waits for a public port."""
        if self._irc is None:
            self._irc = line.text.partition(b" ")[0].upper() in FIRST_WORDS
        self._asks_tls = self._asks_tls or line.text.upper() == b"STARTTLS"
        if not _readable(line) or not dcc.is_dcc(line.text):
            out.let(len(line.raw))
            return False
        offer = dcc.offer(line.text)
        if offer is None:
            if not self._translated(line, False, out):
                self._refuse(line, "malformed-offer", out)
            return False
        reason = self._objection(offer)
        if reason:
            self._refuse(line, reason, out)
            return False
        self._make_room(out)
        self._tag += 1
        self._asked = Asked(self._tag, line, offer)
        out.say(Reserve(self._tag, EndPoint(self._control.inside.ip, offer.port)))
        return True

    def _objection(self, offer: dcc.Offer) -> str:
        """Why an offer opens nothing, or nothing."""
        if offer.port == 0:
            return "passive-offer"  # the other side will listen: an ordinary connection from inside
        if not self._irc:
            return "not-irc"
        if offer.ip is None:
            return "address-form"
        if offer.ip != self._control.inside.ip:
            return "not-client-address"
        if offer.port > 65535:
            return "bad-number"
        if offer.port < self._policy.min_port:
            return "port-too-low"
        return "" if self._policy.any_peer else "any-peer-off"

    def _refuse(self, line: Line, reason: str, out: Script) -> None:
        out.say(Event("expectation-refused", _said(line), reason))
        out.let(len(line.raw))

    def _make_room(self, out: Script) -> None:
        while len(self._live) >= self._policy.max_offers:
            tag = next(iter(self._live))
            del self._live[tag]
            out.say(Withdraw(tag, "superseded"))

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        """The verdict on the offer that waited."""
        asked, self._asked = self._asked, None
        out = Script()
        if asked is not None and asked.tag == tag:
            self._grant(asked, public, out)
        return out.done()

    def _grant(self, asked: Asked, public: EndPoint | None, out: Script) -> None:
        tag, line, offer = asked.tag, asked.line, asked.offer
        if public is None:
            self._refuse(line, "no-port", out)
            return
        new = b"%d %d" % (int(public.ip), public.port)
        if len(line.raw) + len(new) - (offer.stop - offer.start) > dcc.LINE_MAX:
            out.say(Withdraw(tag, "line-would-overflow"))  # a server would cut its end off
            self._refuse(line, "line-would-overflow", out)
            return
        self._live[tag] = Live(offer.port, public.port)
        fields = (("state", "open"), ("from", "any"), ("to", f"{self._control.inside.ip}:{offer.port}"))
        out.say(
            Expect(tag, Direction.IN, None, None, self._policy.expect_timeout, open=True),
            Event("expectation-made", _said(line), fields=fields),
        )
        _rewrite(line, offer.start, offer.stop, new, out)

    def _translated(self, line: Line, prefixed: bool, out: Script) -> bool:
        """RESUME and ACCEPT name a port that an offer named: each side must read the one that it knows."""
        found = dcc.agreed(line.text, prefixed) if dcc.is_dcc(line.text) else None
        if found is None:
            return False
        ports = {(live.public if prefixed else live.own): live for live in self._live.values()}
        live = ports.get(found.port)
        port = found.port if live is None else live.own if prefixed else live.public
        _rewrite(line, found.start, found.stop, b"%d" % port, out)
        return True

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """Taken up, or never; a used offer stays known, since a transfer may be resumed under it."""
        if outcome != "used":
            self._live.pop(tag, None)
        return [Event(f"expectation-{outcome}")]


def _readable(line: Line) -> bool:
    """IRC knows no Telnet: a line in which somebody might see some is not for us."""
    return line.flaw is None and line.origin is None


def _rewrite(line: Line, start: int, stop: int, new: bytes, out: Script) -> None:
    """Let the line pass with text[start:stop] exchanged."""
    if line.raw[start:stop] == new:
        out.let(len(line.raw))
        return
    out.let(start)
    out.say(Replace(stop - start, new))
    out.let(len(line.raw) - stop)


def _said(line: Line) -> str:
    """A line for an event: bounded, one character a byte, escaped by whoever prints it."""
    return line.raw[:SHOWN].decode("latin-1")
