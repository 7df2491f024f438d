"""A test kit for plug-in authors: a stage that plays the engine for one conversation, without root or a kernel.

The law of this file: pure; it keeps the engine's side of `alg.plugin.model` to the letter and asserts that the plug-in
keeps its own (verdicts that fit the bytes, no Open without a live expectation, no port that wasn't reserved).

A test reads as a transcript:

    stage = Stage(PLUGIN, CallbackPolicy())
    stage.server << b"ready\r\n" >> Pass(7)
    stage.client << b"CALL 10.0.0.5 4001\r\n" >> Reserve(1, inside) >> Expect(...) >> Replace(20, b"CALL 203.0...")
    assert stage.heard[Side.SERVER] == b"CALL 203.0...\r\n"

`>>` takes the next action, skipping events unless an `Event` is expected; what wasn't taken fails at the next `<<` or
at `stage.done()`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from algate.alg.protocols.base import (
    Action,
    Bypass,
    Control,
    Conversation,
    Direction,
    EndPoint,
    Event,
    Expect,
    Open,
    Pass,
    ProtocolPlugin,
    Refuse,
    Replace,
    Reserve,
    Reset,
    Side,
    Withdraw,
)


def at(text: str) -> EndPoint:
    """`"10.0.0.5:4001"` or `"[2001:db8::5]:4001"` as an end point."""
    ip, _, port = text.rpartition(":")
    return EndPoint(ip_address(ip.strip("[]")), int(port))


def control(
    inside_side: Side = Side.CLIENT,
    inside: str = "10.0.0.5:40000",
    public: str = "203.0.113.1:40000",
    remote: str = "198.51.100.2:21",
    proto: str = "tcp",
) -> Control:
    """A control session. By default the client is inside; with the server inside, the ports change sides."""
    if inside_side is Side.SERVER and inside == "10.0.0.5:40000":
        inside, public, remote = "10.0.0.5:21", "203.0.113.1:21", "198.51.100.2:40000"
    return Control(1, at(inside), at(public), at(remote), inside_side, proto)


@dataclass
class Expected:
    """A live expectation, as the stage keeps it."""

    expect: Expect
    public: EndPoint | None
    open: bool


class Actions:
    """The actions that one `<<` brought: `>>` compares the next one."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self._left = deque(actions)

    def __rshift__(self, expected: Action) -> Actions:
        if not isinstance(expected, Event):
            self._drop_events()
        assert self._left, f"expected {expected}, but no more actions came"
        actual = self._left.popleft()
        assert actual == expected, f"expected {expected}\n     got {actual}"
        return self

    def done(self) -> None:
        """Nothing but events may be left."""
        self._drop_events()
        assert not self._left, f"no more actions were expected, but these came: {list(self._left)}"

    def _drop_events(self) -> None:
        while self._left and isinstance(self._left[0], Event):
            self._left.popleft()


class Speaker:
    """One side of the dialogue: `speaker << bytes` makes it speak."""

    def __init__(self, stage: Stage, side: Side) -> None:
        self._stage = stage
        self._side = side

    def __lshift__(self, data: bytes) -> Actions:
        self._stage.done()
        self._stage.last = Actions(self._stage.say(self._side, data))
        return self._stage.last


