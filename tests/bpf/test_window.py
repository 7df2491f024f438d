"""Which TCP segments move a session: a table of RFC 5961's cases, and conversations of two textbook ends (RFC 9293)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from algate.bpf import abi
from algate.bpf.abi import Direction
from algate.bpf.abi import SessionState as State
from tests import packets
from tests.bpf.flows import FLOW, answer
from tests.bpf.rig import INSIDE, OK, PUBLIC, REDIRECT, REMOTE, SHOT, TCP, Outcome, Rig, session_key
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

OUT, IN = Direction.OUT, Direction.IN
SIDES = [OUT, IN]
WRAP = 1 << 32
AT = {OUT: WRAP - 300, IN: 7_000_000}
"""The number that each side sends next, in a session that is open."""
IGNORED = {"IGNORED": 1}


def other(side: Direction) -> Direction:
    return Direction(1 - side)


def send(rig: Rig, side: Direction, flags: str, seq: int, ack: int, load: bytes = b"", **context: Any) -> Outcome:
    flow = FLOW if side == OUT else answer(FLOW, 40000)
    frame = packets.tcp(flow, load, flags, seq=seq % WRAP, ack=ack % WRAP)
    return rig.lan(frame, **context) if side == OUT else rig.wan_in(frame, **context)


def opened(rig: Rig) -> None:
    assert send(rig, OUT, "S", AT[OUT] - 1, 0).action == REDIRECT
    assert send(rig, IN, "SA", AT[IN] - 1, AT[OUT]).action == REDIRECT
    assert send(rig, OUT, "A", AT[OUT], AT[IN]).action == REDIRECT


def session(rig: Rig) -> abi.Session:
    found = rig.session(FLOW, TCP)
    assert found is not None
    return found


def state(rig: Rig) -> State:
    return State(session(rig).state & 0xFF)


def say(rig: Rig, side: Direction, flags: str = "A", at: int = 0, acked: int = 0, load: bytes = b"") -> Outcome:
    """A segment of an open session; `at` and `acked` count from what each side sends next."""
    return send(rig, side, flags, AT[side] + at, AT[other(side)] + acked, load)


# -- the table ---------------------------------------------------------------------------------------------------------

ENDED = {OUT: State.FIN_OUT, IN: State.FIN_IN}
RESETS = ["R", "RA", "SR", "SRA", "FR", "FRA", "SFR", "SFRA", "PRA"]
SYNS = ["S", "SA", "SF", "SFA"]
PLACES = {"exact": 0, "just before": -1, "just behind": 1, "in the window": 1000, "outside": 1 << 30, "old": -(1 << 30)}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("flags", RESETS)
def test_a_rst_counts_at_the_very_number_expected(rig: Rig, side: Direction, place: str, flags: str) -> None:
    opened(rig)
    out = say(rig, side, flags, PLACES[place])
    assert out.action == REDIRECT, "its receiver is to judge: it may have to challenge"
    assert state(rig) == (State.RESET if place == "exact" else State.ESTABLISHED)
    assert out.counts.get("IGNORED") == (None if place == "exact" else 1)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("flags", SYNS)
def test_a_syn_changes_nothing_that_lives(rig: Rig, side: Direction, place: str, flags: str) -> None:
    opened(rig)
    before = session(rig).id
    assert say(rig, side, flags, PLACES[place]).action == REDIRECT
    assert state(rig) == State.ESTABLISHED and session(rig).id == before
    assert say(rig, side, "FA").action == REDIRECT and state(rig) == ENDED[side]
    assert say(rig, side, flags, PLACES[place]).action == REDIRECT
    assert state(rig) == ENDED[side] and session(rig).id == before, "one end has not closed yet"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("place", PLACES)
def test_a_fin_counts_in_order(rig: Rig, side: Direction, place: str) -> None:
    opened(rig)
    say(rig, side, "FA", PLACES[place])
    assert state(rig) == (ENDED[side] if place == "exact" else State.ESTABLISHED)


@pytest.mark.parametrize("side", SIDES)
def test_a_fin_before_its_data_counts_once_acknowledged(rig: Rig, side: Direction) -> None:
    opened(rig)
    say(rig, side, "FA", 500)
    assert state(rig) == State.ESTABLISHED
    say(rig, other(side), "A", 0, 0)
    assert state(rig) == State.ESTABLISHED, "the receiver still lacks the data"
    say(rig, side, "R", 501)
    assert state(rig) == State.ESTABLISHED, "nor would it take a RST there"
    say(rig, side, "PA", 0, 0, bytes(500))
    say(rig, other(side), "A", 0, 501)
    assert state(rig) == ENDED[side]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("flags", ["FA", "A"])
def test_what_acknowledges_the_never_sent_moves_nothing(rig: Rig, side: Direction, flags: str) -> None:
    """RFC 5961 section 5. From inside it only raises a doubt, which the true ends settle."""
    opened(rig)
    before = session(rig)
    say(rig, side, flags, 0, 100_000)
    now = session(rig)
    assert now.state & 0xFF == State.ESTABLISHED
    if side == IN:
        assert (list(now.next), list(now.acked), now.state) == (list(before.next), list(before.acked), before.state)
    for each in (side, other(side), side, other(side)):
        say(rig, each)
    assert session(rig).state == before.state and list(session(rig).next) == list(before.next)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("gso", [0, 1448])
def test_a_rst_right_behind_data(rig: Rig, side: Direction, gso: int) -> None:
    """Its receiver has the data, and never says so. A super-packet covers many segments."""
    opened(rig)
    load = bytes(3000 if gso else 1000)
    context = {"gso_size": gso, "gso_segs": -(-len(load) // gso)} if gso else {}
    assert send(rig, side, "PA", AT[side], AT[other(side)], load, **context).drops == {}
    say(rig, side, "R", len(load) + 1)
    assert state(rig) == State.ESTABLISHED
    say(rig, side, "R", len(load))
    assert state(rig) == State.RESET


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("both", [False, True], ids=["half closed", "both closed"])
def test_a_closed_end_refuses_what_was_sent_before_its_fin_came(rig: Rig, side: Direction, both: bool) -> None:
    """A client closes while the last reply is on its way, which acknowledges less than the FIN; so does the RST that
    answers it count. Linux takes it (CLOSE-WAIT, LAST-ACK, CLOSING): a SYN may begin the next connection."""
    opened(rig)
    say(rig, side, "FA")
    say(rig, other(side), "A", 0, 1)
    say(rig, other(side), "PA", 0, 0, b"200 ok\r\n")
    if both:
        say(rig, other(side), "FA", 8, 0)
    for elsewhere in (-1, 2, 500):
        say(rig, side, "R", elsewhere)
        assert state(rig) == (State.CLOSING if both else ENDED[side])
    assert say(rig, side, "R", 0).counts.get("IGNORED") is None
    assert state(rig) == State.RESET


@pytest.mark.parametrize("side", SIDES)
def test_what_was_on_its_way_revives_nothing_for_long(rig: Rig, side: Direction) -> None:
    """An acknowledgement overtakes the reply before it, which waits for the helper: the first RST is exact, the reply
    revives what has half closed, and the RST that the reply draws ends it again."""
    opened(rig)
    say(rig, side, "FA")
    say(rig, other(side), "A", 9, 1)
    say(rig, side, "R", 1)
    assert state(rig) == State.RESET
    say(rig, other(side), "PA", 0, 0, b"200 ok\r\n")
    assert state(rig) == ENDED[side], "not open on both sides: one of them has closed"
    say(rig, side, "R", 0)
    assert state(rig) == State.RESET
    say(rig, other(side), "FA", 8, 0)
    assert state(rig) != State.ESTABLISHED
    say(rig, side, "R", 0)
    assert state(rig) == State.RESET


def test_what_both_ends_had_closed_revives_as_closed(rig: Rig) -> None:
    opened(rig)
    say(rig, OUT, "FA")
    say(rig, IN, "FA")
    say(rig, OUT, "R", 1)
    assert state(rig) == State.RESET
    say(rig, IN, "A", 1, 0)
    assert state(rig) == State.CLOSING


@pytest.mark.parametrize("side", SIDES)
def test_both_close_over_a_request_that_waited(rig: Rig, side: Direction) -> None:
    """One end closes and is gone when the other's request and FIN come, which it refuses with the number of its FIN."""
    opened(rig)
    say(rig, side, "FA")
    say(rig, other(side), "A", 12, 1)
    say(rig, other(side), "PA", 0, 0, b"SITE IDLE\r\n")
    say(rig, side, "R", 0)
    assert state(rig) == State.RESET
    say(rig, other(side), "FA", 11, 0)
    say(rig, side, "R", 0)
    assert state(rig) == State.RESET


