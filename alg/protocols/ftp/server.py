"""The server's side of the dialogue: replies.

The law of this file: one line in; its verdict and what else it brings about out, through a Script. `judge` says False
if the line waits for a public port, or nothing is read from here on.
"""

from __future__ import annotations

from typing import Final

from algate.alg.protocols.base import EndPoint, Event, Replace, Reserve, Script, Side, Withdraw
from algate.alg.protocols.ftp import grammar
from algate.alg.protocols.ftp.dialogue import (
    COMMANDS,
    FINAL,
    FIRST_OF_MANY,
    REPLIES,
    TURNS,
    Effect,
    Kind,
    Pending,
    Phase,
    Reply,
    Turn,
)
from algate.alg.protocols.ftp.grammar import Fault, Form
from algate.alg.protocols.ftp.policy import NO_PORT, NOT_FTP, Refusal
from algate.alg.protocols.ftp.rules import Inward, Nothing, plan, told
from algate.alg.protocols.ftp.session import Asked, Session, said
from algate.alg.protocols.lines import Flaw, Line

_ADDRESSED = {Reply.PASSIVE: Form.PASSIVE, Reply.EXTENDED: Form.EXTENDED}
GREETING: Final = Phase.GREETING
NONE: Final = Effect.NONE
_ANSWERS_A_GREETING = (Reply.GREETING, Reply.FAILED, Reply.CLOSING, Reply.PASSIVE, Reply.EXTENDED)
_FOREIGN = (b"SSH-", b"HTTP/")
_STRANGE_LINES = 3  # that a server may say before its 220


