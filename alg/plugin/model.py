"""What protocol plug-ins and the engine say to each other: immutable values, nothing else.

The law of this file: pure data. No socket, clock, BPF handle or log. A plug-in receives bytes and a clock value and
returns a list of `Action`; it never sees sequence numbers, maps or frames.

How one control session runs: the engine makes a `Control`, asks the plug-in's `open(control, policy)` for a
`Conversation`, and feeds it the bytes of each side that are *not yet decided*, in order. The conversation returns
verdicts (`Pass`, `Replace`, `Refuse`), each for the next bytes of that side's stream, and other actions between
them. Bytes without a verdict (an unfinished line) stay undecided and are fed again with more when it has come. Actions
take effect in the order given: what comes before a verdict is in place before its bytes leave.

On a session of datagrams (`Control.proto` "udp") each feed is one whole datagram, repetitions included, and is judged
at once: a datagram that isn't fully covered by verdicts is dropped. What its verdicts make of it leaves as
one datagram; an answer goes back as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple, TypeVar
from typing import Protocol as Interface

from algate.alg.plugin.spelled import joined

Address = IPv4Address | IPv6Address


@lru_cache(4096)
def address(packed: bytes) -> Address:
    """A packed address as a value, always the same object: a session has four, and hosts have many sessions."""
    return ip_address(packed)


C = TypeVar("C")


def _by_slots(cls: type[C]) -> type[C]:
    """A frozen dataclass that is made by its slots' own setters: half the steps of `object.__setattr__` for each field,
    by name, and a session makes a dozen of them. Nothing else about it is another."""
    made: Any = cls
    scope: dict[str, Any] = {}
    taken, lines = [], []
    for one in fields(made):
        scope[f"set_{one.name}"] = getattr(made, one.name).__set__
        scope[f"default_{one.name}"] = one.default
        taken.append(one.name if one.default is MISSING else f"{one.name}=default_{one.name}")
        lines.append(f" set_{one.name}(self, {one.name})")
    exec("\n".join((f"def __init__(self, {', '.join(taken)}):", *lines)), scope)  # as dataclasses does
    init = scope["__init__"]
    init.__qualname__, init.__module__ = made.__init__.__qualname__, made.__module__
    init.__annotations__ = made.__init__.__annotations__
    made.__init__ = init
    return cls


class Side(IntEnum):
    """Who speaks on a control session. The client is whoever sent the first SYN, on either side of the gateway."""

    CLIENT = 0
    SERVER = 1

    @property
    def other(self) -> Side:
        return Side(1 - self)


class EndPoint(NamedTuple):
    """An address and a port in host order; prints as `ip:port`."""

    ip: Address
    port: int

    def __str__(self) -> str:
        return joined(self.ip, self.port)


class Audience:
    """Whether anybody listens to frequent events: one per command, and the names of transfers.

    A plug-in asks `hears()` before it makes an event for a command, so that a flood that nobody reads costs nothing.
    `room`: how many more are wanted for now; `missed` counts those that weren't. The listener sets both.
    """

    __slots__ = ("missed", "room")

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.missed = 0

    def hears(self) -> bool:
        """Whether the next frequent event is wanted; if so, it is counted."""
        if self.room > 0:
            self.room -= 1
            return True
        self.missed += 1
        return False


class Left(NamedTuple):
    """An expectation left by an earlier helper. Its tag is negative: no plug-in chose it."""

    tag: int
    open: bool
    peer: Address | None
    to: EndPoint


@_by_slots
@dataclass(frozen=True, slots=True)
class Control:
    """What a plug-in may know of a control session.

    `inside` is the private end point, `public` what the outside sees in its place, `remote` the outside end point.
    `inside_side` says which of client and server is the inside one. `resumed`: bytes were exchanged before the plug-in
    began to listen (the helper was restarted in between). `audience` None: nobody audits, not even transfers.
    `left`: what is still expected from before, oldest first.
    """

    id: int
    inside: EndPoint
    public: EndPoint
    remote: EndPoint
    inside_side: Side
    proto: str = "tcp"
    resumed: bool = False
    audience: Audience | None = field(default=None, compare=False, repr=False)
    left: tuple[Left, ...] = ()
    remembered: int = 0  # what an earlier helper's conversation handed on (Remembers); 0: nothing
    unread: bool = False  # lines passed since that no helper has read, so what was remembered is given up
    prefix: IPv6Network | None = None  # behind which an inside IPv6 host sees IPv4 ones (NAT64)

    def ip(self, side: Side) -> Address:
        """That side's own address (the private one for the inside)."""
        return self.inside.ip if side == self.inside_side else self.remote.ip

    def family(self, side: Side) -> int:
        """The IP version that side speaks, 4 or 6. The two differ under NAT64."""
        return self.ip(side).version