@pytest.mark.parametrize("side", SIDES)
def test_a_fin_number_is_worth_nothing_where_nobody_closed(rig: Rig, side: Direction) -> None:
    opened(rig)
    say(rig, other(side), "FA")
    say(rig, other(side), "A", 1)
    say(rig, side, "PA", 0, 1, b"226 done\r\n")
    for at in (9, 11):
        assert say(rig, side, "R", at).counts.get("IGNORED") == 1
    assert state(rig) == ENDED[other(side)]


@pytest.mark.parametrize("side", SIDES)
def test_a_challenge_gets_through_and_its_answer_counts(rig: Rig, side: Direction) -> None:
    """RFC 5961 section 3.2: data was lost behind the gateway, so the RST isn't exact for its receiver."""
    opened(rig)
    say(rig, side, "PA", 0, 0, bytes(700))
    say(rig, side, "R", 700)
    assert state(rig) == State.RESET
    assert say(rig, other(side), "A", 0, 0).action == REDIRECT
    assert state(rig) == State.ESTABLISHED, "the challenge"
    assert say(rig, side, "R", 0).action == REDIRECT
    assert state(rig) == State.RESET


@pytest.mark.parametrize("side", SIDES)
def test_a_host_that_forgot(rig: Rig, side: Direction) -> None:
    """It rebooted: whatever comes is answered by a RST with the number that it acknowledged, and no more."""
    opened(rig)
    say(rig, side, "PA", 0, 0, bytes(700))
    say(rig, other(side), "PA", 0, 700, b"ping")
    send(rig, side, "R", AT[side] + 700, 0)
    assert state(rig) == State.RESET


