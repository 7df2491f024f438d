"""The FTP conversation: feeds each side's bytes, line by line, to the part that judges them.

The law of this file: the loop and nothing else. Bytes and a clock value in, actions out (`plugin.model`). Syntax
is in grammar, sequences in dialogue, address rules in rules, the operator's keys in policy, verdicts in client and
server.

`Reserve` is always the last action of an answer: `reserved` goes on with the line that asked and with the bytes fed
after it. A side's bytes may stay undecided because of the other side (after AUTH, before a refusal in turn): whoever
drives the machine feeds undecided bytes again after the other side has spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from algate.alg.protocols.base import (
    READ_MOST,
    Action,
    Control,
    EndPoint,
    Pass,
    Progress,
    Refuse,
    Replace,
    Reset,
    Script,
    Side,
    Unattended,
)
from algate.alg.protocols.ftp.client import ClientSide
from algate.alg.protocols.ftp.dialogue import (
    UNATTENDED,
    UNATTENDED_64,
    UNATTENDED_BEFORE,
    UNATTENDED_BEFORE_64,
    Kind,
    Phase,
    Turn,
)
from algate.alg.protocols.ftp.families import negotiation, without_negotiation
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.ftp.server import ServerSide
from algate.alg.protocols.ftp.session import FtpSession
from algate.alg.protocols.lines import IAC, Line, LineReader

CLIENT: Final = Side.CLIENT
SERVER: Final = Side.SERVER
GREETING: Final = Phase.GREETING
OPAQUE: Final = Phase.OPAQUE
UNANSWERED_MOST: Final = 200  # the kernel counts in 8 bits
LINE_MAX: Final = 256  # bytes of a line that may pass unattended (abi.h)
_READS: Final = (Phase.GREETING, Phase.LOGIN, Phase.READY)
_Rest = tuple[Side, bytes, int, bool]


class FtpConversation:
    """One control session. `resumed`: it began before the machine saw it."""

    __slots__ = ("_rest", "_session", "_speakers")

    def __init__(self, control: Control, policy: FtpPolicy, *, resumed: bool = False) -> None:
        session = FtpSession(control, policy, resumed)
        self._session = session
        self._speakers = (
            (LineReader(policy.max_line, strict=policy.strict_lines), ClientSide(session)),
            (LineReader(policy.max_line), ServerSide(session)),
        )
        self._rest: _Rest | None = None

    @property
    def phase(self) -> Phase:
        """How far the dialogue has come."""
        return self._session.phase

    @property
    def live(self) -> dict[int, bool]:
        """By tag, the expectations that may still bring a connection; True if open."""
        return self._session.live

    @property
    def unanswered(self) -> int:
        """How many entries wait for replies; bounded by `pairing.Waiting.CAP`."""
        return len(self._session.waiting)

    def deadline(self) -> float | None:
        """See `model.Impatient`: until when a line of the client may wait for the server."""
        return self._session.deadline

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """See `model.Conversation`."""
        session = self._session
        self._rest = session.asked = None
        session.ending = end
        session.dry = False
        session.now = now
        if session.phase is OPAQUE:
            return (Reset("not-ftp"),) if session.reset else (Pass(len(data)),) if data else ()
        out = Script()
        self._run(side, data, 0, now, end, out)
        return out.done() if out.run else out

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        """See `model.Conversation`."""
        session = self._session
        asked, rest = session.asked, self._rest
        if asked is None or rest is None or asked.tag != tag:
            return ()
        self._rest = session.asked = None
        session.now = now
        side, data, start, end = rest
        reader, speaker = self._speakers[side]
        out = Script()
        if speaker.settle(asked, public, out):
            if asked.line.origin is not None:
                self._clear(asked.line, out)
            if asked.line.flaw is not None:
                reader.accept(asked.line)
            if side is CLIENT:
                session.held_since = None
            self._run(side, data, start + len(asked.line.raw), now, end, out)
        return out.done() if out.run else out

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """See `model.Conversation`."""
        out = Script()
        self._session.ended(tag, outcome, out)
        return out.done() if out.run else out

    def unattended(self) -> Unattended | None:
        """See `model.Terse`. None if lines may have to be refused, or can't be read one by one. While anything that
        matters is unanswered or half agreed all are read; before the log-in nearly all."""
        session = self._session
        if session.many or session.asked or session.barred or session.phase not in _READS:
            return None
        families = session.families
        if families is not None and not families.steady:
            return None
        if session.gate.refusing or session.policy.max_line < LINE_MAX or session.held_since is not None:
            return None
        if not self._speakers[0][0].plain or not self._speakers[1][0].plain:
            return None
        room, unanswered = session.waiting.prospect(READ_MOST)
        if not room:
            return None
        settled = unanswered is not None and unanswered < UNANSWERED_MOST and session.agreed
        lines = UNATTENDED if families is None else UNATTENDED_64
        greeting = session.phase is GREETING
        certain = not session.unclosed
        if unanswered is None or not settled:
            named = self._named()
            asked = not named and session.waiting.asked
            return tuple.__new__(Unattended, (lines, 1 if named or asked else 0, True, named, asked and certain))
        if session.premature:
            lines = UNATTENDED_BEFORE if families is None else UNATTENDED_BEFORE_64
            return tuple.__new__(Unattended, (lines, unanswered + greeting, False, 0, certain))
        return tuple.__new__(Unattended, (lines, unanswered, greeting, 0, certain and not greeting))

    def _named(self) -> int:
        """The tag of the only connection named, if a 200 that comes next agrees to it for certain; else 0."""
        session = self._session
        if session.premature or session.phase is not Phase.READY or session.unclosed:
            return 0
        named = session.waiting.named
        return named if named and session.awaits(named) else 0

    def remember(self) -> int:
        """See `model.Remembers`. 1: the server has accepted no log-in; the other bits are of `families`."""
        families = self._session.families
        return int(self._session.premature) | (families.remember() << 1 if families is not None else 0)

    def missed(self) -> None:
        """See `model.Forgiving`. As after a restart: anything may have been said."""
        session = self._session
        if session.phase is Phase.GREETING or session.phase is Phase.LOGIN:
            session.move(Phase.READY)
        session.waiting.miss()
        if session.families is not None:
            session.families.missed()

    def progress(self) -> Progress:
        """See `model.Tells`."""
        return Progress(self.phase.name.lower(), self.unanswered)

    def skipped(self, commands: int, replies: int) -> None:
        """See `model.Terse`."""
        session, waiting = self._session, self._session.waiting
        if commands and waiting.unseen:
            waiting.overtaken()
        instead = replies and session.phase is Phase.GREETING  # of a greeting: the server asks for a password at once
        if instead:
            session.turn(Turn.RESUMED if waiting and not commands else Turn.GREETED)
        if instead and commands:  # before that or after it: who knows
            waiting.miss()
        else:
            waiting.skip(commands, replies, Kind.IDENTITY if session.premature else Kind.SKIPPED)
        if replies and not waiting.transferring:
            session.audit.over()

    def _run(self, side: Side, data: bytes, start: int, now: float, end: bool, out: Script) -> None:
        reader, speaker = self._speakers[side]
        session = self._session
        if side is CLIENT and session.phase is GREETING and self._foreign_client(data[start:], out):
            return
        while start < len(data):
            if data[start] == IAC:
                start = self._negotiate(reader, data, start, out)
            line = reader.next(data, start, end)
            if line is None:
                break
            if not speaker.judge(line, now, out):
                if session.asked is not None:
                    self._rest = (side, data, start, end)
                elif side is CLIENT:
                    self._hold(now)
                return
            if side is CLIENT:
                session.held_since = None
            if line.origin is not None:
                self._clear(line, out)
            if line.flaw is not None:
                reader.accept(line)
            start += len(line.raw)
        if side is SERVER and session.phase is GREETING and start < len(data):
            if data[start] == IAC and session.families is not None:
                return  # the rest of an option negotiation
            self._speakers[1][1].glimpse(data[start], out)

    def _negotiate(self, reader: LineReader, data: bytes, start: int, out: Script) -> int:
        """Between two IP families the gateway refuses Telnet options by itself (RFC 6384 section 5). Where a line
        begins; a negotiation within one is left to `_clear`. Returns where it goes on."""
        families = self._session.families
        if families is None or families.plain or not reader.plain:
            return start
        while (answer := negotiation(data, start)) is not None:
            out.say(Refuse(3, answer))
            start += 3
        return start

    def _clear(self, line: Line, out: Script) -> None:
        """Leave option negotiation out of a line that has just got its verdict, and answer it."""
        families = self._session.families
        if families is None or families.plain:
            return
        kept, cut, answers = without_negotiation(line.raw)
        size = len(line.raw)
        if not cut:
            return
        cut = min(cut, size - 1)  # an option that is a LF ends this line, and belongs to the next for who knows Telnet
        if out.run:
            out.keep(size)
            out.say(*((Refuse(cut, answers), Replace(size - cut, kept)) if kept else (Refuse(size, answers),)))
            return
        last = out[-1]
        if isinstance(last, Replace):
            out[-1] = Refuse(cut, answers)
            out.say(Replace(size - cut, last.data))
        elif isinstance(last, Refuse):
            out[-1] = Refuse(size, answers + last.answer)

    def _hold(self, now: float) -> None:
        """Start the clock for a client's line that waits for the server; once nothing is read any more, none waits."""
        session = self._session
        if session.phase is Phase.OPAQUE:
            session.held_since = None
        elif session.held_since is None:
            session.held_since = now

    def _foreign_client(self, data: bytes, out: Script) -> bool:
        """Stop reading if a client speaks first, as no FTP client does, and begins with a binary byte (FTP-81): its
        line might never end. Telnet's IAC doesn't count as binary. True: stopped."""
        if not data or data[0] == IAC or self._session.waiting:
            return False
        return self._speakers[1][1].glimpse(data[0], out)
