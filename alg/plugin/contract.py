"""The contract between engine and plug-ins, checked: which parts a conversation has, and whose fault a failure is.

The law of this file: pure. Everything that a plug-in does wrong becomes a PluginFaultError here; any other exception
raised while a session is judged is algate's own fault, and is reported as such. Kinds are asked for by tuples, since
compiled code makes `a | b` anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, ParamSpec, TypeVar, cast
from typing import Protocol as Interface

from algate.alg.plugin import model
from algate.alg.plugin.model import Action, Conversation, EndPoint, Lines, Progress, Unattended, WholeConversation
from algate.alg.plugin.scrub import scrubbed

P = ParamSpec("P")
T = TypeVar("T")
REMEMBERED_MOST: Final = 255  # 8 bits of the adjust record
NEVER: Final = float("inf")
MOST: Final = 1 << 16  # for ports, or anything else that is counted


class PluginFaultError(Exception):
    """A plug-in raised, was too slow, or gave what can't be carried out; the message is for the operator."""


class Call(Interface):
    """How a plug-in's function is called; whatever it raises becomes a PluginFaultError. What it returns may be
    anything, whatever it declares, until one of the functions below has looked at it."""

    def __call__(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> object: ...


def plainly(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A Call that doesn't watch the time."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        raise raised(error) from error


def raised(error: Exception) -> PluginFaultError:
    """A plug-in's exception as the engine sees it."""
    if isinstance(error, PluginFaultError):
        return error
    fault = PluginFaultError(f"{type(error).__name__}: {scrubbed(str(error))}")
    fault.__cause__ = error  # not by `raise from`, which compiled code doesn't do
    return fault


def whole(conversation: Conversation) -> WholeConversation:
    """The conversation itself if it has every part, else one with the rest added. PluginFaultError for half a part."""
    missing = [name for name in ("feed", "reserved", "outcome") if not callable(getattr(conversation, name, None))]
    if missing:
        raise PluginFaultError(f"its conversation ({type(conversation).__name__}) has no {missing[0]}()")
    terse = hasattr(conversation, "unattended"), hasattr(conversation, "skipped")
    if all(terse) and all(hasattr(conversation, name) for name in ("missed", "progress", "deadline", "remember")):
        return cast(WholeConversation, conversation)
    if terse[0] != terse[1]:
        raise PluginFaultError("its conversation has only one of unattended() and skipped(): it needs both or neither")
    return _Filled(conversation)


class _Filled:
    """A conversation with the missing parts added. The others are its own bound methods, so no call is added."""

    __slots__ = ("deadline", "feed", "missed", "outcome", "progress", "remember", "reserved", "skipped", "unattended")

    def __init__(self, inner: Conversation) -> None:
        self.feed = inner.feed
        self.reserved = inner.reserved
        self.outcome = inner.outcome
        self.unattended: Callable[[], Unattended | None] = getattr(inner, "unattended", _every_line)
        self.skipped: Callable[[int, int], None] = getattr(inner, "skipped", _nothing)
        self.missed: Callable[[], None] = getattr(inner, "missed", _every_line)
        self.progress: Callable[[], Progress] = getattr(inner, "progress", Progress)
        self.deadline: Callable[[], float | None] = getattr(inner, "deadline", _never)
        self.remember: Callable[[], int] = getattr(inner, "remember", _not_a_thing)


def _every_line() -> None:
    """Every line matters."""


def _not_a_thing() -> int:
    """There is nothing to hand on."""
    return 0


def _never() -> None:
    """It waits as long as the other side likes."""


def due(said: object) -> float:
    """When a conversation wants to be fed again; never: infinity."""
    if said is None:
        return NEVER
    if isinstance(said, (int, float)):
        return said
    raise PluginFaultError(f"deadline() gave {type(said).__name__}")


def _nothing(commands: int, replies: int) -> None:
    """Never called: no line is left unattended."""


def answered(actions: object) -> Sequence[Action]:
    """What a conversation said, checked: a list or tuple of actions with values that can be carried out."""
    if not isinstance(actions, (list, tuple)):
        raise PluginFaultError(f"{type(actions).__name__} is not a list of actions")
    for action in actions:
        sound = SOUND.get(type(action)) or SOUND.get(kind_of(action))
        if sound is None:
            raise PluginFaultError(f"not an action: {type(action).__name__}")
        if not sound(action):
            raise PluginFaultError(f"{type(action).__name__} with a value of the wrong kind")
    return actions


def kind_of(action: object) -> type:
    """Which of the model's actions it is, being of a class derived from one; its own class if it is none."""
    return next((one for one in SOUND if isinstance(action, one)), type(action))


def left(said: object) -> Unattended | None:
    """What a conversation leaves unattended, checked."""
    if said is None:
        return None
    known: Any = said
    sound = isinstance(said, Unattended) and isinstance(known.lines, Lines) and isinstance(known.read, bool)
    sound = sound and isinstance(known.settles, bool)
    if (
        isinstance(said, Unattended)
        and sound
        and _whole_number(known.unanswered, MOST)
        and isinstance(known.agrees, int)
    ):
        return said
    raise PluginFaultError(f"unattended() gave {type(said).__name__} with a value of the wrong kind")


def end_point(ip: model.Address, port: int) -> EndPoint:
    """An EndPoint, by a third of the steps that its own constructor takes."""
    return tuple.__new__(EndPoint, (ip, port))


def _whole_number(value: object, most: int) -> bool:
    return isinstance(value, int) and 0 <= value <= most


def _end_point(value: object) -> bool:
    known: Any = value  # compiled code would take its members' types for granted
    return isinstance(value, EndPoint) and _address(known.ip) and _whole_number(known.port, 65535)


def _address(value: object) -> bool:
    return isinstance(value, (IPv4Address, IPv6Address))


def _reserve(one: Any) -> bool:
    counted = _whole_number(one.count, MOST) and one.count > 0
    return isinstance(one.tag, int) and _end_point(one.inside) and counted and one.proto in ("tcp", "udp")


def _expect(one: Any) -> bool:
    peer = one.peer is None or _address(one.peer)
    target = one.to is None or _end_point(one.to)
    timed = _seconds(one.lifetime) and (one.acts_after is None or _seconds(one.acts_after))
    ports = _whole_number(one.ports, MOST) and (one.from_port is None or _whole_number(one.from_port, 65535))
    return (
        isinstance(one.tag, int) and one.direction in (0, 1) and peer and target and timed and ports
        and one.proto in ("tcp", "udp")
    )  # fmt: skip


def _seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < NEVER


def _told(fields: object) -> bool:
    return isinstance(fields, (tuple, list)) and all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and (pair[1] is None or isinstance(pair[1], (str, int, float)))
        for pair in fields
    )


def _event(one: Any) -> bool:
    texts = isinstance(one.event, str) and isinstance(one.detail, str) and isinstance(one.reason, str)
    return texts and (not one.fields or _told(one.fields))


SOUND: Final[Mapping[type, Callable[..., bool]]] = {
    model.Pass: lambda one: isinstance(one.size, int),
    model.Replace: lambda one: isinstance(one.size, int) and isinstance(one.data, (bytes, bytearray)),
    model.Refuse: lambda one: isinstance(one.size, int) and isinstance(one.answer, (bytes, bytearray)),
    model.Reserve: _reserve,
    model.Expect: _expect,
    model.Open: lambda one: isinstance(one.tag, int),
    model.Withdraw: lambda one: isinstance(one.tag, int) and isinstance(one.reason, str),
    model.Event: _event,
    model.Purpose: lambda one: isinstance(one.tag, int) and isinstance(one.detail, str) and _told(one.fields),
    model.Bypass: lambda one: isinstance(one.reason, str),
    model.Reset: lambda one: isinstance(one.reason, str),
}
