"""Events on their way: bounds, reports of losses, the journal's datagrams, a transfer's figures."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from algate.alg.admin.filters import parse
from algate.alg.audit import events
from algate.alg.audit.events import (
    COMMANDS_PER_SECOND,
    HISTORY_EVENTS,
    HISTORY_SESSIONS,
    Events,
    transfer_row,
)
from algate.alg.audit.follower import QUEUE, Follower
from algate.alg.audit.journal import VALUE_MAX, Journal
from algate.alg.audit.transfers import AT_ONCE, DESCRIBED_MOST, Counters, Payload, Transfer, Transfers
from algate.alg.plugin.model import Control, EndPoint, Purpose, Side
from algate.alg.rows import EventRow

pytestmark = pytest.mark.unit
HOSTILE = "evil\x1b]0;x\x07\r\nALGATE_EVENT=forged\u202e"
NO_JOURNAL = Journal(Path("/nonexistent"))


def row(event: str = "violation", reason: str = "", detail: str = "", control: str = "a1", **fields: str) -> EventRow:
    return EventRow(1.0, event, control, "ftp", detail, reason, fields)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[Journal, socket.socket]]:
    """A journal and the socket that journald would read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "socket"))
        reader.settimeout(5)
        made = Journal(tmp_path / "socket")
        yield made, reader
        made.close()


def test_the_journal_gets_fields_and_no_hostile_byte(journal: tuple[Journal, socket.socket]) -> None:
    made, reader = journal
    assert made
    made.write(row("command-refused", "denied-command", f"DELE {HOSTILE}", user=HOSTILE, long="x" * 5000))
    sent = reader.recv(65536)
    assert sent.isascii() and all(byte >= 32 or byte == 10 for byte in sent)
    pairs = dict(one.split("=", 1) for one in sent.decode().splitlines())
    assert pairs["ALGATE_EVENT"] == "command-refused" and pairs["ALGATE_CONTROL"] == "a1"
    assert pairs["ALGATE_REASON"] == "denied-command" and pairs["ALGATE_ALG"] == "ftp"
    assert (pairs["PRIORITY"], pairs["SYSLOG_IDENTIFIER"]) == ("5", "algate")
    assert pairs["ALGATE_USER"].startswith("evil\\x1b]0;x") and pairs["MESSAGE"].startswith("DELE evil\\x1b]0;x")
    assert len(pairs["ALGATE_LONG"]) == VALUE_MAX
    assert len(sent.splitlines()) == len(pairs)


def test_no_journal_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not NO_JOURNAL
    NO_JOURNAL.write(row())
    (tmp_path / "file").touch()
    assert not Journal(tmp_path / "file"), "a file is no socket"
    monkeypatch.setenv("ALGATE_JOURNAL", "")
    assert not Journal()


def test_a_journal_that_went_away_or_is_busy_is_not_waited_for(journal: tuple[Journal, socket.socket]) -> None:
    made, reader = journal
    for _ in range(100_000):
        made.write(row())
        if made.lost:
            break
    assert made.lost, "the reader's queue is bounded"
    lost = made.lost
    reader.close()
    made.write(row())
    assert made.lost == lost + 1


