"""The client's side of the dialogue: commands.

The law of this file: one line in; its verdict and its other effects out, through a Script. `judge` returns False if
the line has to wait (for a public port, for the server's answer to earlier commands) or nothing more is read.
"""

from __future__ import annotations

import re
from typing import Final

from algate.alg.protocols.base import EndPoint, Event, Refuse, Replace, Reserve, Script, Side, Withdraw
from algate.alg.protocols.ftp import grammar
from algate.alg.protocols.ftp.audit import parsed, shown
from algate.alg.protocols.ftp.dialogue import COMMANDS, Kind, Phase, Turn
from algate.alg.protocols.ftp.families import NOOP, REASONS
from algate.alg.protocols.ftp.grammar import Fault, Form
from algate.alg.protocols.ftp.policy import BEFORE_LOGIN, NO_PORT, NOT_FTP, TOO_FAST, TOO_MANY, UNREADABLE, Refusal
from algate.alg.protocols.ftp.rules import Inward, Nothing, Outward, plan, told
from algate.alg.protocols.ftp.session import Asked, FtpSession, said
from algate.alg.protocols.lines import Flaw, Line

_CODE: Final = re.compile(rb"[0-9]{3}(?:-.*)?", re.DOTALL)
# Any method: a page may choose its own (RFC 9110 section 9.1).
_HTTP: Final = re.compile(rb"[!-~]+ [^ ]+ HTTP/[0-9]\.[0-9]")
_CR_NUL: Final = b"\r\0"
_ANSWERS_MOST: Final = 8  # answers expected at most for one odd line
_FORMS: Final = {b"PORT": Form.PORT, b"EPRT": Form.EPRT}
OTHER: Final = Kind.OTHER


