"""Whose fault it is: the plug-in's, by its call or its answers, or the engine's own code's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.delivery import Delivery
from algate.alg.engine.engine import Engine
from algate.alg.engine.expectations import Expectations
from algate.alg.engine.flow import Flow
from algate.alg.engine.limits import Limits
from algate.alg.engine.repetition import Repetition
from algate.alg.helper.guard import Guard
from algate.alg.plugin import contract
from algate.alg.plugin.contract import PluginFaultError, answered, left, plainly, whole
from algate.alg.plugin.model import (
    Action,
    Bypass,
    Control,
    Direction,
    EndPoint,
    Event,
    Expect,
    Lines,
    Open,
    Pass,
    Progress,
    Purpose,
    Refuse,
    Replace,
    Reserve,
    Reset,
    Unattended,
    Withdraw,
)
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy
from algate.alg.testing import control
from tests.toy import Ports, TellingToy, Toy
from tests.wire import INFO, Lab

pytestmark = pytest.mark.unit
ODD: Any = object()
HOST = IPv4Address("10.0.0.5")
END = EndPoint(HOST, 21)


def raising() -> None:
    raise KeyError("x")


def test_what_a_plug_in_raises_is_its_fault_with_the_cause() -> None:
    with pytest.raises(PluginFaultError, match=r"KeyError: \.\.\.") as caught:
        plainly(raising)
    assert isinstance(caught.value.__cause__, KeyError)
    again = PluginFaultError("as it is")
    assert contract.raised(again) is again


# -- parts of a conversation -------------------------------------------------------------------------------------------


def test_a_whole_conversation_is_itself() -> None:
    made = PLUGIN.open(control(), FtpPolicy())
    assert whole(made) is made
    assert whole(made).progress() == Progress("greeting", 0)


def test_missing_parts_are_filled_in_and_no_call_is_added() -> None:
    toy = Toy(control())
    made = whole(toy)
    assert made.feed == toy.feed and made.reserved == toy.reserved and made.outcome == toy.outcome
    assert (made.unattended(), made.progress(), made.deadline()) == (None, Progress(), None)
    assert whole(TellingToy(control())).progress() == Progress("unwrapping", 0)


class Half(Toy):
    def unattended(self) -> None:
        """Without skipped()."""


class NoOutcome:
    feed = reserved = Toy.feed


@pytest.mark.parametrize(
    ("made", "reason"),
    [(Half(control()), "both or neither"), (NoOutcome(), r"has no outcome\(\)"), (ODD, r"has no feed\(\)")],
)
def test_a_part_of_a_conversation_is_a_fault(made: Any, reason: str) -> None:
    with pytest.raises(PluginFaultError, match=reason):
        whole(made)


# -- actions -----------------------------------------------------------------------------------------------------------

GOOD: list[Action] = [
    Pass(3), Replace(3, b"x"), Refuse(3, b""), Reserve(1, END), Reserve(1, END, 2, True, "udp", True),
    Expect(1, Direction.OUT, HOST, END, 1.0), Expect(1, Direction.IN, None, None, 60, "udp", True, False, 0.5, 20, 10),
    Open(1), Withdraw(1, "why"), Event("seen", "x", "y", (("a", 1), ("b", "c"), ("d", 1.5))), Event("seen"),
    Purpose(1, "RETR f", (("verb", "RETR"),)), Bypass("tls"), Reset("why"),
]  # fmt: skip
BAD: list[Any] = [
    Pass(ODD), Replace(3, ODD), Replace(ODD, b"x"), Refuse(3, ODD),
    Reserve(ODD, END), Reserve(1, ODD), Reserve(1, EndPoint(ODD, 1)), Reserve(1, EndPoint(HOST, 65536)),
    Reserve(1, EndPoint(HOST, ODD)), Reserve(1, END, 0), Reserve(1, END, -1), Reserve(1, END, proto="icmp"),
    Expect(ODD, Direction.IN, HOST, END, 1.0), Expect(1, ODD, HOST, END, 1.0), Expect(1, Direction.IN, ODD, END, 1.0),
    Expect(1, Direction.IN, HOST, ODD, 1.0), Expect(1, Direction.IN, HOST, END, ODD),
    Expect(1, Direction.IN, HOST, END, float("nan")), Expect(1, Direction.IN, HOST, END, float("inf")),
    Expect(1, Direction.IN, HOST, END, -1.0), Expect(1, Direction.IN, HOST, END, 1.0, "sctp"),
    Expect(1, Direction.IN, HOST, END, 1.0, acts_after=ODD), Expect(1, Direction.IN, HOST, END, 1.0, from_port=-1),
    Expect(1, Direction.IN, HOST, END, 1.0, ports=-1), Open(ODD), Withdraw(ODD), Withdraw(1, ODD),
    Event(ODD), Event("x", ODD), Event("x", "y", ODD), Event("x", fields=ODD), Event("x", fields=((1, 2),)),  # type: ignore[arg-type]
    Event("x", fields=(("a", ODD),)), Event("x", fields=(("a",),)), Purpose(1, ODD), Purpose(1, "x", ODD),  # type: ignore[arg-type]
    Bypass(ODD), Reset(ODD), ODD, None, b"x",
]  # fmt: skip


@dataclass(frozen=True)
class Loud(Event):
    """An event of a plug-in's own class."""