class Stage:
    """Plays the engine for one conversation.

    `heard`: the bytes that each side received. `undecided`: what each side said that has no verdict yet. `ports`: the
    public ports that reservations get, in this order; None: the port asked for, or the next free one.
    """

    def __init__(
        self,
        plugin: ProtocolPlugin,
        policy: object,
        on: Control | None = None,
        ports: Sequence[int] | None = None,
    ) -> None:
        self.control = control() if on is None else on
        self.conversation: Conversation = plugin.open(self.control, policy)
        self.now = 0.0
        self.ports = None if ports is None else list(ports)
        self.heard = dict.fromkeys(Side, b"")
        self.undecided = dict.fromkeys(Side, b"")
        self.reserved: dict[int, tuple[Reserve, EndPoint]] = {}
        self.expectations: dict[int, Expected] = {}
        self._early: set[int] = set()  # tags of those used before they were open
        self.events: list[Event] = []
        self.bypassed = False
        self.reset = False
        self.last = Actions(())
        self.client = Speaker(self, Side.CLIENT)
        self.server = Speaker(self, Side.SERVER)

    def say(self, side: Side, *pieces: bytes, end: bool = False) -> list[Action]:
        """Let a side speak, one segment per argument; `end`: its FIN follows.

        When all have come, undecided bytes of either side are fed for as long as that brings verdicts.
        """
        done: list[Action] = []
        for number, piece in enumerate(pieces, 1):
            done += self._hear(side, piece, end and number == len(pieces))
        turn = side.other
        while self.undecided[turn] and not self._over():
            more = self._feed(turn, False)
            if not any(isinstance(action, Pass | Replace | Refuse | Bypass | Reset) for action in more):
                break
            done += more
            turn = turn.other
        return done

    def _hear(self, side: Side, piece: bytes, end: bool) -> list[Action]:
        if self.bypassed:
            self.heard[side.other] += piece
        if self._over():
            return []
        self.undecided[side] += piece
        return self._feed(side, end)

    def _over(self) -> bool:
        return self.bypassed or self.reset

    def outcome(self, tag: int, outcome: str) -> None:
        """Tell the plug-in that the expectation is "used" or "expired"."""
        found = self.expectations.pop(tag)
        if outcome == "used" and not found.open and found.expect.acts_after is not None:
            self._early.add(tag)
        actions = self.conversation.outcome(tag, outcome, self.now)
        assert not any(isinstance(action, Pass | Replace | Refuse) for action in actions), "outcome() gave a verdict"
        self._perform(Side.CLIENT, actions, [])

    def done(self) -> None:
        """Assert that all actions of the last `<<` were expected."""
        self.last.done()

    def _feed(self, side: Side, end: bool) -> list[Action]:
        done: list[Action] = []
        actions: Sequence[Action] = (Reserve(0, self.control.inside),)
        while any(isinstance(action, Reserve) for action in actions) and not self._over():
            before = self.undecided[side]
            actions = self.conversation.feed(side, before, self.now, end=end)
            self._perform(side, actions, done)
            if not self.undecided[side] or self.undecided[side] == before:
                break
        if self.control.proto == "udp" and not self._over():
            left = self.undecided[side]
            assert not left, f"no verdict on {left!r} of a datagram: it would be dropped"
        return done

    def _perform(self, side: Side, actions: Sequence[Action], done: list[Action]) -> None:
        for action in actions:
            assert not self.bypassed and not self.reset, f"{action} after reading has ended"
            done.append(action)
            if isinstance(action, Pass | Replace | Refuse):
                self._decide(side, action)
            elif isinstance(action, Reserve):
                answer = self._reserve(action)
                self._perform(side, self.conversation.reserved(action.tag, answer, self.now), done)
            else:
                self._note(action)

    def _decide(self, side: Side, verdict: Pass | Replace | Refuse) -> None:
        waiting = self.undecided[side]
        assert 0 < verdict.size <= len(waiting), f"{verdict} for {len(waiting)} undecided bytes"
        self.undecided[side] = waiting[verdict.size :]
        if isinstance(verdict, Pass):
            self.heard[side.other] += waiting[: verdict.size]
        elif isinstance(verdict, Replace):
            assert verdict.data, "a Replace with nothing is a Refuse"
            self.heard[side.other] += verdict.data
        else:
            self.heard[side] += verdict.answer

    def _reserve(self, action: Reserve) -> EndPoint | None:
        if action.shared:
            public = EndPoint(self.control.public.ip, action.inside.port)
            self.reserved[action.tag] = (action, public)
            return public if self.ports is None or self.ports else None
        taken = {public.port for _, public in self.reserved.values()}
        if self.ports is None:
            port: int | None = next(port for port in range(action.inside.port, 65536) if port not in taken)
        else:
            port = self.ports.pop(0) if self.ports else None
        if port is None:
            return None
        public = EndPoint(self.control.public.ip, port)
        self.reserved[action.tag] = (action, public)
        return public

    def _note(self, action: Action) -> None:
        if isinstance(action, Event):
            self.events.append(action)
        elif isinstance(action, Expect):
            assert action.lifetime > 0, f"{action} has no lifetime"
            public = self._public(action) if action.direction is Direction.IN else None
            self.expectations[action.tag] = Expected(action, public, action.open)
        elif isinstance(action, Open):
            if action.tag not in self._early:
                self.expectations[action.tag].open = True
            self._early.discard(action.tag)
        elif isinstance(action, Withdraw):
            self.expectations.pop(action.tag, None)
            self.reserved.pop(action.tag, None)
        elif isinstance(action, Bypass):
            self.bypassed = True
            for side in Side:
                self.heard[side.other] += self.undecided[side]
                self.undecided[side] = b""
        elif isinstance(action, Reset):
            self.reset = True

    def _public(self, action: Expect) -> EndPoint:
        """Where an expected connection arrives: a reserved port, or the control session's own mapping."""
        if action.tag in self.reserved:
            asked, public = self.reserved[action.tag]
            assert asked.proto == action.proto, f"{action} on a port reserved for {asked.proto}"
            return public
        assert action.to == self.control.public and action.proto == self.control.proto, f"{action} without a port"
        return self.control.public

    def reasons(self, event: str) -> list[str]:
        """The reasons of all events of that name, in order."""
        return [seen.reason for seen in self.events if seen.event == event]
