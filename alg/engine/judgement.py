"""Between flows and plug-ins: feed what is undecided, carry out what a conversation says.

The law of this file: the only place that calls a plug-in. Whatever a plug-in does wrong costs its own session alone.
What fails here without being a plug-in's fault (PluginFaultError, see contract.py) is the engine's, and is called so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from algate.alg.plugin.contract import (
    NEVER,
    REMEMBERED_MOST,
    SOUND,
    Call,
    PluginFaultError,
    answered,
    due,
    kind_of,
    left,
    raised,
    whole,
)
from algate.alg.plugin.model import (
    Action,
    Bypass,
    Control,
    Conversation,
    Event,
    Expect,
    Open,
    Pass,
    Progress,
    Purpose,
    Refuse,
    Replace,
    Reserve,
    Reset,
    Unattended,
    WholeConversation,
    Withdraw,
)
from algate.alg.plugin.scrub import scrubbed

from .effects import Announce, Describe, PutAdjust, PutLines
from .expectations import Expectations, NoExpectationError
from .flow import Flow, Span
from .limits import Limits
from .session import Session, Track
from .sink import Sink

DEPTH_MAX: Final = 16  # answers to Reserve that reserve again

_ABOUT_BYTES: Final = (Pass, Replace, Refuse, Reserve)
_BESIDE: Final = frozenset((Event, Purpose, Expect, Open, Withdraw))  # change nothing about the bytes that are fed

OpenConversation = Callable[[Control], Conversation | None]  # PluginFaultError of what the plug-in did wrong
Anybody = Callable[[Control], bool]


class Judgement:
    """Runs conversations. Verdicts go to the flow being fed, everything else to the sink."""

    def __init__(
        self,
        open_conversation: OpenConversation,
        book: Expectations,
        counts: Counter[str],
        limits: Limits,
        anybody: Anybody,
        track: Track,
        call: Call,
    ) -> None:
        self._track = track
        self._call = call
        self.on_failure = limits.on_failure
        self.classify = limits.classify
        self.stated = False  # the kernel begins sessions by a statement of its own, which may have been withdrawn since
        self._told: set[int] = set()
        self._named = 0  # of the line that is read
        self._open = open_conversation
        self._anybody = anybody
        self._expectations = book
        self._counts = counts
        self._limits = limits

    def begin(self, session: Session, out: Sink) -> None:
        """Ask for a conversation; without one the session passes."""
        try:
            opened = self._open(session.control)
            session.conversation = None if opened is None else cast(WholeConversation, self._call(whole, opened))
        except Exception as error:  # a fault is its session's alone
            self.failed(session, error, out)
        if session.conversation is None:
            session.passing = True

    def account(self, session: Session, word: int, ts_recent: tuple[int, int], out: Sink) -> None:
        """Take account of what passed without the helper. `word`: track.lines, at the moment of `ts_recent`."""
        told = session.catch_up(word)
        if told is not None and session.timestamps:
            for flow, latest in zip(session.flows, ts_recent, strict=True):
                if latest:
                    flow.stamp(latest)
        if told is None or session.conversation is None:
            return
        try:
            self._call(session.conversation.skipped, told.commands, told.replies)
        except Exception as error:  # as above
            self.failed(session, error, out)

    def declare_unattended(self, session: Session, out: Sink) -> None:
        """Decide which lines may pass without the helper from the next adjust record on."""
        self.declare(session, self.declared(session, out), out)

    def declare(self, session: Session, said: Unattended | None, out: Sink) -> None:
        """These may, by the next adjust record."""
        session.account.unattended = said
        if said is not None and said.lines.number not in self._told:
            self._told.add(said.lines.number)
            out.append(PutLines(said.lines.number, said.lines))

    def declared(self, session: Session, out: Sink) -> Unattended | None:
        """Which lines may pass without the helper as things stand."""
        self._remember(session, out)
        conversation, flows = session.conversation, session.flows
        if not self.classify or conversation is None or session.passing or session.reset:
            return None
        if session.account.missing or not _rests(flows[0]) or not _rests(flows[1]):
            return None
        try:
            return left(self._call(conversation.unattended))
        except Exception as error:  # as above
            self.failed(session, error, out)
            return None

    def declare_beginning(self, session: Session, out: Sink) -> None:
        """Nothing was said yet: what may pass of the first lines."""
        self._remember(session, out)
        if session.conversation is None or session.passing:
            return
        said: Unattended | None = None
        if self.classify:
            try:
                said = left(self._call(session.conversation.unattended))
            except Exception as error:  # as above
                self.failed(session, error, out)
                return
        if said is not None:
            self.declare(session, said, out)
        if said is not None or self.stated:
            out.append(PutAdjust(session.record()))

    def _remember(self, session: Session, out: Sink) -> None:
        """What a helper that takes over is told from the next adjust record on."""
        if session.conversation is None or session.passing or session.reset:
            return
        try:
            said: Any = session.conversation.remember()  # not by _call, which would cost each line as much again
            if not isinstance(said, int) or not 0 <= said <= REMEMBERED_MOST:
                raise PluginFaultError("remember() gave what isn't a number from 0 to 255")
            session.remembered = said
        except Exception as error:  # a fault is its session's alone
            self.failed(session, raised(error), out)

    def read(
        self, session: Session, flow: Flow, data: bytes, out: Sink, named: int = 0, retold: bool = False
    ) -> None:  # fmt: skip
        """Let the conversation read a line that has passed. It can only agree to that. `named`: the id under which the
        kernel expects what the line names; `retold`: it went on in other words, as long as these."""
        self._named = named
        try:
            self._read(session, flow, data, retold, out)
        finally:
            self._named = 0  # whatever failed: it is no other line's

    def _read(self, session: Session, flow: Flow, data: bytes, retold: bool, out: Sink) -> None:
        if session.conversation is None or session.passing:
            return
        actions = self.ask(session, flow, data, False, out)
        if session.reset or session.passing:  # that failed
            return
        if _retells(actions, len(data)) if retold else _lets_all(actions, len(data)):  # nearly always
            if len(actions) > 1:
                self.perform(session, None, actions[:-1], out)
            return
        verdicts = [action for action in actions if isinstance(action, _ABOUT_BYTES)]
        others = [action for action in actions if not isinstance(action, _ABOUT_BYTES)]
        if not (_replaces(verdicts, len(data)) if retold else _passes(verdicts, len(data))):
            self.failed(session, PluginFaultError("it doesn't let pass what it said may pass"), out)
            return
        self.perform(session, None, others, out)

    def missed(self, session: Session, out: Sink) -> None:
        """Lines passed that the conversation will never read."""
        if session.conversation is None or session.passing:
            return
        try:
            self._call(session.conversation.missed)
        except Exception as error:  # as above
            self.failed(session, error, out)
        self._remember(session, out)

    def lets(self, session: Session, flow: Flow, data: bytes, out: Sink) -> bool:
        """Judge bytes that continue a quiet stream. True: they pass as they are. False: they are pending and judged."""
        actions = self.ask(session, flow, data, False, out)
        if _lets_all(actions, len(data)):
            if len(actions) > 1:
                self._carry_out(session, None, actions[:-1], out)
                actions = actions[-1:]
            if not session.passing:
                return True
        flow.stream.accept(flow.stream.next, data)
        self.perform(session, flow, actions, out)
        return False

    def deadline(self, session: Session, out: Sink) -> float:
        """When the conversation wants to be fed again though nothing came; never: infinity."""
        if session.conversation is None or session.passing or session.reset:
            return NEVER
        try:
            return due(self._call(session.conversation.deadline))
        except Exception as error:  # as above
            self.failed(session, error, out)
            return NEVER

    def feed(self, session: Session, flow: Flow, out: Sink) -> bool:
        """Judge what is undecided in a direction. True if any verdict came."""
        before = flow.judged
        if session.conversation is not None and not session.passing:
            actions = self.ask(session, flow, flow.undecided(), flow.stream.ended, out)
            self.perform(session, flow, actions, out)
        else:
            self.sweep(session)
        return flow.judged > before

    def ask(self, session: Session, flow: Flow, data: bytes, end: bool, out: Sink) -> Sequence[Action]:
        """What the conversation says of undecided bytes."""
        assert session.conversation is not None
        try:
            return answered(
                self._call(session.conversation.feed, session.sides[flow.direction], data, out.now, end=end)
            )
        except Exception as error:  # as above
            self.failed(session, error, out)
            return ()

    def perform(self, session: Session, flow: Flow | None, actions: Sequence[Action], out: Sink) -> None:
        """Carry out what a conversation said; `flow`: whose bytes its verdicts are about.

        Behind bytes that waited for a port there may be more to judge: as long as that brings verdicts, they are fed.
        """
        asked = self._carry_out(session, flow, actions, out)
        while flow is not None and asked:
            before = flow.judged
            if before == len(flow.stream.pending) or session.datagrams or session.passing or session.reset:
                break
            actions = self.ask(session, flow, flow.undecided(), flow.stream.ended, out)
            asked = self._carry_out(session, flow, actions, out)
            if flow.judged == before:
                break
        self.sweep(session)

    def _carry_out(self, session: Session, flow: Flow | None, actions: Sequence[Action], out: Sink) -> bool:
        """Whether a port was asked for."""
        try:
            return self._perform(session, flow, actions, out)
        except Exception as error:  # as above
            self.failed(session, error, out)
            return False

    def sweep(self, session: Session) -> None:
        """Pass what nobody will judge: all of a passing session, the rest before a FIN."""
        for flow in session.flows:
            size = len(flow.stream.pending) - flow.judged
            if size and (session.passing or flow.stream.ended):
                flow.judge(Span(size))
            elif size > self._limits.pending or len(flow.spans) > self._limits.verdicts:
                self._counts["undecided-limit"] += 1
                session.reset = session.reset or "undecided-limit"

    def outcome(self, session: Session, tag: int, outcome: str, out: Sink) -> None:
        """Tell the conversation what became of an expectation."""
        if session.conversation is None or session.passing:
            return
        try:
            actions = answered(self._call(session.conversation.outcome, tag, outcome, out.now))
        except Exception as error:  # as above
            self.failed(session, error, out)
            actions = ()
        self.perform(session, None, actions, out)

    def failed(self, session: Session, error: Exception, out: Sink) -> None:
        """Tell whose fault it was, the plug-in's or the engine's, and follow the policy for a session that nobody can
        judge any more: no expectation of it survives."""
        told = fault(session.info.session, session.control, error)
        reason = told.event.reason
        self._counts[reason] += 1
        out.append(told)
        self._expectations.withdraw_all(session.book, reason, out)
        session.conversation = None
        session.passing = True
        if self.on_failure == "reset":
            session.reset = reason

    def progress(self, session: Session) -> Progress:
        """How far the dialogue has come, as far as the plug-in says. Failing at this question costs no session."""
        try:
            told = self._call(session.conversation.progress) if session.conversation is not None else None
        except PluginFaultError:
            self._counts["progress-failed"] += 1
            told = None
        return told if isinstance(told, Progress) else Progress()

    def _perform(
        self,
        session: Session,
        flow: Flow | None,
        actions: Sequence[Action],
        out: Sink,
        depth: int = 0,
    ) -> bool:
        """Whether a port was asked for."""
        asked = False
        for said in actions:
            kind, action = type(said), cast(Any, said)
            if kind not in SOUND:
                kind = kind_of(said)
            if kind is Event:
                out.append(Announce(session.info.session, session.control, action))
            elif kind is Pass or kind is Replace or kind is Refuse:
                self._verdict(flow, action, kind)
            elif kind is Reserve:
                asked = True
                self._reserve(session, flow, action, out, depth)
            elif kind is Expect:
                self._expect(session, action, out)
            elif kind is Open:
                self._expectations.open(session.book, action.tag, out)
            elif kind is Withdraw:
                self._expectations.withdraw(session.book, action.tag, "withdrawn", action.reason, out)
            elif kind is Purpose:
                out.append(Describe(session.info.session, session.control, action))
            elif kind is Bypass:
                session.passing = True
                event = Event("bypass", reason=action.reason)
                out.append(Announce(session.info.session, session.control, event))
            elif kind is Reset:
                session.reset = session.reset or action.reason or "plugin"
        return asked

    def _verdict(self, flow: Flow | None, action: Any, kind: type) -> None:
        if flow is None:
            raise PluginFaultError("a verdict where nothing was fed")
        room, size = len(flow.stream.pending) - flow.judged, int(action.size)
        if not 0 < size <= room:
            raise PluginFaultError(f"a verdict on {size} bytes of {room}")
        if kind is Pass:
            flow.judge(Span(size))
            return
        said = bytes(action.data if kind is Replace else action.answer)  # a plug-in may say it as a bytearray
        if kind is Replace:
            if not said:
                raise PluginFaultError("a replacement by nothing: Refuse says that")
            flow.judge(Span(size, said))
        else:
            if len(said) > self._limits.answer:
                raise PluginFaultError(f"an answer of {len(said)} bytes")
            flow.judge(Span(size, b"", said))

    def _reserve(self, session: Session, flow: Flow | None, action: Reserve, out: Sink, depth: int) -> None:
        if session.conversation is None or depth >= DEPTH_MAX:
            raise PluginFaultError("Reserve answered by Reserve without end")
        public = self._expectations.reserve(session.book, session.info, action, out)
        if public is None:
            self._counts["no-port"] += 1
        answer = answered(self._call(session.conversation.reserved, action.tag, public, out.now))
        self._perform(session, flow, answer, out, depth + 1)

    def _expect(self, session: Session, action: Expect, out: Sink) -> None:
        try:
            if not session.datagrams and not all(flow.started for flow in session.flows):
                # The other side's word takes another way: nobody will ever agree here.
                raise NoExpectationError("one-way")
            if action.peer is None and not self._anybody(session.control):
                raise NoExpectationError("expectation-anybody")
            named, self._named = self._named, 0
            self._expectations.expect(session.book, session.info, action, out, named)
        except NoExpectationError as refused:
            reason = str(refused)
            self._counts[reason] += 1
            event = Event("expectation-refused", reason=reason)
            out.append(Announce(session.info.session, session.control, event))


def fault(session: int, control: Control | None, error: Exception) -> Announce:
    """What is told of a plug-in's fault, or of one of the engine's own with the error itself."""
    if isinstance(error, PluginFaultError):
        return Announce(session, control, Event("plugin-failed", str(error)[:200], "plugin-failed"))
    event = Event("engine-failed", f"{type(error).__name__}: {scrubbed(str(error))}"[:200], "engine-failed")
    return Announce(session, control, event, error)


def _lets_all(actions: Sequence[Action], size: int) -> bool:
    """Whether a conversation lets all of `size` bytes pass, and whatever else it says needs none of them."""
    if not actions:
        return False
    last = actions[-1]
    if type(last) is not Pass or last.size != size:
        return False
    return len(actions) == 1 or _BESIDE.issuperset(map(type, actions[:-1]))


def _retells(actions: Sequence[Action], size: int) -> bool:
    """Whether it puts as many other bytes in the place of all of `size`; whatever else it says needs none of them."""
    if not actions:
        return False
    last = actions[-1]
    if type(last) is not Replace or last.size != size or len(last.data) != size:
        return False
    return len(actions) == 1 or _BESIDE.issuperset(map(type, actions[:-1]))


def _passes(verdicts: Sequence[Action], size: int) -> bool:
    """Whether they let `size` bytes pass."""
    passing = [one.size for one in verdicts if isinstance(one, Pass)]
    return len(passing) == len(verdicts) and sum(passing) == size


def _replaces(verdicts: Sequence[Action], size: int) -> bool:
    """Whether it is one that puts as many other bytes in the place of `size`."""
    if len(verdicts) != 1 or not isinstance(verdicts[0], Replace):
        return False
    return verdicts[0].size == size and len(verdicts[0].data) == size


def _rests(flow: Flow) -> bool:
    """Whether it stands at its decided end, with nothing undecided, owed, refused, inserted or over."""
    ledger, stream = flow.ledger, flow.stream
    if not flow.started or stream.pending or stream.later or flow.fin_released or flow.spans or stream.fin is not None:
        return False
    if ledger.answers or ledger.promised > ledger.decided:
        return False
    return not (ledger.stored and any(chunk.new == b"" for chunk in ledger.chunks))