@pytest.mark.parametrize("action", [*GOOD, Loud("x")], ids=lambda one: type(one).__name__)
def test_what_can_be_carried_out_comes_through(action: Action) -> None:
    for actions in ([action], (action,)):
        assert answered(actions) is actions


@pytest.mark.parametrize("action", BAD, ids=lambda one: type(one).__name__)
def test_what_cant_is_the_plug_ins_fault(action: Any) -> None:
    with pytest.raises(PluginFaultError):
        answered([Pass(1), action])


@pytest.mark.parametrize("actions", [None, ODD, b"ab", (one for one in GOOD), Pass(1), "text"])
def test_only_a_list_is_an_answer(actions: Any) -> None:
    with pytest.raises(PluginFaultError, match="is not a list of actions"):
        answered(actions)


def test_what_is_left_unattended() -> None:
    good = Unattended(Lines(frozenset((b"NOOP",)), frozenset((b"200",))), 3)
    assert left(good) is good and left(None) is None
    odd = good._replace(unanswered=-1), good._replace(unanswered=ODD), good._replace(settles=ODD)
    for bad in (ODD, (), Unattended(ODD), *odd):
        with pytest.raises(PluginFaultError, match=r"unattended\(\) gave"):
            left(bad)


# -- in the engine's hands ---------------------------------------------------------------------------------------------


class Answering(Toy):
    """Answers once with what it is given."""

    def __init__(self, control: Control, actions: Any) -> None:
        super().__init__(control)
        self.actions = actions

    def feed(self, *_: Any, **__: Any) -> Sequence[Action]:
        found: Sequence[Action] = self.actions
        return found


class Laboratory(Lab):
    """A Lab whose conversations are made by `make`."""

    def __init__(self, make: Callable[[Control], Any], policy: str = "reset", info: fx.SessionInfo = INFO) -> None:
        self.make = make
        super().__init__(limits=Limits(on_failure=policy), info=info)

    def _open(self, control: Control) -> Any:
        return plainly(self.make, control)

    def say(self, text: bytes) -> list[fx.Announce]:
        """The inside end sends it; returns the faults announced."""
        self.inside.stream += text
        self.submit(self.inside.send(self.inside.sent, len(text)))
        return [one for one in self.kernel.announced if one.event.event.endswith("-failed")]


WRONG: list[Any] = [None, [Pass(0)], [Pass(99)], [ODD], [Replace(3, b"")], [Pass(ODD)], "abc"]


@pytest.mark.parametrize("actions", WRONG, ids=range(len(WRONG)))
def test_a_wrong_answer_is_booked_on_the_plug_in(actions: Any) -> None:
    lab = Laboratory(lambda control: Answering(control, actions))
    (told,) = lab.say(b"abc")
    assert (told.event.event, told.event.reason, told.error) == ("plugin-failed", "plugin-failed", None)
    assert lab.engine.counts["plugin-failed"] == 1 and "engine-failed" not in lab.engine.counts
    assert lab.kernel.reset == "plugin-failed"


class Broken(Toy):
    """Raises where it is told to."""

    def unattended(self) -> Unattended | None:
        raise RuntimeError("unattended")

    def skipped(self, commands: int, replies: int) -> None:
        raise RuntimeError("skipped")

    def progress(self) -> Progress:
        raise RuntimeError("progress")


@pytest.mark.parametrize("make", [lambda control: raising(), Broken, Half, lambda control: NoOutcome()])
def test_a_plug_in_that_breaks_at_the_border_is_booked_on_it(make: Callable[[Control], Any]) -> None:
    lab = Laboratory(make)
    lab.say(b"noop\n")
    told = [one for one in lab.kernel.announced if one.event.event.endswith("-failed")]
    assert {one.event.event for one in told} == {"plugin-failed"}


