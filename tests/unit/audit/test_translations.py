"""Records of translations on their way: lines and back, wishes, gaps, files that are put aside, syslog, the journal."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from algate.alg.audit import record
from algate.alg.audit.journal import Journal, JournalLog, translation_entry
from algate.alg.audit.logfile import LogFile, family
from algate.alg.audit.logs import Log
from algate.alg.audit.places import Logs
from algate.alg.audit.relay import Relay, Wish
from algate.alg.audit.syslog import Syslog, message
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind
from algate.alg.config.sections import LogSection
from algate.alg.errors import AlgateError
from algate.alg.plugin.model import EndPoint

pytestmark = pytest.mark.unit

K = TranslationKind
INSIDE = PackedEnd(bytes([10, 50, 0, 2]), 40000)
PUBLIC = PackedEnd(bytes([203, 0, 113, 7]), 40001)
REMOTE = PackedEnd(bytes([198, 51, 100, 2]), 80)
MADE = Translation(K.SESSION_CREATED, 1000.5, 6, INSIDE, PUBLIC, REMOTE, 0x1234, "ftp", 0x77, state="new")
ENDED = replace(
    MADE, kind=K.SESSION_ENDED, time=1100.25, since=1000.5, octets=(100, 200), packets=(3, 4), duration=99.5,
    state="time-wait",
)  # fmt: skip
TAKEN = Translation(K.MAPPING_CREATED, 1000.5, 17, INSIDE, PUBLIC)
FREED = replace(TAKEN, kind=K.MAPPING_ENDED, time=1300.0, since=1000.5)
BLOCK = Translation(K.BLOCK_ASSIGNED, 900.0, 0, PackedEnd(INSIDE.ip, 0), PackedEnd(PUBLIC.ip, 0), ports=(40000, 40511))
EXEMPT = replace(MADE, public=None, alg=None, related=0)


class Heard:
    """A sink and a place that remembers."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.records: list[Translation] = []
        self.gaps: list[int] = []
        self.room, self.closed = room, False

    def take(self, translations: Sequence[Translation]) -> None:
        self.records += translations

    def lost(self, number: int) -> None:
        self.gaps.append(number)

    def write(self, records: Sequence[Translation]) -> int:
        kept = records[: self.room]
        self.room -= len(kept)
        self.records += kept
        return len(kept)

    def gap(self, number: int) -> bool:
        if not self.room:
            return False
        self.gaps.append(number)
        return True

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("one", [MADE, ENDED, TAKEN, FREED, BLOCK, EXEMPT, replace(TAKEN, remote=REMOTE)])
def test_a_line_tells_everything(one: Translation) -> None:
    assert record.parse(record.line(one)) == one


def test_lines_are_a_contract() -> None:
    assert record.line(ENDED) == (
        "1970-01-01T00:18:20.250000Z session-ended tcp inside=10.50.0.2:40000 public=203.0.113.7:40001"
        " remote=198.51.100.2:80 session=0000000000001234 alg=ftp related=0000000000000077"
        " since=1970-01-01T00:16:40.500000Z packets_out=3 packets_in=4 bytes_out=100 bytes_in=200 duration=99.500"
        " state=time-wait"
    )
    assert record.line(BLOCK).endswith("block-assigned any inside=10.50.0.2 public=203.0.113.7 ports=40000-40511")


@pytest.mark.parametrize("text", ["", "x y z", record.line(MADE)[:60], record.gap(3, 1.0), "a session-ended tcp b c"])
def test_what_is_no_record_is_passed_over(text: str) -> None:
    assert record.parse(text) is None


def test_wishes_cover_both() -> None:
    lan, other = IPv4Network("10.0.0.0/24"), IPv4Network("10.1.0.0/24")
    one = Wish(sessions=True, watched=True, protos=frozenset((6,)), inside=lan)
    assert one | Wish() == Wish() | one == one
    assert one | replace(one, protos=frozenset((17,))) == replace(one, protos=frozenset((6, 17)))
    assert one | Wish(mappings=True) == Wish(sessions=True, mappings=True)
    assert (one | replace(one, inside=other)).inside == IPv4Network("0.0.0.0/0")
    assert one.network == (IPv4Address("10.0.0.0"), IPv4Address("255.255.255.0"))


def test_the_relay_says_when_the_wish_changes() -> None:
    relay, changes = Relay(), list[Wish]()
    relay.changed = lambda: changes.append(relay.wish)
    first, second = Heard(), Heard()
    relay.add(first, Wish(mappings=True))
    relay.add(second, Wish(mappings=True))
    relay.take([MADE])
    relay.lost(2)
    relay.remove(first)
    relay.take([ENDED])
    relay.remove(second)
    assert changes == [Wish(mappings=True), Wish()]
    assert (first.records, second.records, first.gaps) == ([MADE], [MADE, ENDED], [2])
    assert (relay.told, relay.missed) == (2, 2)


@pytest.mark.parametrize(
    ("level", "kept"),
    [("blocks", [BLOCK]), ("mappings", [TAKEN, FREED, BLOCK]), ("sessions", [MADE, ENDED, BLOCK])],
)
def test_a_level_keeps_its_kinds(level: str, kept: list[Translation]) -> None:
    place = Heard()
    log = Log("x", level, place)
    log.take([MADE, TAKEN, ENDED, FREED, BLOCK])
    assert place.records == kept and (log.written, log.missed) == (len(kept), 0)


