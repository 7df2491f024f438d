"""The engine on control sessions over UDP: a datagram comes, these effects follow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.engine import Engine
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import (
    Action,
    Bypass,
    Control,
    Conversation,
    Direction,
    EndPoint,
    Expect,
    Pass,
    Refuse,
    Replace,
    Reserve,
    Reset,
    Side,
)
from algate.alg.plugin.policy import Policy
from algate.alg.protocols.tftp import PLUGIN, TftpPolicy
from tests.kernel_model import frag_needed
from tests.toy import Ports
from tests.wire import INSIDE, PUBLIC, REMOTE

NEXT = "02:00:00:00:00:02"  # or scapy asks the host's neighbours, and waits

KEY = fx.SessionKey(INSIDE, 3000, REMOTE, 69, 17)
INFO = fx.SessionInfo(77, KEY, PUBLIC, 4000, 0, 9)
ASK = b"\0\x01file\0octet\0"
Words = Callable[[Side, bytes, Control], Sequence[Action]]


class Told:
    """A conversation that says what a function says."""

    def __init__(self, control: Control, words: Words) -> None:
        self.control, self.words = control, words
        self.outcomes: list[tuple[int, str]] = []
        self.ports: list[EndPoint | None] = []

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        return self.words(side, data, self.control)

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        self.ports.append(public)
        return ()

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        self.outcomes.append((tag, outcome))
        return ()


class Desk:
    """An engine, and the answers of one session's conversation."""

    def __init__(self, words: Words, *, on_failure: str = "bypass", anybody: bool = False) -> None:
        self.made: list[Told] = []
        self.words = words
        self.engine = Engine(
            self._open,
            Ports(),
            lambda _: None,
            lambda _: None,
            1,
            Limits(on_failure=on_failure),
            anybody=lambda _: anybody,
        )
        self.effects: list[fx.Effect] = []

    def _open(self, control: Control) -> Conversation:
        self.made.append(Told(control, self.words))
        return self.made[-1]

    def say(self, data: bytes, direction: int = fx.OUT, **changes: Any) -> list[fx.Effect]:
        frame = datagram(data, direction, **changes)
        segment = fx.Segment(INFO, direction, 0, frame, 14, 42, len(data), 0, (0, 0))
        self.effects = self.engine.segment(segment, 100.0)
        return self.effects

    def frames(self) -> list[tuple[int, bytes]]:
        return [(one.kind, one.frame) for one in self.effects if isinstance(one, fx.Inject)]

    def names(self) -> list[str]:
        return [type(one).__name__ for one in self.effects]


def datagram(data: bytes, direction: int = fx.OUT, unsummed: bool = False, padding: int = 0) -> bytes:
    """As the wire brings it, by scapy."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    ends = (INSIDE, 3000, REMOTE, 69) if direction == fx.OUT else (REMOTE, 69, PUBLIC, 4000)
    ip = IP(src=dotted(ends[0]), dst=dotted(ends[2]), id=77, tos=16, ttl=9)
    udp = UDP(sport=ends[1], dport=ends[3]) if not unsummed else UDP(sport=ends[1], dport=ends[3], chksum=0)
    return bytes(Ether(dst=NEXT) / ip / udp / data) + bytes(padding)


def dotted(ip: bytes) -> str:
    return ".".join(map(str, ip))


def payload(frame: bytes) -> bytes:
    """The parts of a UDP frame, with its lengths and sums checked by scapy."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    seen = Ether(frame)
    again = Ether(frame)
    del again[IP].chksum, again[IP].len, again[UDP].len
    if seen[UDP].chksum:
        del again[UDP].chksum
    assert bytes(again) == frame
    return bytes(seen[UDP].payload)


def passing(side: Side, data: bytes, control: Control) -> Sequence[Action]:
    return [Pass(len(data))]


@pytest.mark.parametrize("direction", [fx.OUT, fx.IN])
@pytest.mark.parametrize("changes", [{}, {"unsummed": True}, {"padding": 6}])
def test_what_passes_leaves_byte_for_byte(direction: int, changes: dict[str, Any]) -> None:
    desk = Desk(passing)
    desk.say(ASK, direction, **changes)
    assert desk.names() == ["Inject"]
    ((kind, frame),) = desk.frames()
    whole = datagram(ASK, direction, unsummed=changes.get("unsummed", False))
    assert kind == (fx.INJECT_OUT, fx.INJECT_IN)[direction] and frame[14:] == whole[14:]
    assert desk.made[0].control.proto == "udp"


def test_a_sum_left_to_hardware_is_finished() -> None:
    desk = Desk(passing)
    right = datagram(ASK)
    pseudo = int.from_bytes(INSIDE + REMOTE, "big") + 17 + 8 + len(ASK)
    frame = right[:40] + struct.pack("!H", pseudo % 0xFFFF) + right[42:]
    desk.effects = desk.engine.segment(fx.Segment(INFO, fx.OUT, 0, frame, 14, 42, len(ASK), 0, (0, 0)), 1.0)
    assert desk.frames()[0][1][14:] == right[14:]