@_by_slots
@dataclass(frozen=True, slots=True)
class Pass:
    """These bytes leave unchanged."""

    size: int


@_by_slots
@dataclass(frozen=True, slots=True)
class Replace:
    """These bytes leave as `data`, which may have another length (but not zero: see Refuse)."""

    size: int
    data: bytes


@_by_slots
@dataclass(frozen=True, slots=True)
class Refuse:
    """The other side never sees these bytes; the speaker gets `answer` in the other side's name."""

    size: int
    answer: bytes


class Direction(IntEnum):
    """Where a connection's first packet goes; the numbers are those of `enum direction` in abi.h."""

    OUT = 0
    IN = 1


@_by_slots
@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold a public port (or `count` adjacent ones, starting at an even one if `even`) for connections to `inside`.

    `shared`: the public ports have the numbers of `inside` and up, or there is no reservation; all sessions that
    ask for the same block share it. It takes one Expect with as many `ports`.

    The engine answers at once with `Conversation.reserved(tag, first public end point or None, now)`.
    """

    tag: int
    inside: EndPoint
    count: int = 1
    even: bool = False
    proto: str = "tcp"
    shared: bool = False


@_by_slots
@dataclass(frozen=True, slots=True)
class Expect:
    """A connection that may come. A tag has at most one live expectation; a second Expect of a tag replaces the first.

    `direction` IN: from outside host `peer` to the public port reserved under `tag` (`to` may choose one of a block),
    forwarded to Reserve.inside. Without a reservation `to` must be Control.public: from another port of `peer` to the
    control session's own mapping, forwarded to Control.inside, with the `proto` of the control session.
    `direction` OUT: from inside host `peer` to outside `to`. `peer` None: anybody, refused unless the operator's policy
    for the session says `any_peer = true`.
    `lifetime` is in seconds. It is made pending unless `open`. `from_port`: the connection's source port; None: any.
    `ports`, if not 0: that many adjacent ones starting at the one named, in a shared block or for OUT; such an
    expectation is `open` from the start, not `once`, survives a Bypass, and ends with the control connection.

    `acts_after`: some peers connect first and only then say yes. A connection from `peer` itself, held while this is
    pending, counts as that peer's agreement after this many seconds of silence; None: never. Say Open or Withdraw of
    the tag when the peer does answer, even if the connection was used long ago: the next connection of a peer that
    agreed afterwards does not wait.
    """

    tag: int
    direction: Direction
    peer: Address | None
    to: EndPoint | None
    lifetime: float
    proto: str = "tcp"
    open: bool = False
    once: bool = True
    acts_after: float | None = None
    from_port: int | None = None
    ports: int = 0


@_by_slots
@dataclass(frozen=True, slots=True)
class Open:
    """Both sides have agreed: the pending expectation of the tag admits its connection from now on."""

    tag: int


@_by_slots
@dataclass(frozen=True, slots=True)
class Withdraw:
    """Drop the tag's expectation and reservation, if they are left."""

    tag: int
    reason: str = ""


@_by_slots
@dataclass(frozen=True, slots=True)
class Event:
    """Something for followers. `detail` may hold hostile bytes, decoded as latin-1: whoever prints it escapes them.

    `fields` are key/value pairs for machines (audit). Never put a password in either.
    """

    event: str
    detail: str = ""
    reason: str = ""
    fields: tuple[tuple[str, str | int | float], ...] = field(default=())


