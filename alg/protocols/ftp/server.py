"""The server's side of the dialogue: replies.

The law of this file: one line in; its verdict and its other effects out, through a Script. `judge` returns False if
the line waits for a public port, or nothing more is read.
"""

from __future__ import annotations

from typing import Final

from algate.alg.protocols.base import EndPoint, Refuse, Replace, Reserve, Script, Side, Withdraw
from algate.alg.protocols.ftp import grammar
from algate.alg.protocols.ftp.dialogue import (
    COMMANDS,
    FINAL,
    FIRST_OF_MANY,
    REPLIES,
    TURNS,
    Effect,
    Kind,
    Phase,
    Reply,
    Turn,
)
from algate.alg.protocols.ftp.grammar import Fault, Form
from algate.alg.protocols.ftp.pairing import Heard
from algate.alg.protocols.ftp.policy import BEFORE_LOGIN, ELSEWHERE, LOW_PORT, NO_PORT, NOT_FTP, UNTOLD, Refusal
from algate.alg.protocols.ftp.rules import Inward, Nothing, Outward, plan, told
from algate.alg.protocols.ftp.session import Asked, FtpSession, said
from algate.alg.protocols.lines import Flaw, Line

_ADDRESSED: Final = {Reply.PASSIVE: Form.PASSIVE, Reply.EXTENDED: Form.EXTENDED}
GREETING: Final = Phase.GREETING
NONE: Final = Effect.NONE
_ANSWERS_A_GREETING: Final = (Reply.GREETING, Reply.FAILED, Reply.CLOSING, Reply.PASSIVE, Reply.EXTENDED)
_FOREIGN: Final = (b"SSH-", b"HTTP/")
_STRANGE_LINES = 100  # lines that a server may send before its 220: legal texts