@pytest.mark.parametrize(
    "action", [Replace(4, cast(bytes, bytearray(b"abc\n"))), Refuse(4, cast(bytes, bytearray(b"no\n")))]
)
def test_bytes_may_come_in_an_array(action: Action) -> None:
    assert not Laboratory(lambda control: Answering(control, [action])).say(b"ask\n")


def test_a_deadline_that_is_no_time_is_booked_on_it() -> None:
    class Hasty(Toy):
        def deadline(self) -> str:
            return "soon"

    told = Laboratory(Hasty).say(b"half a li")
    assert [one.event.event for one in told] == ["plugin-failed"]


def test_failing_at_the_question_how_far_it_is_costs_no_session() -> None:
    class Shy(TellingToy):
        def progress(self) -> Progress:
            raise RuntimeError("progress")

    lab = Laboratory(Shy)
    lab.say(b"noop\n")
    view = lab.engine.view(INFO.session)
    assert view is not None and (view.phase, view.unanswered) == ("", 0)
    assert dict(lab.engine.counts) == {"progress-failed": 1} and lab.kernel.reset == ""


def test_explain_sees_how_far_it_is_through_the_guard_too() -> None:
    guard = Guard()
    try:
        engine = Engine(lambda control: guard.call(PLUGIN.open, control, FtpPolicy()), Ports(),
                        lambda _: None, lambda _: None, 1, call=guard.call)  # fmt: skip
        engine.opened(INFO, 1.0)
        view = engine.view(INFO.session)
    finally:
        guard.close()
    assert view is not None and view.phase == "greeting"


# Where the engine's own code is broken, and what then triggers it.
PLANTS = [
    (Expectations, "reserve", b"expect\n"),
    (Expectations, "expect", b"expect\n"),
    (Expectations, "open", b"expect\nopen\n"),
    (Expectations, "withdraw", b"expect\nwithdraw\n"),
    (Flow, "judge", b"same\n"),
    (Delivery, "settle", b"grow 007\n"),
    (Flow, "commit", b"grow 007\n"),
]


@pytest.mark.pure
@pytest.mark.parametrize("policy", ["reset", "bypass"])
@pytest.mark.parametrize(("kind", "name", "said"), PLANTS, ids=[one[1] for one in PLANTS])
def test_a_fault_of_the_engine_is_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, said: bytes, policy: str
) -> None:
    lab = Laboratory(Toy, policy)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(kind, name, broken)
    lab.inside.stream += said
    try:
        lab.submit(lab.inside.send(0, len(said)))
    except RuntimeError as error:  # beyond what is caught for one session: the helper hands it back
        lab.do(lab.engine.faulted(INFO.session, error, lab.now))
    told = [one for one in lab.kernel.announced if one.event.event.endswith("-failed")]
    assert [one.event.event for one in told] == ["engine-failed"], told
    assert isinstance(told[0].error, RuntimeError) and told[0].error.__traceback__ is not None
    assert told[0].event.detail == "RuntimeError: planted" and told[0].event.reason == "engine-failed"
    assert lab.engine.counts["engine-failed"] >= 1 and "plugin-failed" not in lab.engine.counts


@pytest.mark.pure
def test_a_fault_in_a_timer_costs_its_session_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Laboratory(Toy)
    lab.say(b"grow 007\n")
    real = Repetition.owed

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Repetition, "owed", broken)
    lab.now += 100
    lab.do(lab.engine.tick(lab.now))
    assert lab.engine.counts["engine-failed"] == 1 and lab.kernel.reset == "engine-failed"
    assert INFO.session not in lab.engine
    monkeypatch.setattr(Repetition, "owed", real)
    lab.do(lab.engine.tick(lab.now + 100))


@pytest.mark.pure
def test_what_cant_even_be_settled_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Laboratory(Toy, "bypass")
    lab.say(b"noop\n")

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("again")

    monkeypatch.setattr(Engine, "_conclude", broken)
    effects = lab.engine.faulted(INFO.session, RuntimeError("first"), lab.now)
    assert isinstance(effects[-1], fx.ResetSession) and INFO.session not in lab.engine
    assert lab.engine.faulted(4711, RuntimeError("nobody's"), lab.now)[0].event.reason == "engine-failed"  # type: ignore[union-attr]