@pytest.mark.parametrize("side", SIDES)
def test_half_open_and_reset(rig: Rig, side: Direction) -> None:
    """RFC 9293 section 3.5.1: one end forgot and asks anew; the challenge shows it, the next SYN begins a session."""
    opened(rig)
    before = session(rig).id
    send(rig, side, "S", AT[side] + 500_000, 0)
    say(rig, other(side))
    send(rig, side, "R", AT[side], 0)
    assert state(rig) == State.RESET
    send(rig, side, "S", AT[side] + 500_000, 0)
    assert state(rig) == State.NEW and session(rig).id != before


def test_a_port_that_refuses(rig: Rig) -> None:
    """In SYN-SENT a RST must acknowledge the SYN."""
    assert send(rig, OUT, "S", AT[OUT] - 1, 0).action == REDIRECT
    for flags, ack in (("R", 0), ("R", AT[OUT]), ("RA", AT[OUT] + 1), ("RA", AT[OUT] - 1), ("RA", 77)):
        send(rig, IN, flags, 0, ack)
        assert state(rig) == State.NEW, (flags, ack)
    send(rig, IN, "RA", 0, AT[OUT])
    assert state(rig) == State.RESET


def test_an_answer_to_another_syn(rig: Rig) -> None:
    send(rig, OUT, "S", AT[OUT] - 1, 0)
    send(rig, IN, "SA", AT[IN] - 1, AT[OUT] + 5)
    assert state(rig) == State.NEW
    send(rig, IN, "SA", AT[IN] - 1, AT[OUT])
    assert state(rig) == State.ESTABLISHED