class ServerSide:
    """Judges what the server says."""

    __slots__ = ("_answer", "_replaced", "_session")

    def __init__(self, session: FtpSession) -> None:
        self._session = session
        self._answer = b""  # what is told instead of the reply just heard, if anything
        self._replaced = False  # the start of this overlong line was, so its rest goes

    def judge(self, line: Line, now: float, out: Script) -> bool:
        """Give the verdict on one line of a reply; False if it waits, or nothing more is read."""
        session = self._session
        if line.flaw is not Flaw.REST:
            self._replaced = False
        if session.phase is GREETING and self.glimpse(line.raw[0], out):
            return False
        head = line.text[:4]
        reply = FINAL.get(head)
        if session.many is None and reply is None and not self._starts(line, head, out):
            return False
        if reply is None or line.flaw is Flaw.REST or line.flaw is Flaw.UNFINISHED or self._is_text(line, reply, out):
            out.let(len(line.raw))
            if session.muted or (self._replaced and line.flaw is Flaw.REST):
                out.keep(len(line.raw))
                out.say(Refuse(len(line.raw), b""))
            return True
        session.many, session.muted = None, False
        if not line.open_ended:
            return self._final(line, reply, out)
        before = len(out)
        going = self._final(line, reply, out)
        self._replaced = any(isinstance(action, Replace) for action in out[before:])
        return going

    def _is_text(self, line: Line, reply: Reply, out: Script) -> bool:
        """Whether a line with a code and a blank isn't a reply of its own (FTP-24): it is inside a multi-line reply of
        another code and isn't an awaited reply, or it is the last line of one that seemed to have ended before."""
        session, code = self._session, line.text[:3]
        if session.many is None:
            if session.unclosed == code and reply not in _ADDRESSED:
                session.unclosed = None
                return True
            return False
        if code == session.many:
            return False
        if reply in (Reply.OK, Reply.FAILED) and session.waiting.next is Kind.NAME:
            heard = session.waiting.hear(reply, code, quoted=True)  # it may be either, so it makes nothing certain
            session.settle(heard.fates, line.flaw.value if line.flaw else "", out)
            return True
        if session.waiting.ends(reply, session.many_since) and not (
            session.phase is GREETING and reply in _ANSWERS_A_GREETING
        ):
            session.unclosed = session.many
            return False
        return True

    def settle(self, asked: Asked, public: EndPoint | None, out: Script) -> bool:
        """Go on with a 227 or 229: it has its public port, or none is free."""
        session, line, named = self._session, asked.line, asked.named
        if named is None:
            return self._secured(line, asked.tag, public, out)
        if public is None:
            session.dry = True
            return self._instead(line, NO_PORT, out)
        mapped, public = public, told(session.control, session.policy, named.form, public)
        if asked.translated and session.families is not None:
            replaced: bytes | None = session.families.tells(public, line.raw)
        else:
            replaced = line.replaced(named.start, named.stop, grammar.write(named, public))
        if replaced is None:
            out.say(Withdraw(asked.tag, Fault.BAD_SYNTAX.value))
            return self._unannounced(line, Fault.BAD_SYNTAX.value, False, None, out)
        announced = None if public == mapped else public
        session.expect(asked.tag, Inward(asked.inside, announced), True, out, named.form, public)
        self._answered(line, out)
        if replaced == line.raw:
            out.let(len(line.raw))
        else:
            out.say(Replace(len(line.raw), replaced))
        return True

    def glimpse(self, first: int, out: Script) -> bool:
        """Stop reading if a greeting begins with a byte of a binary protocol: TLS, Telnet options (FTP-81)."""
        if 9 <= first < 14 or 32 <= first < 127:
            return False
        self._session.leave(Turn.FOREIGN, "not-ftp", out)
        return True

    def _starts(self, line: Line, head: bytes, out: Script) -> bool:
        """A line that neither is a final reply nor continues one. False: this isn't an FTP server."""
        session = self._session
        if line.flaw is Flaw.REST or line.flaw is Flaw.UNFINISHED:
            return True
        if head in FIRST_OF_MANY:
            session.many, session.many_since = head[:3], session.waiting.said
            if session.families is not None:
                session.muted = session.families.mutes(session.waiting.next, head[:3])
        elif session.phase is Phase.GREETING:
            if session.lines_heard >= _STRANGE_LINES or line.flaw is Flaw.NUL or line.text.startswith(_FOREIGN):
                session.leave(Turn.FOREIGN, "not-ftp", out)
                return False
            session.lines_heard += 1
        elif COMMANDS.get(head.upper()) is Kind.NAME:
            out.say(session.event("violation", said(line.text), "wrong-side"))
        return True

    def _final(self, line: Line, reply: Reply, out: Script) -> bool:
        session = self._session
        waiting = session.waiting
        if reply is Reply.PRELIMINARY:
            session.settle(waiting.began().fates, "", out)
            out.let(len(line.raw))
            return True
        if session.phase is GREETING:
            greeting = not waiting or reply in _ANSWERS_A_GREETING
            session.turn(Turn.GREETED if greeting else Turn.RESUMED)
            if greeting:
                if reply in _ADDRESSED:
                    out.say(session.event("violation", said(line.text), "unasked-reply"))
                out.let(len(line.raw))
                return True
        if reply in _ADDRESSED or reply is Reply.SECURED:
            heard = waiting.hear(reply, line.text[:3], keep=False)
            kind = heard.kind
            if kind is not None and REPLIES.get((kind, reply)) is Effect.ANNOUNCE:
                form, families = _ADDRESSED[reply], session.families
                translated = families is not None and families.was_asked(form, kind, heard.number)
                return self._announce(line, form, translated, out)
            if reply in _ADDRESSED:
                out.say(session.event("violation", said(line.text), "unasked-reply"))
        heard = self._answered(line, out)
        if reply is not Reply.MORE and reply is not Reply.GREETING:
            session.unsure = False
        if heard.kind is Kind.TRANSFER:
            session.audit.answered(line.text, out)
        effect = REPLIES.get((heard.kind, reply), NONE) if heard.kind else NONE
        if heard.kind is None and reply is Reply.WELCOME and session.control.resumed:
            effect = Effect.LOGGED_IN  # the USER or PASS that it answers went on before the restart
        if effect is Effect.RESTART:
            if session.policy.before_login:
                session.supersede_open(out, reason="reinitialised")
            else:
                session.withdraw_all("reinitialised", out)
        if effect is Effect.FAREWELL:
            session.withdraw_pending("unanswered", out)
        if effect is Effect.SECURE:
            return self._secure(line, out)
        if effect in TURNS:
            session.turn(TURNS[effect])
        if self._answer:
            out.say(Replace(len(line.raw), self._answer))
        else:
            out.let(len(line.raw))
        return True

    def _answered(self, line: Line, out: Script) -> Heard:
        """Pair the reply with a command, and apply what that means for the connections that were named."""
        session, reply = self._session, FINAL[line.text[:4]]
        heard = session.waiting.hear(reply, line.text[:3])
        session.settle(heard.fates, line.flaw.value if line.flaw else "", out)
        if session.families is not None:
            self._answer = session.families.answered(heard.kind, heard.number)
            if heard.kind is Kind.AUTH and reply is not Reply.FAILED and reply is not Reply.CLOSING:
                session.families.plain = True  # RFC 6384 section 5: whatever follows isn't touched
        return heard

    def _secure(self, line: Line, out: Script) -> bool:
        """TLS follows this line and nothing more is read, so what is to come must be let in beforehand."""
        session = self._session
        session.withdraw_all("tls", out)
        ports, tag = session.policy.tls_passive_ports, session.new_tag()
        if ports is not None and session.control.inside_side is Side.SERVER:
            inside = EndPoint(session.control.inside.ip, ports.first)
            session.asked = Asked(tag, line, None, inside)
            out.say(Reserve(tag, inside, count=len(ports), shared=True))
            return False
        if ports is None and session.control.inside_side is Side.SERVER:
            detail = "TLS: tls_passive_ports is not set for this server"
            out.say(session.event("expectation-refused", detail, "tls-no-ports"))
        return self._secured(line, tag, None, out)

    def _secured(self, line: Line, tag: int, public: EndPoint | None, out: Script) -> bool:
        session = self._session
        ports = session.policy.tls_passive_ports
        if ports is not None and public is None and session.control.inside_side is Side.SERVER:
            out.say(session.event("expectation-refused", "TLS: others hold all of tls_passive_ports", NO_PORT.reason))
        elif ports is not None:
            session.unlock(tag, public, ports, out)
        out.let(len(line.raw))
        session.leave(Turn.SECURED, "tls", out)
        return False

    def _announce(self, line: Line, form: Form, translated: bool, out: Script) -> bool:
        """A 227 or 229 that was asked for: what it names, and what the gateway must do for it. `translated`: it was
        asked for in the other family's form, so the client is told in its own."""
        session = self._session
        session.supersede_open(out)
        if line.flaw is not None:
            return self._unannounced(line, line.flaw.value, translated, None, out)
        named = grammar.read(form, line.text, session.server_version)
        if isinstance(named, Fault) or line.replaced(named.start, named.stop, b"") is None:
            fault = named if isinstance(named, Fault) else Fault.BAD_SYNTAX
            return self._unannounced(line, fault.value, translated, None, out)
        what = plan(session.control, session.policy, Side.SERVER, named)
        to = EndPoint(session.control.ip(Side.SERVER), named.port)
        if isinstance(what, Nothing):
            if translated and what.reason == ELSEWHERE.reason:
                return self._instead(line, ELSEWHERE, out)
            if form is Form.EXTENDED and session.control.inside_side is Side.SERVER:
                return self._instead(line, LOW_PORT, out)  # the client would try a public port that isn't this one's
            return self._unannounced(line, what.reason, translated, to, out)
        if session.phase is Phase.CLOSING:
            return self._unannounced(line, "after-quit", translated, to, out)
        if session.barred:
            return self._instead(line, NOT_FTP, out)
        if session.premature:
            if isinstance(what, Inward):
                return self._instead(line, BEFORE_LOGIN, out)
            return self._unannounced(line, BEFORE_LOGIN.reason, translated, to, out)
        if session.dry and isinstance(what, Inward):
            return self._instead(line, NO_PORT, out)
        tag = session.new_tag()
        if isinstance(what, Inward):
            session.asked = Asked(tag, line, named, what.inside, translated)
            out.say(Reserve(tag, what.inside))
            return False
        if translated:
            what = Outward(to)  # 229 names no address, whatever the 227 named: the client connects to its control peer
        session.expect(tag, what, True, out, form)
        self._answered(line, out)
        out.let(len(line.raw))
        if translated:
            self._retell(line, to, out)
        return True

    def _retell(self, line: Line, to: EndPoint, out: Script) -> None:
        """A 227 or 229 that was let pass: say the same in the client's form."""
        if self._session.families is not None:
            out.keep(len(line.raw))
            out.say(Replace(len(line.raw), self._session.families.tells(to, line.raw)))

    def _unannounced(self, line: Line, reason: str, translated: bool, to: EndPoint | None, out: Script) -> bool:
        """Let a reply pass that opens nothing, whatever the client makes of it. `to`: what it names, if it does."""
        session = self._session
        if translated and (to is None or session.control.inside_side is Side.SERVER):
            return self._instead(line, UNTOLD, out)
        out.say(session.event("expectation-refused", said(line.text), reason))
        self._answered(line, out)
        out.let(len(line.raw))
        if translated and to is not None:
            self._retell(line, to, out)
        return True

    def _instead(self, line: Line, refusal: Refusal, out: Script) -> bool:
        """Give the client another reply to its PASV or EPSV."""
        event = self._session.event("expectation-refused", said(line.text), refusal.reason)
        out.say(event, Replace(len(line.raw), refusal.answer))
        self._answered(line, out)
        return True