def test_a_wrong_sum_or_length_goes_nowhere() -> None:
    desk = Desk(passing)
    right = datagram(ASK)
    for wrong in (right[:-1] + b"\1", right[:38] + b"\0\7" + right[40:], right[:38] + b"\7\7" + right[40:]):
        assert desk.engine.segment(fx.Segment(INFO, fx.OUT, 0, wrong, 14, 42, len(ASK), 0, (0, 0)), 1.0) == []
    assert desk.engine.counts["bad-checksum"] + desk.engine.counts["malformed"] == 3


@pytest.mark.parametrize("new", [b"x", b"longer than it was before", b"another file"])
def test_a_replacement_leaves_as_one_datagram_with_all_else_kept(new: bytes) -> None:
    desk = Desk(lambda side, data, control: [Pass(2), Replace(4, new), Pass(len(data) - 6)])
    desk.say(ASK)
    ((_, frame),) = desk.frames()
    assert payload(frame) == ASK[:2] + new + ASK[6:]
    assert frame[15] == 16 and frame[18:20] == b"\0\x4d" and frame[22] == 9, "tos, id and ttl"


@pytest.mark.parametrize("direction", [fx.OUT, fx.IN])
def test_a_refusal_is_answered_in_the_other_end_s_name(direction: int) -> None:
    desk = Desk(lambda side, data, control: [Refuse(len(data), b"no")])
    desk.say(ASK, direction)
    ((kind, frame),) = desk.frames()
    assert payload(frame) == b"no"
    ends = frame[26:30], frame[30:34], struct.unpack_from("!HH", frame, 34)
    if direction == fx.OUT:
        assert (kind, *ends) == (fx.INJECT_RAW_IN, REMOTE, INSIDE, (69, 3000))
    else:
        assert (kind, *ends) == (fx.INJECT_RAW_OUT, PUBLIC, REMOTE, (4000, 69))


def test_a_datagram_without_its_whole_verdict_is_dropped() -> None:
    desk = Desk(lambda side, data, control: [Pass(2)])
    assert desk.say(ASK) == []
    assert desk.engine.counts["datagram-undecided"] == 1


def test_a_repetition_is_judged_again() -> None:
    desk = Desk(lambda side, data, control: [expect(control), Pass(len(data))])
    desk.say(ASK)
    assert desk.names() == ["PutExpectation", "Inject"]
    desk.say(ASK)
    assert desk.names() == ["DeleteExpectation", "PutExpectation", "Inject"]


def expect(control: Control, **changes: Any) -> Expect:
    fields: dict[str, Any] = {"proto": "udp", "open": True, "to": control.public, "peer": control.remote.ip} | changes
    return Expect(1, Direction.IN, fields.pop("peer"), fields.pop("to"), 30.0, **fields)


def test_an_expectation_on_the_session_s_own_mapping() -> None:
    desk = Desk(lambda side, data, control: [expect(control), Pass(len(data))])
    desk.say(ASK)
    made = desk.effects[0]
    assert isinstance(made, fx.PutExpectation)
    one = made.expectation
    assert (one.from_ip, one.to.ip.packed, one.to.port) == (REMOTE, PUBLIC, 4000)
    assert one.inside is not None and (one.inside.ip.packed, one.inside.port) == (INSIDE, 3000)
    assert (one.proto, one.reserved, one.direction, one.state) == (17, None, fx.IN, fx.EXPECT_OPEN)
    assert [type(e).__name__ for e in desk.engine.expectation_used(one.id, 101.0)] == ["DeleteExpectation"]
    assert desk.made[0].outcomes == [(1, "used")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proto": "tcp"}, "expectation-without-port"),
        ({"to": None}, "expectation-without-port"),
        ({"to": EndPoint(ip_address(PUBLIC), 4001)}, "expectation-without-port"),
        ({"peer": None}, "expectation-anybody"),
    ],
)
def test_another_port_protocol_or_anybody_is_refused(changes: dict[str, Any], reason: str) -> None:
    desk = Desk(lambda side, data, control: [expect(control, **changes), Pass(len(data))])
    desk.say(ASK)
    assert desk.names() == ["Announce", "Inject"] and desk.engine.counts[reason] == 1


def test_anybody_where_policy_says_so() -> None:
    desk = Desk(lambda side, data, control: [expect(control, peer=None), Pass(len(data))], anybody=True)
    desk.say(ASK)
    assert desk.names() == ["PutExpectation", "Inject"]


def test_a_reservation_is_of_the_protocol_asked_for() -> None:
    def words(side: Side, data: bytes, control: Control) -> Sequence[Action]:
        reserve = Reserve(1, EndPoint(control.inside.ip, 5000), proto="udp")
        return [reserve, expect(control, to=None), Pass(len(data))]

    desk = Desk(words)
    desk.say(ASK)
    made = desk.effects[0]
    assert isinstance(made, fx.PutExpectation) and made.expectation.to.port == 40000
    desk = Desk(lambda side, data, control: [*words(side, data, control)[:1], expect(control, to=None, proto="tcp")])
    desk.say(ASK)
    assert desk.engine.counts["expectation-without-port"] == 1