class ClientSide:
    """Judges what the client says."""

    __slots__ = ("_refusing", "_securing", "_session")

    def __init__(self, session: FtpSession) -> None:
        self._session = session
        self._refusing = False  # the start of this overlong line was refused, so its rest is too

    def judge(self, line: Line, now: float, out: Script) -> bool:
        """Give the verdict on one command line; False if it has to wait."""
        session = self._session
        if line.flaw is Flaw.REST:
            return self._rest(line, out)
        if session.waiting.unseen:
            session.waiting.overtaken()
        if session.waiting.securing and not session.ending:
            if not session.overdue:
                return False  # FTP-35: the next byte may be TLS already
            session.waiting.securing = False
            out.say(session.event("violation", "AUTH", "answer-overdue"))
        if session.families is not None and session.families.answers and not session.ending:
            if not session.overdue:
                return False  # the answer to the former comes first, and a restart has no more than one to remember
            session.forgo(out)
        if session.unclosed is not None and not session.waiting:
            session.unclosed = None
        verb, argument = parsed(line.text)
        if not verb and line.flaw is None:
            session.waiting.add(OTHER, may=True)  # some servers answer a blank line, others don't
            out.let(len(line.raw))
            return True
        kind = COMMANDS.get(verb, OTHER)
        if line.text[-9:-3] == b" HTTP/" and not self._request(line, kind, out):
            return False
        if not session.waiting.room(kind):
            return self._refuse(line, TOO_MANY, said(verb), out)
        if line.flaw is not None:
            return self._flawed(line, verb, out)
        if kind is Kind.NAME and session.premature and not session.overdue and (session.unsure or self._too_soon()):
            return False  # until it is known what becomes of a log-in that was sent ahead of it
        if session.gate.refusing:
            refusal = session.gate.refuses(verb, argument) or (UNREADABLE if not session.gate.clear(line.raw) else None)
            if refusal is None and session.gate.hurries(now):  # last, because it counts the command
                refusal = TOO_FAST
            if refusal:
                return self._refuse(line, refusal, shown(verb, argument), out)
        if session.families is not None and (verb == b"EPSV" or verb == b"ALGS"):
            answer = session.families.instead(verb, argument)
            if answer:
                return self._instead(line, verb, argument, answer, out)
        if 0 in line.raw and _CR_NUL in line.raw:  # some servers take it for the end of a line
            session.waiting.add(OTHER, may=True, count=min(line.raw.count(_CR_NUL), _ANSWERS_MOST))
        if kind is OTHER:
            return self._other(line, verb, out)
        return self._meaningful(line, kind, verb, argument, out)

    def settle(self, asked: Asked, public: EndPoint | None, out: Script) -> bool:
        """Go on with a PORT or EPRT: it has its public port, or none is free. False: the line waits for another try."""
        session, line, named = self._session, asked.line, asked.named
        assert named is not None
        if public is None:
            session.dry = True
            return self._refuse(line, NO_PORT, f"{named.form} {asked.inside}", out)
        mapped, public = public, told(session.control, session.policy, named.form, public)
        if session.families is not None:
            replaced: bytes | None = session.families.names(public)
        else:
            replaced = line.replaced(named.start, named.stop, grammar.write(named, public))
        if not replaced:
            out.say(Withdraw(asked.tag, Fault.BAD_SYNTAX.value))
            return self._unnamed(line, Fault.BAD_SYNTAX.value, out)
        announced = None if public == mapped else public
        session.expect(asked.tag, Inward(asked.inside, announced), False, out, named.form, public)
        session.waiting.add(Kind.NAME, asked.tag)
        session.audit.command(line.text, "pass" if replaced == line.raw else "rewrite", "", out)
        if replaced == line.raw:
            out.let(len(line.raw))
        else:
            out.say(Replace(len(line.raw), replaced))
        return True

    def _meaningful(self, line: Line, kind: Kind, verb: bytes, argument: bytes, out: Script) -> bool:
        session = self._session
        if kind is Kind.NAME:
            return self._name(line, _FORMS[verb], out)
        if kind is Kind.EPSV and argument.strip().upper() == b"ALL":
            kind = Kind.EPSV_ALL
        elif kind in (Kind.PASV, Kind.EPSV):
            session.supersede(out)
        number = session.waiting.said
        session.waiting.add(kind)
        if session.families is not None and kind in (Kind.PASV, Kind.EPSV):
            asks = session.families.asks(kind, argument, number)
            if asks:
                session.audit.command(line.text, "rewrite", "", out)
                out.say(Replace(len(line.raw), asks))
                return True
        session.audit.command(line.text, "pass", "", out)
        if kind is Kind.IDENTITY:
            session.audit.identified(verb, argument)
        elif kind is Kind.TRANSFER:
            session.audit.transfer(verb, argument, out)
        out.let(len(line.raw))
        return True

    def _name(self, line: Line, form: Form, out: Script) -> bool:
        """PORT or EPRT: what it names, and what the gateway must do for it."""
        session = self._session
        named = grammar.read(form, line.text, session.client_version)
        if isinstance(named, Fault) or line.replaced(named.start, named.stop, b"") is None:
            return self._unnamed(line, (named if isinstance(named, Fault) else Fault.BAD_SYNTAX).value, out)
        what = plan(session.control, session.policy, Side.CLIENT, named)
        if isinstance(what, Nothing):
            return self._unnamed(line, what.reason, out)
        if session.mixed and not (session.families is not None and session.families.on):
            return self._unnamed(line, "untranslated", out)
        if session.barred:
            return self._refuse(line, NOT_FTP, form, out)
        if session.phase is Phase.CLOSING:
            return self._unnamed(line, "after-quit", out)
        if session.premature:
            return self._refuse(line, BEFORE_LOGIN, form, out)
        if session.dry and isinstance(what, Inward):
            return self._refuse(line, NO_PORT, f"{form} {what.inside}", out)
        session.supersede(out)
        tag = session.new_tag()
        if isinstance(what, Inward):
            session.asked = Asked(tag, line, named, what.inside)
            out.say(Reserve(tag, what.inside))
            return False
        return self._outward(line, form, tag, what, out)

    def _outward(self, line: Line, form: Form, tag: int, what: Outward, out: Script) -> bool:
        session = self._session
        names = b""
        if session.families is not None:
            names = session.families.names(what.to)
            if not names:
                return self._unnamed(line, "untranslated", out)
        session.expect(tag, what, False, out, form)
        session.waiting.add(Kind.NAME, tag)
        session.audit.command(line.text, "rewrite" if names else "pass", "", out)
        if names:
            out.say(Replace(len(line.raw), names))
        else:
            out.let(len(line.raw))
        return True

    def _unnamed(self, line: Line, reason: str, out: Script) -> bool:
        """Let a line pass that opens nothing, whatever the server answers."""
        session = self._session
        session.audit.command(line.text, "pass", reason, out)
        out.say(session.event("expectation-refused", said(line.text), reason))
        self._session.waiting.add(Kind.NAME)
        out.let(len(line.raw))
        return True

    def _instead(self, line: Line, verb: bytes, argument: bytes, answer: int, out: Script) -> bool:
        """A command that the gateway answers: the server gets a NOOP, whose answer will be replaced. In turn, so that
        it can be no other's."""
        session = self._session
        assert session.families is not None
        if self._too_soon() and not session.overdue:
            return False
        reason = REASONS.get(answer, "")
        if reason:
            fields = session.audit.fields(verb, "refuse")
            out.say(Event("command-refused", shown(verb, argument), reason, fields))
        else:
            session.audit.command(line.text, "rewrite", "", out)
        session.waiting.add(Kind.INSTEAD)
        session.families.answers.append(answer)
        out.say(Replace(len(line.raw), NOOP))
        return True

    def _other(self, line: Line, verb: bytes, out: Script) -> bool:
        session = self._session
        if verb[:1].isdigit() and _CODE.fullmatch(verb):
            out.say(session.event("violation", said(line.text), "wrong-side"))
        session.audit.command(line.text, "pass", "", out)
        session.waiting.add(OTHER, may=verb == b"ABOR" and session.waiting.transferring)
        out.let(len(line.raw))
        return True

    def _request(self, line: Line, kind: Kind, out: Script) -> bool:
        """A browser was lured here (NAT slipstreaming): nothing from now on is a client's own wish. False: stop."""
        session = self._session
        if (session.phase is Phase.READY and kind is not OTHER) or not _HTTP.fullmatch(line.text):
            return True  # after a login it may be a file's name
        if session.gate.strict:
            session.leave(Turn.FOREIGN, "http-request", out)
            return False
        if not session.barred:
            session.barred = True
            out.say(session.event("violation", reason="http-request"))
        return True

    def _flawed(self, line: Line, verb: bytes, out: Script) -> bool:
        """A line that can't be read: it opens nothing, and passes only if the policy needn't read every line."""
        session = self._session
        reason = line.flaw.value if line.flaw else ""
        if session.gate.strict:
            if line.flaw is Flaw.NUL and session.phase is Phase.GREETING:
                session.leave(Turn.FOREIGN, "not-ftp", out)
                return False
            self._refusing = self._refuse(line, UNREADABLE, reason, out)
            return self._refusing
        self._refusing = False
        session.audit.command(verb, "pass", reason, out)
        if line.flaw in (Flaw.NUL, Flaw.TOO_LONG) and session.phase in (Phase.GREETING, Phase.LOGIN):
            session.barred = True  # not an FTP client: a request with a long path, a binary protocol (FTP-81)
        out.say(session.event("violation", reason=reason))
        if verb == b"AUTH":
            session.waiting.add(Kind.AUTH)
        elif line.flaw is Flaw.BARE_LF:
            session.waiting.add(OTHER)
        elif line.flaw is not Flaw.UNFINISHED:  # servers answer it once, never, or as if it were several lines
            session.waiting.add(OTHER, may=True, count=min(2 + line.raw.count(b"\r", 0, -2), _ANSWERS_MOST))
        out.let(len(line.raw))
        return True

    def _rest(self, line: Line, out: Script) -> bool:
        if self._refusing:
            out.say(Refuse(len(line.raw), b""))
        else:
            out.let(len(line.raw))
        return True

    def _too_soon(self) -> bool:
        """Whether the server has yet to answer earlier commands, or to greet."""
        session = self._session
        return not session.ending and (session.waiting.owing or session.phase is Phase.GREETING)

    def _refuse(self, line: Line, refusal: Refusal, detail: str, out: Script) -> bool:
        """Answer in the server's name, in turn: not before the server has answered all earlier commands (FTP-88)."""
        session = self._session
        if self._too_soon():
            if refusal is NOT_FTP and (session.overdue or session.phase is Phase.GREETING):
                # The server is silent because this isn't FTP: let it pass, and read nothing more.
                session.leave(Turn.FOREIGN, NOT_FTP.reason, out)
                return False
            if not session.overdue:
                return False
            out.say(session.event("violation", detail, "answer-overdue"))
        fields = session.audit.fields(parsed(line.text)[0], "refuse")
        out.say(Event("command-refused", detail, refusal.reason, fields), Refuse(len(line.raw), refusal.answer))
        return True