class Server:
    """Judges what the server says."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def judge(self, line: Line, now: float, out: Script) -> bool:
        """The verdict on one line of a reply; False: it waits, or nothing is read from here on."""
        session = self._session
        if session.phase is GREETING and self.glimpse(line.raw[0], out):
            return False
        head = line.text[:4]
        if session.many is None:
            reply = FINAL.get(head)
            if reply is None and not self._starts(line, head, out):
                return False
        else:
            reply = FINAL.get(head) if head[:3] == session.many else None  # FTP-24: text inside counts for nothing
        if reply is None or line.flaw is Flaw.REST or line.flaw is Flaw.UNFINISHED:
            out.let(len(line.raw))
            return True
        session.many = None
        return self._final(line, reply, out)

    def settle(self, asked: Asked, public: EndPoint | None, out: Script) -> bool:
        """The public port for a 227 or 229 is there, or there is none."""
        session, line, named = self._session, asked.line, asked.named
        if named is None:
            return self._secured(line, asked.tag, public, out)
        if public is None:
            session.dry = True
            return self._instead(line, NO_PORT, out)
        mapped, public = public, told(session.control, session.policy, named.form, public)
        replaced = line.replaced(named.start, named.stop, grammar.write(named, public))
        if replaced is None:
            out.say(Withdraw(asked.tag, Fault.BAD_SYNTAX.value))
            return self._unannounced(line, Fault.BAD_SYNTAX.value, out)
        seen = f"{named.form.value} {asked.inside} as {public}"
        session.expect(asked.tag, Inward(asked.inside, None if public == mapped else public), True, out, seen)
        session.waiting.answered()
        if replaced == line.raw:
            out.let(len(line.raw))
        else:
            out.say(Replace(len(line.raw), replaced))
        return True

    def glimpse(self, first: int, out: Script) -> bool:
        """Leave if a greeting begins with a byte of a binary protocol: TLS, Telnet options (FTP-81)."""
        if 9 <= first < 14 or 32 <= first < 127:
            return False
        self._session.leave(Turn.FOREIGN, "not-ftp", out)
        return True

    def _starts(self, line: Line, head: bytes, out: Script) -> bool:
        """A line that is no final reply and continues none. False: this is no FTP server."""
        session = self._session
        if line.flaw is Flaw.REST or line.flaw is Flaw.UNFINISHED:
            return True
        if head in FIRST_OF_MANY:
            session.many = head[:3]
        elif session.phase is Phase.GREETING:
            if session.lines_heard >= _STRANGE_LINES or line.flaw is Flaw.NUL or line.text.startswith(_FOREIGN):
                session.leave(Turn.FOREIGN, "not-ftp", out)
                return False
            session.lines_heard += 1
        elif COMMANDS.get(head.upper()) is Kind.NAME:
            out.say(Event("violation", said(line.text), "wrong-side"))
        return True

    def _final(self, line: Line, reply: Reply, out: Script) -> bool:
        session = self._session
        if reply is Reply.PRELIMINARY:
            out.let(len(line.raw))
            return True
        oldest = session.waiting.oldest
        if session.phase is GREETING:
            if oldest is None or reply in _ANSWERS_A_GREETING:
                oldest = None
                session.turn(Turn.GREETED)
            else:
                session.turn(Turn.RESUMED)
        effect = REPLIES.get((oldest.kind, reply), NONE) if oldest else NONE
        if oldest and oldest.kind is Kind.UNSEEN:
            effect = _of_unseen(effect, oldest, line.text[:3])
        if effect is NONE and reply not in _ADDRESSED:
            if oldest:
                if oldest.kind is Kind.TRANSFER:
                    session.audit.answered(line.text, out)
                session.waiting.answered()
            out.let(len(line.raw))
            return True
        if effect is Effect.ANNOUNCE:
            return self._announce(line, _ADDRESSED[reply], out)
        if reply in _ADDRESSED:
            out.say(Event("violation", said(line.text), "unasked-reply"))
        if oldest is not None and effect is not Effect.STRAY:
            self._bring_about(effect, oldest, line, out)
            session.waiting.answered()
        if effect is Effect.SECURE:
            return self._secure(line, out)
        out.let(len(line.raw))
        return True

    def _secure(self, line: Line, out: Script) -> bool:
        """TLS follows this line: nothing is read any more, so what shall come must be let in beforehand."""
        session = self._session
        session.withdraw_all("tls", out)
        ports, tag = session.policy.tls_passive_ports, session.new_tag()
        if ports is not None and session.control.inside_side is Side.SERVER:
            inside = EndPoint(session.control.inside.ip, ports.first)
            session.asked = Asked(tag, line, None, inside)
            out.say(Reserve(tag, inside, count=len(ports), shared=True))
            return False
        if ports is None and session.control.inside_side is Side.SERVER:
            out.say(Event("expectation-refused", "TLS: tls_passive_ports is not set for this server", "tls-no-ports"))
        return self._secured(line, tag, None, out)

    def _secured(self, line: Line, tag: int, public: EndPoint | None, out: Script) -> bool:
        session = self._session
        ports = session.policy.tls_passive_ports
        if ports is not None and public is None and session.control.inside_side is Side.SERVER:
            out.say(Event("expectation-refused", "TLS: others hold all of tls_passive_ports", NO_PORT.reason))
        elif ports is not None:
            session.unlock(tag, public, ports, out)
        out.let(len(line.raw))
        session.leave(Turn.SECURED, "tls", out)
        return False

    def _bring_about(self, effect: Effect, answered: Pending, line: Line, out: Script) -> None:
        """What the reply does to expectations and phase; a reply that can't be trusted agrees to nothing."""
        session = self._session
        if effect is Effect.AGREE and line.flaw is None:
            session.agree(answered.tag, out)
        elif effect is Effect.AGREE or effect is Effect.DECLINE:
            session.withdraw(answered.tag, line.flaw.value if line.flaw else "declined", out)
        elif effect is Effect.RESTART:
            session.supersede_open(out, reason="reinitialised")
        if effect in TURNS and effect is not Effect.SECURE:
            session.turn(TURNS[effect])

    def _announce(self, line: Line, form: Form, out: Script) -> bool:
        """227 or 229 that was asked for: what it names, and what that asks of the gateway."""
        session = self._session
        session.supersede_open(out)
        if line.flaw is not None:
            return self._unannounced(line, line.flaw.value, out)
        named = grammar.read(form, line.text, session.control.remote.ip.version)
        if isinstance(named, Fault) or line.replaced(named.start, named.stop, b"") is None:
            return self._unannounced(line, (named if isinstance(named, Fault) else Fault.BAD_SYNTAX).value, out)
        what = plan(session.control, session.policy, Side.SERVER, named)
        if isinstance(what, Nothing):
            return self._unannounced(line, what.reason, out)
        if session.phase is Phase.CLOSING:
            return self._unannounced(line, "after-quit", out)
        if session.barred:
            return self._instead(line, NOT_FTP, out)
        if session.dry and isinstance(what, Inward):
            return self._instead(line, NO_PORT, out)
        tag = session.new_tag()
        if isinstance(what, Inward):
            session.asked = Asked(tag, line, named, what.inside)
            out.say(Reserve(tag, what.inside))
            return False
        session.expect(tag, what, True, out, f"{form.value} {what.to}")
        session.waiting.answered()
        out.let(len(line.raw))
        return True

    def _unannounced(self, line: Line, reason: str, out: Script) -> bool:
        """The client may make of it what it likes; no connection is let through for it."""
        out.say(Event("expectation-refused", said(line.text), reason))
        self._session.waiting.answered()
        out.let(len(line.raw))
        return True

    def _instead(self, line: Line, refusal: Refusal, out: Script) -> bool:
        """The client gets another reply to its PASV or EPSV."""
        out.say(Event("expectation-refused", said(line.text), refusal.reason), Replace(len(line.raw), refusal.answer))
        self._session.waiting.answered()
        return True


def _of_unseen(effect: Effect, unseen: Pending, code: bytes) -> Effect:
    """A reply after a restart answers the PORT that was left pending if it can (RFC 959 section 5.4: 200 alone agrees),
    else something that was said before it."""
    if not unseen.tag:
        return NONE if effect in (Effect.AGREE, Effect.DECLINE) else effect
    return Effect.STRAY if effect is NONE or (effect is Effect.AGREE and code != b"200") else effect