@_by_slots
@dataclass(frozen=True, slots=True)
class Purpose:
    """What the connection expected under a tag carries: `detail` and `fields` go into the event `transfer`, which gives
    its bytes and duration when it ends. May come before or after the connection; a later one of the tag replaces it."""

    tag: int
    detail: str
    fields: tuple[tuple[str, str | int | float], ...] = ()


@_by_slots
@dataclass(frozen=True, slots=True)
class Bypass:
    """From here on, this session's bytes aren't read any more, in either direction."""

    reason: str = ""


@_by_slots
@dataclass(frozen=True, slots=True)
class Reset:
    """End both halves of the session with RST."""

    reason: str


Verdict = Pass | Replace | Refuse
Action = Verdict | Reserve | Expect | Open | Withdraw | Event | Purpose | Bypass | Reset


class Lines:
    """First words of lines that don't wait: command verbs in capitals (three or four letters) and reply codes. Those in
    `copied` are read afterwards, the others don't matter. What follows one of them is read as well until it has been
    read itself and Unattended says anew what matters; not so behind those of `told`, by which nothing begins to matter.
    They are read at once, but those of `quiet` when anything else comes to be read, 10 ms later at most: for lines of
    which nothing follows that anybody waits for. A reply of `agreeing` opens what Unattended names before it is read.

    A line may pass by itself only if it continues its stream, is complete, plain text and alone in its segment. A reply
    that answers neither a command that passed this way nor one of the `unanswered` of the moment (Unattended) is read
    too. Lines that are read are fed in their order, and nothing that follows is judged before: whatever a conversation
    does but let them pass is a fault.
    Those of `names`, replies to be read as well, name a connection from inside to the server itself, as 227 and 229 do.
    They pass where the kernel may expect that connection by itself (see `ProtocolPlugin.beginning`) and reads the name;
    what is said of the line when it is read then counts: an Expect of another connection, or none, takes that back.
    Elsewhere they are held.
    Those of `retold` go on in the words of the other IP family, in a session between two: some that the kernel knows,
    said where nothing is unanswered, and the answer that comes next; what leaves is as long as what came. Read
    afterwards, each must be given the Replace that the kernel has made. Whatever else begins with these words is held.
    One of `settling`, replies to be read as well, ends what lines before it made matter, if all commands are answered
    with it (see Unattended.settles); from then on those of `then` don't wait, if it names any.
    `number` is what the kernel knows them by: the same words have the same number in every helper.
    """

    __slots__ = (
        "agreeing", "commands", "copied", "names", "number", "quiet", "replies", "retold", "settling", "then", "told",
    )  # fmt: skip

    def __init__(
        self, commands: frozenset[bytes], replies: frozenset[bytes], copied: frozenset[bytes] = frozenset(),
        told: frozenset[bytes] = frozenset(), quiet: frozenset[bytes] = frozenset(),
        agreeing: frozenset[bytes] = frozenset(), names: frozenset[bytes] = frozenset(),
        retold: frozenset[bytes] = frozenset(), settling: frozenset[bytes] = frozenset(), then: Lines | None = None,
    ) -> None:  # fmt: skip
        """`told`, `names`, `retold` and `settling`: some of `copied`; `quiet`: some of all words; `agreeing`: some of
        `replies`."""
        self.commands = commands
        self.replies = replies
        self.copied = copied
        self.told = told
        self.quiet = quiet
        self.agreeing = agreeing
        self.names = names
        self.retold = retold
        self.settling = settling
        self.then = then
        behind = frozenset((b"%d" % then.number,)) if then is not None else frozenset()
        others = [copied, told, quiet, agreeing, names, retold, settling, behind]
        while others and not others[-1]:
            others.pop()
        words = b";".join(b",".join(sorted(some)) for some in (commands, replies, *others))
        self.number: int = int.from_bytes(hashlib.sha256(words).digest()[:4], "little") or 1