def test_keepalives_probes_and_repetitions_change_nothing(rig: Rig) -> None:
    opened(rig)
    say(rig, OUT, "PA", 0, 0, bytes(1000))
    say(rig, IN, "A", 0, 1000)
    want = list(session(rig).next), list(session(rig).acked)
    for at, load in ((999, b""), (999, b"x"), (0, bytes(1000)), (400, bytes(600))):
        assert say(rig, OUT, "A", at, 0, load).action == REDIRECT
        assert say(rig, IN, "A", -1, 1000).action == REDIRECT
        assert (list(session(rig).next), list(session(rig).acked)) == want
    assert state(rig) == State.ESTABLISHED and not session(rig).state & abi.StateBit.DOUBT
    say(rig, IN, "R", 0)
    assert state(rig) == State.RESET


def test_simultaneous_close_and_reopening(rig: Rig) -> None:
    opened(rig)
    say(rig, OUT, "FA")
    say(rig, IN, "FA")
    assert state(rig) == State.CLOSING
    say(rig, OUT, "FA")
    assert state(rig) == State.CLOSING, "a FIN again"
    say(rig, IN, "S", -5)
    assert state(rig) == State.CLOSING, "an old SYN"
    say(rig, OUT, "A", 1, 1)
    assert state(rig) == State.CLOSING, "one of both is acknowledged"
    say(rig, IN, "A", 1, 1)
    assert state(rig) == State.TIME_WAIT
    say(rig, IN, "R", 1)
    assert state(rig) == State.TIME_WAIT, "RFC 1337"
    say(rig, OUT, "S", 1000)
    assert state(rig) == State.NEW


@pytest.mark.parametrize("at", [-70_000, 1000, 2**31])
def test_the_inside_uses_its_port_again_though_the_last_acknowledgement_was_not_seen(rig: Rig, at: int) -> None:
    """Its own system knows that the port is free. New numbers come from a clock: 137 s later they look older."""
    opened(rig)
    say(rig, OUT, "FA")
    say(rig, IN, "FA")
    assert state(rig) == State.CLOSING
    say(rig, OUT, "S", at)
    assert state(rig) == State.NEW


def test_a_session_without_numbers(rig: Rig) -> None:
    """As one that was loaded: safe until both ends have spoken, and not stuck then."""
    opened(rig)
    key = session_key(FLOW, TCP)
    loaded = session(rig)
    loaded.acked[:] = loaded.next[:] = [0, 0]
    loaded.state |= abi.StateBit.DOUBT
    rig.gateway.sessions.put(key, loaded)
    for flags in ("R", "RA", "FA", "S"):
        say(rig, IN, flags)
    say(rig, IN, "PA", 0, 0, b"data")
    assert state(rig) == State.ESTABLISHED
    say(rig, OUT, "A", 0, 4)
    say(rig, OUT, "R")
    assert state(rig) == State.ESTABLISHED, "the outside hasn't confirmed it"
    say(rig, IN, "A", 4, 0)
    assert not session(rig).state & abi.StateBit.DOUBT
    say(rig, OUT, "R")
    assert state(rig) == State.RESET


def test_forged_data_keeps_nothing_alive(rig: Rig) -> None:
    opened(rig)
    idle = session(rig)
    idle.last_seen -= 1000
    rig.gateway.sessions.put(session_key(FLOW, TCP), idle)
    for flags in ("PA", "A", "S", "FA", "RA"):
        say(rig, IN, flags, 1 << 29, 1 << 29)
    assert session(rig).last_seen == idle.last_seen
    say(rig, IN)
    assert session(rig).last_seen != idle.last_seen


def test_a_flood_of_random_numbers(rig: Rig) -> None:
    """Every mix of flags, both ways: nothing moves, and the connection goes on."""
    opened(rig)
    random = Random(5)
    mixes = [*RESETS, *SYNS, "FA", "F", "FPA"]
    before = session(rig)
    for number in range(600):
        side = SIDES[number % 2]
        seq, ack = random.randrange(WRAP), random.randrange(WRAP)
        if (seq - AT[side]) % WRAP > 10:
            send(rig, side, mixes[number % len(mixes)], seq, ack)
    for side in (OUT, IN, OUT, IN):
        say(rig, side)
    now = session(rig)
    assert (now.id, now.state, list(now.next)) == (before.id, before.state, list(before.next))


# -- ICMP errors -------------------------------------------------------------------------------------------------------

HOP = "192.0.2.9"