def test_what_has_no_room_is_counted_and_told_behind_the_gap() -> None:
    place = Heard(room=1)
    log = Log("x", "sessions", place)
    log.take([MADE, ENDED, ENDED])
    log.lost(5)
    assert (log.written, log.missed, place.gaps) == (1, 7, [])
    place.room = 10
    log.take([MADE])
    assert place.gaps == [7] and place.records == [MADE, MADE]


def test_a_rate_is_kept() -> None:
    place = Heard()
    log = Log("x", "sessions", place, rate=10)
    log.take([MADE] * 100)
    assert len(place.records) == 20 and log.missed == 80


def lines(path: Path) -> list[str]:
    return [line for one in family(path) for line in one.read_text().splitlines()]


def idle(log: LogFile) -> None:
    """Wait until the thread has written what was put."""
    until = time.monotonic() + 10
    while log.waiting and time.monotonic() < until:
        time.sleep(0.001)


def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, size=1000, files=3)
    for number in range(40):
        assert log.write([replace(MADE, session=number + 1)]) == 1
        idle(log)
    log.close()
    assert [one.name for one in family(path)] == ["log.2", "log.1", "log"]
    found = [record.parse(line) for line in lines(path)]
    numbers = [one.session for one in found if one]
    assert numbers == list(range(41 - len(numbers), 41)) and len(numbers) == len(found)
    assert all(one.stat().st_size <= 1400 for one in family(path))


def test_a_file_that_somebody_moved_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, size=1 << 20, files=3)
    log.write([MADE])
    idle(log)
    path.rename(tmp_path / "mine")
    log.write([ENDED])
    log.close()
    assert (tmp_path / "mine").read_text() == record.line(MADE) + "\n"
    assert path.read_text() == record.line(ENDED) + "\n"


def test_a_disk_that_takes_nothing_loses_lines_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "log", size=1 << 20, files=3)
    monkeypatch.setattr("algate.alg.audit.logfile.QUEUE", 10)
    began = time.monotonic()
    assert log.write([MADE]) == 0 and log.gap(1) is False
    assert time.monotonic() - began < 1
    log.close()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AlgateError, match=r"\[log\] file: can't write .*/none/log: No such file"):
        LogFile(tmp_path / "none/log", 1000, 2)


def test_syslog_by_udp_is_rfc_5424() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        place = Syslog(EndPoint(IPv4Address("127.0.0.1"), server.getsockname()[1]))
        assert place.write([ENDED, BLOCK]) == 2 and place.gap(4)
        told = [server.recv(4096).decode() for _ in range(3)]
        place.close()
    header = r"<30>1 \S+Z \S+ algate [0-9]+ session-ended "
    data = r'\[algate@32473 proto="tcp" inside="10.50.0.2:40000" public="203.0.113.7:40001" .*bytes_in="200".*\]'
    assert re.fullmatch(header + data + " " + re.escape(record.line(ENDED)), told[0]), told[0]
    assert 'ports="40000-40511"' in told[1]
    lost = r'<29>1 \S+ \S+ algate [0-9]+ events-lost \[algate@32473 count="4"\] \S+Z events-lost count=4'
    assert re.fullmatch(lost, told[2])


def test_a_local_syslog_that_is_not_there_loses(tmp_path: Path) -> None:
    place = Syslog(None, tmp_path / "none")
    assert place.write([MADE]) == 0 and not place.gap(1)
    place.close()


def test_no_byte_of_a_message_is_unprintable() -> None:
    assert message(ENDED, "host").decode().isprintable()


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        place = JournalLog(Journal(tmp_path / "journal"))
        assert place.write([ENDED]) == 1 and place.gap(3)
        entry, gap = server.recv(4096).decode(), server.recv(4096).decode()
        place.close()
    assert entry.encode() == translation_entry(ENDED)
    fields = dict(line.split("=", 1) for line in entry.splitlines())
    assert fields["ALGATE_PUBLIC"] == "203.0.113.7:40001" and fields["ALGATE_EVENT"] == "session-ended"
    assert record.parse(f"{fields['ALGATE_TIME']} {fields['MESSAGE']}") == ENDED
    assert "ALGATE_COUNT=3" in gap


def test_no_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AlgateError, match=r"no journal listens on .*: give \[log\] file, or syslog"):
        JournalLog(Journal(tmp_path / "none"))


def test_logs_follow_the_configuration(tmp_path: Path) -> None:
    relay = Relay()
    logs = Logs(relay)
    logs.apply(LogSection(level="mappings", file=str(tmp_path / "one")))
    relay.take([MADE, TAKEN])
    assert relay.wish == Wish(mappings=True) and logs.wanted
    with pytest.raises(AlgateError):
        logs.apply(LogSection(level="sessions", file=str(tmp_path / "none/two")))
    relay.take([FREED])
    logs.apply(LogSection(level="none", file=str(tmp_path / "one")))
    relay.take([FREED])
    assert relay.wish == Wish() and not logs.open
    assert lines(tmp_path / "one") == [record.line(TAKEN), record.line(FREED)]
