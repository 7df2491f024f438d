"""Ranges of ports in the book of expectations: shared rows, heirs, what is not granted."""

from __future__ import annotations

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.effects import SessionInfo, SessionKey
from algate.alg.engine.expectations import (
    NAMED,
    NAMED_PORT,
    Book,
    Expectations,
    NoExpectationError,
    is_named,
    named_by,
)
from algate.alg.engine.sink import Sink
from algate.alg.plugin.model import Direction, Expect, Reserve
from algate.alg.testing import at
from tests.toy import Ports
from tests.wire import NAT64

PEER = at("198.51.100.2:1").ip
INSIDE = at("10.0.0.5:50000")
RANGE = Expect(1, Direction.IN, PEER, None, 100.0, open=True, once=False, ports=11)


def info(number: int) -> SessionInfo:
    key = SessionKey(bytes((10, 0, 0, 5)), 21, PEER.packed, 40000 + number)
    return SessionInfo(number, key, bytes((203, 0, 113, 1)), 21, fx.SESSION_FORWARD)


def made(books: Expectations, number: int) -> tuple[Book, Sink]:
    book, effects = Book(), Sink()
    assert books.reserve(book, info(number), Reserve(1, INSIDE, 11, shared=True), effects) == at("203.0.113.1:50000")
    books.expect(book, info(number), RANGE, effects)
    return book, effects


def test_sessions_of_one_peer_share_a_row_and_the_last_takes_it_away() -> None:
    books = Expectations(Ports(), 64, 64)
    first, _ = made(books, 1)
    second, effects = made(books, 2)
    assert [type(effect) for effect in effects.effects] == [fx.PutExpectation]
    assert books.ranged() == {1, 2}
    gone = Sink()
    books.withdraw_all(second, "control-ended", gone)
    delete, release = gone.effects
    assert isinstance(delete, fx.DeleteExpectation) and delete.heir is not None and delete.heir.session == 1
    assert isinstance(release, fx.ReleasePort) and release.shared and release.ports == 11
    gone = Sink()
    books.withdraw_all(first, "control-ended", gone)
    assert isinstance(gone.effects[0], fx.DeleteExpectation) and gone.effects[0].heir is None
    assert books.ranged() == set() and len(books) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        Expect(1, Direction.IN, PEER, None, 1.0, open=True, once=False, ports=12),
        Expect(1, Direction.IN, PEER, None, 1.0, open=True, once=True, ports=11),
        Expect(1, Direction.IN, PEER, None, 1.0, open=False, once=False, ports=11),
    ],
)
def test_a_range_is_the_whole_block_open_and_lasting(wrong: Expect) -> None:
    books, book, effects = Expectations(Ports(), 64, 64), Book(), Sink()
    books.reserve(book, info(1), Reserve(1, INSIDE, 11, shared=True), effects)
    with pytest.raises(NoExpectationError, match="expectation-range"):
        books.expect(book, info(1), wrong, effects)


def test_a_block_of_ones_own_is_no_range() -> None:
    books, book, effects = Expectations(Ports(), 64, 64), Book(), Sink()
    books.reserve(book, info(1), Reserve(1, INSIDE, 11), effects)
    with pytest.raises(NoExpectationError, match="expectation-range"):
        books.expect(book, info(1), RANGE, effects)


PORT = 50_001
NUMBER = 1 << NAMED | PORT << NAMED_PORT | 12345
NAMED_64 = named_by(NUMBER, NAT64)
OTHERS: dict[str, object] = {
    "session": 78, "direction": fx.IN, "proto": 17, "from_ip": NAT64.key.inside_ip, "to": at("198.51.100.2:50002"),
    "state": fx.EXPECT_PENDING, "persistent": True, "from_port": 20, "ports": 2, "early": True,
}  # fmt: skip


def test_what_the_kernel_expects_by_itself_is_known() -> None:
    assert NAMED_64.to == at(f"198.51.100.2:{PORT}") and NAMED_64.from_ip == NAT64.inside6
    assert is_named(NAMED_64, NUMBER, NAT64) and is_named(NAMED_64.named(5, 7.0), NUMBER, NAT64)
    assert not is_named(NAMED_64._replace(to=at(f"198.51.100.3:{PORT}")), NUMBER, NAT64)


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_in_anything_is_another(name: str) -> None:
    assert not is_named(NAMED_64._replace(**{name: OTHERS[name]}), NUMBER, NAT64)


def test_every_field_of_an_expectation_is_looked_at_or_follows_from_its_session() -> None:
    follows = {"id", "expires", "control_key", "alg", "inside", "reserved"}  # the last two: of what comes in alone
    assert {*OTHERS} == {*fx.Expectation.__match_args__} - follows