def test_a_slow_follower_loses_commands_first_and_is_told() -> None:
    async def run() -> list[EventRow]:
        follower = Follower()
        for number in range(QUEUE):
            follower.put(row("command", detail=str(number)))
        for number in range(QUEUE // 2 + 10):
            follower.put(row("violation", "x", str(number)))
        return [await follower.get() for _ in range(QUEUE // 2 + 2)]

    got = asyncio.run(run())
    assert {one.event for one in got[: QUEUE // 2]} <= {"command", "violation", "events-lost"}
    (told,) = [one for one in got if one.event == "events-lost"]
    assert told.fields["count"] == QUEUE // 2 + 10


def test_history_is_bounded_and_has_no_plain_commands() -> None:
    made = Events(NO_JOURNAL)
    for number in range(HISTORY_SESSIONS + 5):
        made.add(row(control=f"{number:x}"))
    assert len(made.known()) == HISTORY_SESSIONS and made.history("0") == []
    for number in range(HISTORY_EVENTS + 3):
        made.add(row(detail=str(number), control="5"))
        made.add(row("command", control="5"))
    assert [one.detail for one in made.history("5")] == [str(3 + number) for number in range(HISTORY_EVENTS)]
    assert not any(one.event == "command" for one in made.latest)


def test_commands_are_wanted_only_while_somebody_hears_and_only_so_many() -> None:
    made = Events(NO_JOURNAL)
    made.tick(0.05)
    assert not made.audience.hears()
    with made.subscribed():
        heard = sum(made.audience.hears() for _ in range(COMMANDS_PER_SECOND))
        assert 0 < heard < COMMANDS_PER_SECOND / 10
        made.tick(0.05)
        assert made.audience.hears()
        assert made.lost >= COMMANDS_PER_SECOND - heard
    assert not made.audience.hears()


def test_with_a_journal_commands_are_always_wanted(journal: tuple[Journal, socket.socket]) -> None:
    made = Events(journal[0])
    assert made.audience.hears()
    made.add(row("command", detail="NOOP"))
    assert b"ALGATE_DETAIL=NOOP" in journal[1].recv(65536)


def test_a_storm_reaches_the_log_in_bounds(caplog: pytest.LogCaptureFixture) -> None:
    made = Events(NO_JOURNAL)
    with caplog.at_level("INFO", logger=events.__name__):
        for _ in range(5000):
            made.add(row(detail=HOSTILE))
    assert 0 < len(caplog.records) <= 4 * events.LOG_PER_SECOND
    assert not any("\x1b" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ({"event": "expectation"}, True),
        ({"event": "expectation-made,command"}, False),
        ({"event": "expect"}, False),
        ({"reason": "any"}, True),
        ({"reason": "no-port"}, True),
        ({"reason": "port"}, False),
        ({"inside": "10.0.0.0/24"}, True),
        ({"inside": "10.0.1.0/24"}, False),
        ({"outside": ":21"}, True),
        ({"outside": "192.0.2.1"}, False),
    ],
)
def test_filters(args: dict[str, str], wanted: bool) -> None:
    one = row("expectation-refused", "no-port", inside="10.0.0.5:40000", outside="198.51.100.2:21")
    assert parse(args).matches(one) is wanted


CONTROL = Control(
    7, EndPoint(ip_address("10.0.0.5"), 1), EndPoint(ip_address("203.0.113.1"), 1),
    EndPoint(ip_address("198.51.100.2"), 21), Side.CLIENT,
)  # fmt: skip


def looked(book: Transfers, found: Counters | None) -> list[Transfer]:
    """What a whole poll finds ended, if every key finds the same."""
    return [one for step in book.poll(lambda _key, _begins: found) for one in step]


def test_a_poll_of_many_is_done_in_steps_and_bears_what_comes_and_goes_between() -> None:
    book = Transfers()
    for number in range(3 * AT_ONCE):
        book.admit(7, CONTROL, 0, number, bytes([number]))
    read: list[bytes] = []

    def ended(key: bytes, _begins: bool) -> Counters | None:
        read.append(key)
        return None

    steps = book.poll(ended)
    assert len(next(steps)) == len(read) == AT_ONCE, "a step looks at so many and no more"
    book.admit(7, CONTROL, 0, 1000, b"late")
    assert sum(map(len, steps)) == 2 * AT_ONCE
    assert len(book) == 1 and b"late" not in read


def test_two_polls_at_once_tell_of_each_end_once() -> None:
    """One is under way when a port is needed, and ended connections are looked at once more before they go."""
    book = Transfers()
    for number in range(2 * AT_ONCE):
        book.admit(1, None, 0, number, b"%d" % number)

    def ended(key: bytes, _begins: bool) -> Counters:
        return Counters(int(key), (1, 1), (1, 1), 1.0, "closed")

    slow = book.poll(ended)
    told = [one.data for one in next(slow)]
    told += [one.data for step in book.poll(ended) for one in step]
    told += [one.data for step in slow for one in step]
    assert sorted(told) == list(range(2 * AT_ONCE)) and len(book) == 0


def test_an_event_that_nobody_reads_never_becomes_text(caplog: pytest.LogCaptureFixture) -> None:
    written: list[str] = []

    def write() -> EventRow:
        written.append("row")
        return row(control="5", detail="told")

    made = Events(NO_JOURNAL)
    made.tell("command", "5", write)
    with caplog.at_level(logging.WARNING, logger=events.__name__):
        made.tell("violation", "5", write)
    assert written == [] and made.known() == ["5"]
    assert [one.detail for one in made.history("5")] == [one.detail for one in made.latest] == ["told"]
    assert written == ["row"], "made once, and no command is kept"
    with made.subscribed() as follower:
        made.tell("command", "5", write)
        assert asyncio.run(follower.get()).detail == "told"


@pytest.mark.parametrize("first", ["described", "admitted"])
@pytest.mark.parametrize(
    ("verb", "side", "way"),
    [
        ("RETR", Side.CLIENT, "in"),
        ("STOR", Side.CLIENT, "out"),
        ("RETR", Side.SERVER, "out"),
        ("STOR", Side.SERVER, "in"),
    ],
)
def test_a_transfer_is_told_when_it_ends(first: str, verb: str, side: Side, way: str) -> None:
    book = Transfers()
    control = replace(CONTROL, inside_side=side)
    purpose = Purpose(3, f"{verb} file", (("verb", verb), ("name", "file")))
    if first == "described":
        book.describe(7, purpose)
    book.admit(7, control, 3, 99, b"key")
    if first == "admitted":
        book.describe(7, purpose)
    begins = ((1 << 32) - 50, 7)
    assert looked(book, Counters(99, (5, 5), (400, 500), 0.5, "", next=(150, 107), begins=begins)) == []
    fins = (True, True)
    (done,) = looked(book, Counters(99, (10, 20), (1000, 4000), 2.0, "closed", next=(451, 3008), fins=fins))
    size, octets, packets = (3000, 4000, 20) if way == "in" else (500, 1000, 10)
    assert done.fields == {
        "verb": verb, "name": "file", "direction": way, "bytes": size, "ip_bytes": octets, "counted": "payload",
        "packets": packets, "duration": 2.0, "rate": size // 2, "data_session": f"{99:016x}",
    }  # fmt: skip
    assert transfer_row(done, "ftp", 0.0).detail == f"{verb} file: {size} bytes {way}ward in 2.0 s"
    assert len(book) == 0 and looked(book, None) == []


def test_a_connection_that_vanished_is_told_with_what_was_counted_last() -> None:
    book = Transfers()
    book.admit(7, None, 0, 99, b"key")
    looked(book, Counters(99, (1, 9), (40, 900), 1.0, ""))
    (gone,) = looked(book, Counters(100, (0, 0), (0, 0), 0.0, ""))
    assert gone.last is not None and (gone.last.ended, gone.fields["bytes"]) == ("gone", 900)
    assert gone.fields["counted"] == "packets"
    assert transfer_row(gone, None, 0.0).detail == "data connection: 900 bytes of IP packets inward in 1.0 s"


def test_payload_is_counted_beyond_what_a_number_holds_and_doubts_are_taken_back() -> None:
    step, begins = 3 << 30, (1000, 2000)
    made, octets, at = Payload(), 0, 2000
    for _ in range(5):
        octets, at = octets + step + 4096, (at + step) % (1 << 32)
        now = Counters(1, (0, 9), (0, octets), 1.0, "", next=(1000, at), begins=begins)
        made.follow(now)
    assert made.of(now, 1) == 5 * step and made.of(now, 0) == 0
    made.follow(now._replace(next=(1000, (at - 500) % (1 << 32))))
    assert made.of(now, 1) == 5 * step - 500, "the inside said that it had less"


def test_a_datagrams_payload_is_what_its_headers_leave() -> None:
    assert Payload().of(Counters(1, (0, 3), (0, 300), 1.0, "", proto=17), 1) == 300 - 3 * 28


def test_what_was_described_and_never_came_goes_with_its_session_or_makes_room() -> None:
    book = Transfers()
    for session in range(3):
        for tag in (1, 2):
            book.describe(session, Purpose(tag, f"{session}.{tag}"))
    book.describe(2, Purpose(1, "again"))
    book.forget(0)
    book.forget(7)
    for session in range(3):
        book.admit(session, None, 1, session, b"")
    assert [one and one.detail for one in map(book.purpose, range(3))] == [None, "1.1", "again"]
    for tag in range(DESCRIBED_MOST):
        book.describe(9, Purpose(100 + tag, ""))
    assert book._described == DESCRIBED_MOST == sum(map(len, book._purposes.values()))
    book.admit(1, None, 2, 11, b"")
    book.admit(9, None, 100, 12, b"")
    assert book.purpose(11) is None, "the oldest made room"
    assert book.purpose(12) is not None
