"""A server's line that names a connection: expected by the kernel as it passes, or held (named.h)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.alg.helper.strays import LATE, strays
from algate.bpf import abi, syscall, ticks
from algate.bpf.tables import U32
from tests import packets
from tests.bpf.rig import INSIDE, REDIRECT, REMOTE, TCP, Rig
from tests.bpf.test_lines import INTEREST, copied, fill, say, state
from tests.bpf.watched import FTP, IN, OUT, Watched, watch
from tests.packets import Flow

pytestmark = pytest.mark.bpf
LASTS = 5000
SIX = REMOTE.replace(".", ",")
PASV, EPSV = f"227 Entering Passive Mode ({SIX},195,80).\r\n", "229 Entering Extended Passive Mode (|||50000|)\r\n"


@pytest.fixture
def told(rig: Rig) -> Iterator[Watched]:
    """A session with an unanswered PASV, in which 227 and 229 may pass where the kernel expects what they name."""
    session = watch(rig)
    kind = abi.Line.COPIED | abi.Line.NAMES
    for word, what in ((b"PASV", abi.Line.PASSES), (b"227\0", kind), (b"229\0", kind)):
        key = abi.PassableKey(interest=INTEREST, reply=word[:1].isdigit())
        key.word[:4] = list(word)
        rig.gateway.passable.put(key, what)
    state(session, unanswered=1)
    lasts(rig, LASTS)
    rig.taken()
    yield session
    opening(rig, abi.Opening())  # other tests' sessions begin with all lines held


def opening(rig: Rig, row: abi.Opening) -> None:
    syscall.update(rig.gateway.map_fd("openings"), U32.pack(FTP), bytes(row))


def lasts(rig: Rig, number: int) -> None:
    opening(rig, abi.Opening(flags=1, lasts=number))


def place(port: int = 50000) -> abi.ExpectationKey:
    ends = {"from_": abi.ip_to_be32(INSIDE), "to": abi.ip_to_be32(REMOTE)}
    return abi.ExpectationKey(**ends, to_port=abi.be16(port), proto=TCP, dir=OUT)


def rows(session: Watched) -> dict[int, abi.Expectation]:
    return {abi.be16(key.to_port): value for key, value in session.rig.gateway.expectations.items()}


@pytest.mark.parametrize(
    "line",
    [
        PASV, EPSV, PASV.replace(").", ")"), PASV.replace(").", "). "), f"227 ok and more of it ({SIX},195,080)\r\n",
        "227 Entering Passive Mode (0,0,0,0,195,80)\r\n",
    ],
)  # fmt: skip
def test_what_it_names_is_expected_before_it_leaves(told: Watched, line: str) -> None:
    punt = copied(told, line.encode(), IN)
    ((port, made),) = rows(told).items()
    assert port == 50000 and made.id == punt.expectation_id
    assert made.id >> abi.EXPECT_NAMED == 1 and made.id >> abi.EXPECT_NAMED_PORT & 0xFFFF == port
    assert (made.control_id, bytes(made.control_key)) == (told.id, bytes(told.key))
    assert (made.state, made.alg, made.flags) == (abi.ExpectationState.OPEN, FTP, 0)
    assert 0 < made.expires - ticks.now() <= LASTS


def test_its_connection_is_its_sessions(told: Watched) -> None:
    punt = copied(told, PASV.encode(), IN)
    flow = Flow(INSIDE, 40100, REMOTE, 50000)
    assert told.rig.lan(packets.tcp(flow, b"", "S", seq=1, ack=0)).action == REDIRECT
    data = told.rig.session(flow, TCP)
    assert data is not None and told.rig.gateway.relations[data.id] == told.id
    ((used, _),) = told.rig.taken()
    assert (used.kind, used.expectation_id) == (abi.PuntKind.EXPECT_USED, punt.expectation_id)
    assert not rows(told)


def test_a_port_may_be_named_again_before_anybody_has_read_that_it_was_used(told: Watched) -> None:
    """Servers choose among some ten thousand ports, and hundreds of sessions may be unread."""
    first = copied(told, PASV.encode(), IN)
    assert told.rig.lan(packets.tcp(Flow(INSIDE, 40100, REMOTE, 50000), b"", "S", seq=1, ack=0)).action == REDIRECT
    told.rig.taken()
    state(told, unanswered=1)
    second = copied(told, PASV.replace("Mode", "mode").encode(), IN)
    assert rows(told)[50000].id == second.expectation_id != first.expectation_id


@pytest.mark.parametrize(
    "line",
    [
        PASV.replace(SIX, "203,0,113,99"), PASV.replace("195,80", "3,255"), PASV.replace("195,80", "0,21"),
        PASV.replace("195", "256"), PASV.replace("195,80", "195,80,1"), PASV.replace(f"{SIX},", ""),
        PASV.replace("(", ""), PASV.replace(").", ") at last"), PASV.replace(",195", ", 195"), PASV.replace("195", ""),
        PASV.replace("195", "0000195"), EPSV.replace("50000", "65536"), EPSV.replace("50000", "1023"),
        EPSV.replace("50000", ""), EPSV.replace("|||", "||"), EPSV.replace("|||", "||||"), EPSV.replace("|", "!"),
        EPSV.replace("|||", "|1|"), "227 no\r\n", "229 Entering Extended Passive Mode (|||)\r\n",
        "227 Entering Passive Mode, wherever\r\n", "227 (1,2,3,4,5,6)\r\n", PASV.replace("195,80", "195,300"),
        "227 (,0,0,0,195,80)\r\n", EPSV.replace("(", "(1"),
    ],
)  # fmt: skip
def test_what_is_doubtful_waits(told: Watched, line: str) -> None:
    assert not say(told, line.encode(), IN) and not rows(told)


def test_where_nothing_is_expected_without_the_helper_it_waits(told: Watched) -> None:
    lasts(told.rig, 0)
    assert not say(told, PASV.encode(), IN) and not rows(told)


def test_what_is_expected_already_waits(told: Watched) -> None:
    before = told.expect(place(), 50000, abi.ExpectationState.OPEN)
    assert not say(told, PASV.encode(), IN)
    assert bytes(rows(told)[50000]) == bytes(before)


def test_what_answers_nothing_waits(told: Watched) -> None:
    state(told, unanswered=0)
    assert not say(told, PASV.encode(), IN) and not rows(told)


def test_what_the_inside_says_waits(told: Watched) -> None:
    session = told.rig.gateway.sessions[told.key]
    session.flags |= abi.SessionFlag.FORWARD
    told.rig.gateway.sessions.put(told.key, session)
    state(told, unanswered=1)
    assert not say(told, PASV.encode(), OUT) and not rows(told)


@pytest.mark.usefixtures("one_cpu")
def test_nothing_stays_expected_where_the_ring_has_no_room(told: Watched) -> None:
    fill(told)
    state(told, unanswered=1)
    assert told.send(IN, told.frame(IN, PASV.encode())).drops == {"punt-lost": 1}
    assert not rows(told)


def test_what_nobody_has_read_of_goes_once_its_time_is_over(told: Watched) -> None:
    """The copy of its line was lost, so nobody will ever end it. What the engine knows is the engine's."""
    copied(told, PASV.encode(), IN)
    table = told.rig.gateway.expectations
    ((number, end),) = [(one.id, one.expires) for _, one in table.items()]
    moments = end + LATE, end + LATE + 1, end + ticks.HALF - 1
    assert [len([*strays(table, lambda _: False, moment % ticks.WRAP)]) for moment in moments] == [0, 1, 1]
    assert not [*strays(table, lambda one: one == number, (end + LATE + 1) % ticks.WRAP)]
    assert [*strays(table, lambda _: False, (end + LATE + 1) % ticks.WRAP)] == [bytes(place())]


def test_a_repetition_finds_its_decision(told: Watched) -> None:
    copied(told, PASV.encode(), IN)
    frame = told.frame(IN, PASV.encode())
    assert told.send(IN, frame).action == REDIRECT and len(rows(told)) == 1
