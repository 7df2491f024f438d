"""What both speakers of one FTP control session share: the dialogue's state, and the list of its expectations.

The law of this file: state and the few moves that keep it consistent. It parses nothing; its effects go into a
Script.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, final

from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.spelled import joined
from algate.alg.protocols.base import (
    Bypass,
    Control,
    Direction,
    EndPoint,
    Event,
    Expect,
    Open,
    PortRange,
    Reset,
    Script,
    Side,
    Withdraw,
    written,
)
from algate.alg.protocols.ftp.audit import Audit, said
from algate.alg.protocols.ftp.dialogue import Phase, Turn, after
from algate.alg.protocols.ftp.families import FtpTranslation
from algate.alg.protocols.ftp.grammar import Form, Named
from algate.alg.protocols.ftp.pairing import Fate, Waiting
from algate.alg.protocols.ftp.policy import FtpPolicy, Gate
from algate.alg.protocols.ftp.rules import Inward, Outward
from algate.alg.protocols.lines import Line

__all__ = ["ACTS_AFTER", "Asked", "FtpSession", "said"]

# pyftpdlib answers a PORT only after its data connection is up: its SYN waits at most this long for the 2xx.
ACTS_AFTER: Final = 0.05  # s
# How long a line waits for the server at most; slow servers answer AUTH and QUIT within this time.
HELD_MOST: Final = 30.0  # s
BARRED_MOST: Final = 1.0  # s, in a session that isn't FTP
LASTING: Final = 1_000_000.0  # s, 11 days: well within what the kernel's clock for expectations can hold

IN: Final = Direction.IN
OUT: Final = Direction.OUT
CLIENT: Final = Side.CLIENT
SERVER: Final = Side.SERVER
READY: Final = Phase.READY

_Fields = tuple[tuple[str, str | int | float], ...]


@final
class Asked(Fixed):
    """A line that waits for its public port. `named` None: a 234 that waits for the ports of FTPS data."""

    __match_args__: Final = ("tag", "line", "named", "inside", "translated")

    def __init__(self, tag: int, line: Line, named: Named | None, inside: EndPoint, translated: bool = False) -> None:
        self.tag: Final = tag
        self.line: Final = line
        self.named: Final = named
        self.inside: Final = inside
        self.translated: Final = translated  # a 227 or 229 that was asked for in the other family's form


@final
class _Live(Fixed):
    """An expectation that may still bring a connection. `seen`: how events name it to the operator."""

    __match_args__: Final = ("open", "seen", "fields", "pending")

    def __init__(self, open: bool, seen: str, fields: _Fields, pending: Expect | None = None) -> None:
        self.open: Final = open
        self.seen: Final = seen
        self.fields: Final = fields
        self.pending: Final = pending  # what was expected, in case it has to be sent again


class FtpSession:
    """One control session.

    `many`: the code of the multi-line reply in progress, `many_since`: how many commands had been said when it began;
    `unclosed`: the code of one that was ended by a reply with another code. `barred`: the client isn't an FTP client.
    `held_since`: when the client's next line began to wait for the server. For the present feed: `now`; `ending`:
    nothing comes after it, so nothing may wait; `dry`: no public port was free, so none is asked for again.
    `mixed`: client and server are of two IP families; `families`: how commands are translated then; `muted`: the lines
    before the last one of the reply in progress don't go on, because it becomes another one.
    `premature`: no data connection may be agreed on, because the server has accepted no log-in. Once it has, only REIN
    takes that away, not another USER (RFC 959 section 4.1.1: transfer parameters are unchanged). `unsure`: a log-in may
    have been under way before a restart, and the server hasn't said yet what becomes of it.
    """

    __slots__ = (
        "_early", "_live", "_tag", "asked", "audit", "barred", "client_version", "control", "dry", "ending", "families",
        "gate", "held_since", "lines_heard", "many", "many_since", "mixed", "muted", "now", "phase", "policy",
        "premature", "reset", "server_version", "unclosed", "unsure", "waiting",
    )  # fmt: skip

    def __init__(self, control: Control, policy: FtpPolicy, resumed: bool) -> None:
        self.control = control
        self.policy = policy
        self.gate = Gate(policy)
        self.audit = Audit(control.audience)
        self.phase = Phase.GREETING
        if resumed:  # unknown counts as logged in: a session that was at work goes on
            self.phase = Phase.LOGIN if control.remembered & 1 else Phase.READY
        self.premature = self.phase < READY and not policy.before_login
        self.unsure = resumed and self.premature
        self.waiting = Waiting(resumed, [one.tag for one in control.left if not one.open])
        within, beyond = control.inside.ip.version, control.remote.ip.version
        client_inside = control.inside_side is CLIENT
        self.client_version, self.server_version = (within, beyond) if client_inside else (beyond, within)
        self.mixed = self.client_version != self.server_version
        self.families: FtpTranslation | None = None
        if self.mixed and policy.nat64 == "translate":
            self.families = FtpTranslation(control, control.remembered >> 1 if resumed else 0)
            if self.families.answers:
                self.waiting.replacing()
        self.muted = False
        self.ending = False
        self.dry = False
        self.many: bytes | None = None
        self.many_since = 0
        self.unclosed: bytes | None = None
        self.held_since: float | None = None
        self.now = 0.0
        self.asked: Asked | None = None
        self.barred = False
        self.reset = False
        self.lines_heard = 0  # from the server, before its greeting
        self._tag = 0
        self._live: dict[int, _Live] = {}  # expectations by tag
        self._early: set[int] = set()  # tags of those used before the server agreed
        for left in control.left:
            fields = (("from", str(left.peer)), ("to", str(left.to)))
            self._live[left.tag] = _Live(left.open, f"from before the restart: {left.to}", fields)

    def turn(self, turn: Turn) -> None:
        """Move on as the table says."""
        self.move(after(self.phase, turn))

    def move(self, phase: Phase) -> None:
        """From now on the dialogue is in this phase."""
        self.phase = phase
        self.premature = phase < READY and not self.policy.before_login

    def new_tag(self) -> int:
        """The next tag; none is used twice within a session."""
        self._tag += 1
        return self._tag

    def event(self, event: str, detail: str = "", reason: str = "", fields: _Fields = ()) -> Event:
        """An event that says the user, once the client has given a name."""
        user = self.audit.user
        return Event(event, detail, reason, (*fields, ("user", user)) if user else fields)

    @property
    def agreed(self) -> bool:
        """Whether nothing that may still bring a connection is pending."""
        return all(live.open for live in self._live.values())

    def awaits(self, tag: int) -> bool:
        """Whether that tag's alone may still bring a connection, and is pending."""
        live = self._live.get(tag)
        return live is not None and not live.open and len(self._live) == 1

    @property
    def live(self) -> dict[int, bool]:
        """By tag, the expectations that may still bring a connection; True if open."""
        return {tag: live.open for tag, live in self._live.items()}

    def expect(
        self, tag: int, plan: Inward | Outward, opened: bool, out: Script, form: Form, public: EndPoint | None = None
    ) -> None:
        """Make the expectation of a plan. `public`: what a line of that form names instead."""
        control = self.control
        to: EndPoint | None = None
        if isinstance(plan, Inward):
            direction, peer, target = IN, control.remote.ip, joined(plan.inside.ip, plan.inside.port)
        else:
            direction, peer, target, to = OUT, control.inside.ip, joined(plan.to.ip, plan.to.port), plan.to
        self.audit.named(tag)
        seen = f"{form} {target}" if public is None else f"{form} {target} as {joined(public.ip, public.port)}"
        fields: _Fields = (("state", "open" if opened else "pending"), ("from", written(peer)), ("to", target))
        if isinstance(plan, Inward) and plan.announced is not None:
            fields += (("announced", str(plan.announced)),)
        made = Expect(
            tag,
            direction,
            peer,
            to,
            self.policy.expect_timeout,
            open=opened,
            acts_after=None if opened else ACTS_AFTER,
            from_port=None if opened or not self.policy.strict_source_port else self.data_port,
        )
        self._live[tag] = _Live(opened, seen, fields[1:], None if opened else made)
        out.say(made, self.event("expectation-made", seen, fields=fields))

    @property
    def overdue(self) -> bool:
        """Whether the client's next line has waited for the server as long as it may."""
        deadline = self.deadline
        return deadline is not None and self.now >= deadline

    @property
    def deadline(self) -> float | None:
        """Until when the client's next line may wait for the server; None if it doesn't wait."""
        if self.held_since is None:
            return None
        return self.held_since + (BARRED_MOST if self.barred else HELD_MOST)

    def forgo(self, out: Script) -> None:
        """The server doesn't answer the gateway's NOOP: the client gets no answer for the command that it stood for."""
        if self.families is not None:
            self.families.answers.clear()
        out.say(self.event("violation", "NOOP", "answer-overdue"))

    def settle(self, fates: tuple[tuple[int, Fate], ...], flaw: str, out: Script) -> None:
        """Apply a reply's effect on named connections; a reply that can't be trusted (`flaw`) agrees to nothing."""
        for tag, fate in fates:
            if fate is Fate.AGREED and not flaw:
                self.agree(tag, out)
            elif fate is Fate.DOUBTED or fate is Fate.CLEARED:
                self.doubt(tag, fate is Fate.DOUBTED, out)
            else:
                self.withdraw(tag, flaw or ("unanswered" if fate is Fate.PASSED else "declined"), out)

    @property
    def data_port(self) -> int:
        """The server's data port, one below its control port (RFC 959 section 5.2)."""
        control = self.control
        return (control.inside if control.inside_side is SERVER else control.remote).port - 1

    def unlock(self, tag: int, public: EndPoint | None, ports: PortRange, out: Script) -> None:
        """TLS begins, so lines can't be read: open a range of ports for data connections while this session lives."""
        control = self.control
        last = ports.first + len(ports) - 1
        if control.inside_side is Side.SERVER:
            direction, peer, to = Direction.IN, control.remote.ip, public
        else:
            direction, peer, to = Direction.OUT, control.inside.ip, EndPoint(control.remote.ip, ports.first)
        assert to is not None
        out.say(
            Expect(tag, direction, peer, to, LASTING, open=True, once=False, ports=len(ports)),
            self.event("expectation-made", f"TLS {to}-{last}", fields=(("state", "open"), ("from", str(peer)))),
        )

    def agree(self, tag: int, out: Script) -> None:
        """Both sides agreed: open it. Only the newest agreed connection stays open (FTP-28)."""
        live = self._live.get(tag)
        if live is not None:
            self.supersede_open(out, before=tag)
            self._live[tag] = _Live(True, live.seen, live.fields)
            out.say(Open(tag), self.event("expectation-opened", live.seen, fields=live.fields))
        elif tag in self._early:
            self._early.discard(tag)
            out.say(Open(tag))

    def doubt(self, tag: int, doubted: bool, out: Script) -> None:
        """While it may have been declined, the peer's connecting doesn't count as agreement, only its reply does."""
        live = self._live.get(tag)
        if live is None or live.pending is None:
            return
        pending = replace(live.pending, acts_after=None if doubted else ACTS_AFTER)
        if pending != live.pending:
            self._live[tag] = _Live(live.open, live.seen, live.fields, pending)
            out.say(pending)
            if doubted:
                out.say(self.event("expectation-refused", live.seen, "replies-uncertain"))

    def withdraw(self, tag: int, reason: str, out: Script) -> None:
        """End an expectation if it still lives; of one that was used before the server agreed, say that it doesn't."""
        live = self._live.pop(tag, None)
        if live is not None:
            out.say(Withdraw(tag, reason), self.event("expectation-withdrawn", live.seen, reason, live.fields))
        elif tag in self._early:
            self._early.discard(tag)
            out.say(Withdraw(tag, reason))

    def withdraw_pending(self, reason: str, out: Script) -> None:
        """End what was named and never agreed on."""
        for tag in [tag for tag, live in self._live.items() if not live.open]:
            self.withdraw(tag, reason, out)

    def supersede(self, out: Script) -> None:
        """A newer connection is being named: end older ones, unless an unanswered transfer may still use one."""
        if self._live and not self.waiting.transferring:
            self.withdraw_all("superseded", out)

    def supersede_open(self, out: Script, before: int | None = None, reason: str = "superseded") -> None:
        """End what was agreed on (before: only what was named before that tag)."""
        for tag in [tag for tag, live in self._live.items() if live.open and (before is None or tag < before)]:
            self.withdraw(tag, reason, out)

    def withdraw_all(self, reason: str, out: Script) -> None:
        """End all expectations."""
        for tag in list(self._live):
            self.withdraw(tag, reason, out)

    def ended(self, tag: int, outcome: str, out: Script) -> None:
        """The engine reports that the expectation was used or expired."""
        live = self._live.pop(tag, None)
        if live is not None:
            if outcome == "used" and not live.open and len(self._early) < Waiting.CAP:
                self._early.add(tag)
            out.say(self.event(f"expectation-{outcome}", live.seen, fields=live.fields))

    def leave(self, turn: Turn, reason: str, out: Script) -> None:
        """Stop reading this session. If the policy relies on reading, an unreadable one is reset instead."""
        self.withdraw_all(reason, out)
        self.turn(turn)
        if turn is Turn.FOREIGN and self.gate.strict:
            self.reset = True
            out.say(Reset(reason))
        else:
            out.say(Bypass(reason))