@pytest.mark.parametrize(("kind", "code", "mtu"), [(3, 4, 1200), (3, 1, 0), (3, 3, 0), (11, 0, 0)])
@pytest.mark.parametrize("at", [-2, -1, 0, 500, 1000, 1001, 1 << 20, 1 << 31])
def test_an_error_quotes_what_is_under_way(rig: Rig, kind: int, code: int, mtu: int, at: int) -> None:
    """RFC 5927 section 4.1. The number just before is a SYN's or a keepalive's."""
    opened(rig)
    say(rig, OUT, "PA", 0, 0, bytes(1000))
    quoted = packets.tcp(Flow(PUBLIC, 40000, REMOTE, 443), bytes(100), "PA", seq=(AT[OUT] + at) % WRAP, ack=AT[IN])
    before = bytes(session(rig))
    error = packets.icmp_error(Flow(HOP, 0, PUBLIC, 0, WAN_MAC, GATEWAY_WAN_MAC), quoted, kind, code, mtu=mtu)
    out = rig.wan_in(error)
    if -1 <= at <= 1000:
        assert out.action == OK and out.drops == {} and packets.field(out.data, "IP_dst") == INSIDE
    else:
        assert out.action == SHOT and out.drops == {"icmp-window": 1}
    assert bytes(session(rig)) == before


# -- two textbook ends -------------------------------------------------------------------------------------------------


@dataclass
class End:
    """A TCP end as RFC 9293 has it, as far as numbers go."""

    isn: int
    next: int = 1
    una: int = 1
    got: int = 1
    early: dict[int, int] = field(default_factory=dict)
    fin: bool = False

    def take(self, start: int, end: int, ack: int) -> None:
        """A segment with the peer's numbers from start to end, counted from its ISN."""
        if ack <= self.next:
            self.una = max(self.una, ack)
        self.early[start] = max(end, self.early.get(start, 0))
        while any(start <= self.got < end for start, end in self.early.items()):
            self.got = max(end for start, end in self.early.items() if start <= self.got)


class Talk:
    """Two ends and the gateway. A segment's fate: through, lost before or behind the gateway, or past it elsewhere."""

    def __init__(self, rig: Rig, isns: tuple[int, int]) -> None:
        self.rig, self.ends = rig, {side: End(isns[side]) for side in SIDES}
        self.seen = 1  # up to where the outbound stream has come by
        for side, flags in ((OUT, "S"), (IN, "SA")):
            one, peer = self.ends[side], self.ends[other(side)]
            assert send(rig, side, flags, one.isn, peer.isn + 1).action == REDIRECT
        self.segment(OUT, 1, 0)

    def segment(self, side: Direction, start: int, size: int, fate: str = "through", fin: bool = False) -> None:
        one, peer = self.ends[side], self.ends[other(side)]
        if fin and (fate == "elsewhere" or (side == IN and one.got > self.seen)):
            fate = "lost before"  # of an end that passed elsewhere, or answers what did, nobody here can know
        if fate in ("through", "lost behind"):
            self.seen = max(self.seen, start + size + fin) if side == OUT else self.seen
            flags = "FA" if fin else "A"
            out = send(self.rig, side, flags, one.isn + start, peer.isn + one.got, bytes(size))
            assert out.action == REDIRECT and out.drops == {}
        if fate in ("through", "elsewhere"):
            peer.take(start, start + size + fin, one.got)

    def step(self, what: str, side: Direction, size: int, fate: str) -> None:
        one = self.ends[side]
        if what == "data" and not one.fin:
            self.segment(side, one.next, size, fate)
            one.next += size
        elif what == "fin" and not one.fin:
            one.fin = True
            self.segment(side, one.next, 0, fate, fin=True)
            one.next += 1
        elif what == "again":
            self.again(side, fate)
        else:
            self.segment(side, one.next, 0, fate)

    def again(self, side: Direction, fate: str = "through") -> None:
        """What isn't acknowledged, with the FIN if that is among it."""
        one = self.ends[side]
        size = min(one.next - one.una, 1200)
        fin = one.fin and size > 0 and one.una + size == one.next
        self.segment(side, one.una, size - fin, fate, fin)

    def finish(self) -> None:
        """No more losses: all is repeated, acknowledged and closed."""
        for side in SIDES:
            self.step("fin", side, 0, "through")
        for _ in range(40):
            for side in SIDES:
                self.again(side)
                self.segment(other(side), self.ends[other(side)].next, 0)