def test_bypass_lets_the_rest_of_the_datagram_and_of_the_session_go() -> None:
    desk = Desk(lambda side, data, control: [Pass(1), Bypass("enough")])
    desk.say(ASK)
    assert desk.names() == ["Announce", "Inject", "BypassSession"] and payload(desk.frames()[0][1]) == ASK
    desk.say(b"one that was on its way")
    assert desk.names() == ["Inject"]


def test_reset_forgets_the_session_and_what_it_expects() -> None:
    desk = Desk(lambda side, data, control: [expect(control), Reset("enough")])
    desk.say(ASK)
    assert desk.names() == ["PutExpectation", "Announce", "DeleteExpectation", "ResetSession"]
    assert desk.engine.sessions() == []


def broken(side: Side, data: bytes, control: Control) -> Sequence[Action]:
    raise RuntimeError("on purpose")


def test_a_plug_in_that_raises_loses_its_session_by_the_fail_policy() -> None:
    desk = Desk(broken)
    desk.say(ASK)
    assert desk.names() == ["Announce", "Inject", "BypassSession"]
    closed = Desk(broken, on_failure="reset")
    closed.say(ASK)
    assert closed.names() == ["Announce", "Announce", "ResetSession"] and closed.frames() == []
    changed = Desk(broken)
    changed.engine.fail_by("reset")
    changed.say(ASK)
    assert changed.names()[-1] == "ResetSession" and changed.engine.counts["plugin-failed"] == 1


def test_a_helper_that_takes_over_knows_that_it_missed_something() -> None:
    desk = Desk(passing)
    assert desk.engine.restore(INFO, {}, 1.0) == []
    assert desk.made[0].control.resumed
    desk.say(ASK)
    assert desk.names() == ["Inject"]


def test_the_session_s_end_takes_its_expectations_along() -> None:
    desk = Desk(lambda side, data, control: [expect(control), Pass(len(data))])
    desk.say(ASK)
    assert [type(e).__name__ for e in desk.engine.ended(77, 101.0)] == ["DeleteExpectation"]


def test_tftp_in_the_engine() -> None:
    made: list[fx.Effect] = []
    policy: Policy = TftpPolicy(enabled=True)
    engine = Engine(lambda c: PLUGIN.open(c, policy), Ports(), lambda _: None, lambda _: None, 1)
    made = engine.segment(fx.Segment(INFO, fx.OUT, 0, datagram(ASK), 14, 42, len(ASK), 0, (0, 0)), 100.0)
    assert [type(one).__name__ for one in made] == ["PutExpectation", "Announce", "Inject"]


def reassembled(frames: list[bytes], mtu: int) -> bytes:
    """The datagram that fragments make, by scapy, as one frame."""
    from scapy.layers.inet import IP, defragment
    from scapy.layers.l2 import Ether

    assert len(frames) > 1 and all(len(one) - 14 <= mtu for one in frames)
    assert all((len(one) - 34) % 8 == 0 for one in frames[:-1])
    for one in frames:
        again = Ether(one)
        del again[IP].chksum, again[IP].len
        assert bytes(again) == one
    (whole,) = defragment([Ether(one) for one in frames])
    return bytes(whole)


@pytest.mark.parametrize("direction", [fx.OUT, fx.IN])
@pytest.mark.parametrize("mtu", [576, 1280, 1400])
def test_what_the_way_does_not_take_goes_in_fragments(direction: int, mtu: int) -> None:
    desk = Desk(lambda side, data, control: [Replace(len(data), data + b"+")])
    data = bytes(range(256)) * 5 + b"z" * 153
    frame = datagram(data, direction)
    segment = fx.Segment(INFO, direction, 0, frame, 14, 42, len(data), 0, (0, 0), mtu=mtu)
    desk.effects = desk.engine.segment(segment, 100.0)
    kinds, frames = zip(*desk.frames(), strict=True)
    assert set(kinds) == {fx.INJECT_RAW_OUT if direction == fx.OUT else fx.INJECT_RAW_IN}
    whole = reassembled(list(frames), mtu)
    assert payload(whole) == data + b"+" and whole[15] == 16 and whole[22] == 8
    ends = PUBLIC + REMOTE if direction == fx.OUT else REMOTE + INSIDE
    assert whole[26:34] == ends


def test_a_sender_that_forbids_fragments_is_told() -> None:
    desk = Desk(lambda side, data, control: [Pass(len(data))])
    frame = datagram(b"d" * 1432, fx.IN)
    segment = fx.Segment(INFO, fx.IN, 0, frame, 14, 42, 1432, 0, (0, 0), 0, 1400, True)
    desk.effects = desk.engine.segment(segment, 100.0)
    ((kind, error),) = desk.frames()
    assert kind == fx.INJECT_RAW_OUT and frag_needed(error) == 1400 and error[26:34] == PUBLIC + REMOTE