class Unattended(NamedTuple):
    """`lines` that don't wait from here on. `unanswered`: how many final replies are still to come; none matters.
    `read`: something that matters is unanswered or half agreed, so that all of them are read, whatever their words.
    `agrees`: the tag of a pending expectation, 0: none. If the very next line is one of `lines.agreeing`, feeding it
    would bring Open for this tag, and make what was `read` for it matter no more: so it is opened before it is fed.
    `settles`: `unanswered` is certain. A reply of `lines.settling` that leaves none of these, and of what is said
    behind them, without its answer makes what was `read` matter no more, before it is fed."""

    lines: Lines
    unanswered: int = 0
    read: bool = False
    agrees: int = 0
    settles: bool = False


READ_MOST = 12  # lines that pass before a conversation has read the first of them (COPIES_MOST of lines.h)


class Progress(NamedTuple):
    """How far a dialogue has come, for `explain`. `phase`: the plug-in's own word, see Words.phases; `unanswered`:
    commands of the client still waiting for their replies."""

    phase: str = ""
    unanswered: int = 0


class Conversation(Interface):
    """One control session in a plug-in's hands. May keep bounded state; must not raise on any bytes.

    Every conversation has these methods. It may also have those of Terse, Forgiving, Tells, Impatient and
    Remembers.
    """

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """Judge the undecided bytes of one side. `end`: its FIN follows `data` directly, no more will come."""
        ...

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        """The answer to Reserve; None: no port was free. Verdicts among the actions continue for the side being fed.

        What is still undecided of a stream is fed again at once, for as long as that brings verdicts.
        """
        ...

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """What became of an expectation: "used" or "expired". No verdicts may be returned."""
        ...


class Terse(Interface):
    """Optional, both or neither: to be told only how many of some lines have passed."""

    def unattended(self) -> Unattended | None:
        """The lines that don't wait until it is fed again; None: every line is held. At most READ_MOST of those to be
        read have passed before it is fed the first: it must have room for them."""
        ...

    def skipped(self, commands: int, replies: int) -> None:
        """How many of those commands and final replies have passed; each reply answered the oldest command."""
        ...


class Forgiving(Interface):
    """Optional, for those whose lines are read after they have passed."""

    def missed(self) -> None:
        """Lines that were to be read have passed, and never will be (the helper lost them)."""
        ...


class Tells(Interface):
    """Optional: to say how far it has come."""

    def progress(self) -> Progress:
        """Where the dialogue stands. Changes nothing."""
        ...


class Impatient(Interface):
    """Optional: not to wait forever for the other side."""

    def deadline(self) -> float | None:
        """When to feed its undecided bytes again even if nothing came, on the clock of `now`; None: never."""
        ...


class Remembers(Interface):
    """Optional: to hand something on to the conversation that a restarted helper opens on the same session."""

    def remember(self) -> int:
        """0 to 255, as things stand; `Control.remembered` of that conversation, 0 if it was lost. Changes nothing. It
        must hold whatever passes unread by `unattended`."""
        ...


class WholeConversation(Conversation, Terse, Forgiving, Tells, Impatient, Remembers, Interface):
    """All that the engine uses of a conversation; `contract.whole` fills in what one leaves out."""


class ProtocolPlugin(Interface):
    """A plug-in: found through the entry-point group `algate.protocols`, switched by `[alg.NAME] enabled`.

    Three attributes are optional. `beginning(policy)`: what a conversation under that policy (without rules) says by
    `unattended` and `remember` before anything was said, if no session's ends make a difference, else None; then the
    greeting doesn't wait for the helper. A third value: for how many seconds the kernel may expect what `Lines.names`
    name, a connection from inside to the server's own address and a port from 1024 on; 0: it may not.
    `beginning(policy, True)` is asked for sessions by NAT64. `policy`, a class
    derived from `Policy` (policy.py): the keys of its table, and what they imply, contradict and hold; `open` gets an
    instance of it (else of Policy) with all rules applied. `words`, an instance of a class derived from `Words`
    (words.py): what `explain` says about its sessions.
    """

    name: str
    number: int  # 1..255, session.alg in the kernel; algate's own are 1 to 63
    transport: str  # "tcp" or "udp"
    default_ports: tuple[int, ...]

    def open(self, control: Control, policy: object) -> Conversation:
        """Start watching a control session, under the policy resolved for its two addresses."""
        ...