FATES = st.sampled_from(["through"] * 6 + ["lost before", "lost behind", "elsewhere"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["data", "data", "data", "ack", "again", "fin", "forged"]),
        st.sampled_from(SIDES),
        st.integers(1, 1200),
        FATES,
        st.sampled_from([*RESETS, *SYNS]),
        st.integers(0, WRAP - 1),
    ),
    max_size=25,
)


UNSEEN = ("data", OUT, 1, "elsewhere", "R", 0)
FIN_THEN_DOUBT = [
    *[("data", OUT, 1, "through", "R", 0)] * 11,
    ("data", OUT, 914, "lost before", "R", 0), ("data", OUT, 443, "through", "R", 0),
    ("data", IN, 466, "lost before", "R", 0), ("data", IN, 734, "through", "R", 0),
    ("data", OUT, 1, "lost before", "R", 0), ("again", OUT, 1, "through", "R", 0),
    ("fin", IN, 1, "through", "R", 0), ("data", OUT, 1, "through", "R", 0),
]  # fmt: skip
"""The outside's FIN waits for what stands before it while the inside's data brings doubt."""
AGAIN_IN_DOUBT = [
    *[("data", OUT, 1, "through", "R", 0)] * 5,
    ("data", OUT, 1043, "lost before", "R", 0), ("data", OUT, 726, "through", "R", 0),
    ("again", OUT, 1, "through", "R", 0),
    *[("data", OUT, 1, "lost before", "R", 0)] * 2,
    ("data", IN, 1, "through", "R", 0), ("fin", IN, 1, "through", "R", 0),
]  # fmt: skip
"""A repetition doesn't reach as far as what brought doubt, and the outside has acknowledged all of that."""
DOUBT_BEHIND_FIN = [
    *[("data", OUT, 1, "through", "R", 0)] * 2, UNSEEN, ("fin", OUT, 1, "through", "R", 0),
    ("data", IN, 1, "elsewhere", "R", 0),
]  # fmt: skip
"""The inside's FIN waits for what stands before it, and what brings doubt is the acknowledgement behind it."""


@example(steps=[UNSEEN, ("data", OUT, 1, "through", "R", 0), ("fin", OUT, 1, "through", "R", 0)], isns=(7, 7))
@example(steps=[UNSEEN, ("data", IN, 1, "through", "R", 0), ("fin", IN, 1, "through", "R", 0)], isns=(7, 7))
@example(steps=FIN_THEN_DOUBT, isns=(7, 7))
@example(steps=AGAIN_IN_DOUBT, isns=(7, 7))
@example(steps=DOUBT_BEHIND_FIN, isns=(7, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, isns=st.tuples(*[st.sampled_from([7, 1 << 31, WRAP - 900])] * 2))
def test_no_stranger_ends_a_conversation_and_its_own_end_is_seen(
    rig: Rig, steps: list[tuple[str, Direction, int, str, str, int]], isns: tuple[int, int]
) -> None:
    """Whatever was lost or went elsewhere, and whatever a stranger sent in between."""
    rig.reset()
    talk = Talk(rig, isns)
    number = session(rig).id
    for what, side, size, fate, flags, guess in steps:
        if what != "forged":
            talk.step(what, side, size, fate)
            continue
        before = session(rig)
        if flags == "S" and state(rig) in (State.CLOSING, State.TIME_WAIT):
            continue  # both ends have closed: such a SYN begins the next connection
        if guess not in (before.acked[side], before.next[side]):
            send(rig, side, flags, guess, guess * 7)
            after = session(rig)
            assert (after.id, after.state, list(after.next)) == (before.id, before.state, list(before.next)), flags
    assert state(rig) != State.RESET
    if state(rig) != State.TIME_WAIT:
        talk.finish()
    assert state(rig) == State.TIME_WAIT and session(rig).id == number
