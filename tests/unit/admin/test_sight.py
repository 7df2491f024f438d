"""What `top` is told: the first of those wanted, true totals, families, hosts and ports, and how seldom it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from algate.alg.admin import asked, pace, sight
from algate.alg.admin.asked import TopRequest
from algate.alg.errors import AlgateError
from algate.alg.gateway import listing
from algate.alg.rows import ExpectationRow, SessionRow
from algate.bpf import abi
from tests.many_sessions import ManySessions

EXPECTED = int(abi.SessionFlag.EXPECTED)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> ManySessions:
    monkeypatch.setattr(listing, "expectation_rows", lambda *_: iter(()))
    return ManySessions(monkeypatch)


def seeing(many: ManySessions, memory: pace.Memory | None = None, **args: Any) -> sight.TableSight:
    made = sight.of(many.running, TopRequest.parse(many.running, args), memory or pace.Memory())
    assert made is not None
    return made


def look(many: ManySessions, **args: Any) -> dict[str, Any]:
    return asyncio.run(seeing(many, **args).look())


def ports(seen: dict[str, Any]) -> list[int]:
    return [int(row.inside.rpartition(":")[2]) for row in seen["sessions"]]


def numbers(seen: dict[str, Any]) -> tuple[int, int, int]:
    return len(seen["sessions"]), seen["look"]["matching"], seen["look"]["total"]


def test_the_first_of_all_and_how_many_there_are(many: ManySessions) -> None:
    """Not the first ones found: the busiest is the last of 5000."""
    for number in range(1, 5001):
        many.add(number, bytes=(number, 0))
    seen = look(many, limit=3, sort="bytes")
    assert ports(seen) == [5000, 4999, 4998]
    assert numbers(seen) == (3, 5000, 5000)
    seen = look(many, limit=2, sort="bytes", reverse=True, inside="10.0.0.1:40")
    assert (ports(seen), numbers(seen)) == ([40], (1, 1, 5000))


def test_what_is_over_is_neither_first_nor_counted(many: ManySessions) -> None:
    many.add(1, bytes=(10, 0))
    many.add(2, bytes=(99, 0), state=int(abi.SessionState.DEAD))
    many.add(3, bytes=(98, 0), idle=5000.0)
    seen = look(many, limit=1, sort="bytes")
    assert ports(seen) == [1]
    assert look(many, limit=1, sort="bytes", proto="tcp")["look"]["matching"] == 1


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [
        ("rate", 3, 1), ("rate-out", 2, 3), ("bytes", 3, 1), ("out", 2, 3), ("in", 3, 1), ("packets", 1, 2),
        ("age", 1, 3), ("id", 3, 1), ("idle", 2, 1), ("expires", 2, 1), ("state", 2, 1), ("flow", 3, 1),
        ("inside", 1, 3), ("outside", 1, 3), ("mapped", 2, 3),
    ],
)  # fmt: skip
def test_every_column_of_the_screen_is_an_order(many: ManySessions, sort: str, first: int, last: int) -> None:
    publics = [abi.ip_to_be32(IPv4Address(f"203.0.113.{end}")) for end in (9, 10)]
    many.add(1, bytes=(100, 0), packets=(90, 9), age=1.0, remote_port=21, public_ip=publics[0], port_index=5)
    many.add(2, bytes=(150, 3), packets=(1, 1), age=50.0, idle=300.0, remote_port=22, state=1)
    many.add(3, bytes=(50, 400), packets=(2, 3), age=90.0, idle=20.0, remote_port=443, alg=1, public_ip=publics[1])
    assert ports(look(many, sort=sort, limit=1)) == [first]
    assert ports(look(many, sort=sort, limit=1, reverse=True)) == [last]


def test_a_control_session_brings_its_data_and_a_data_session_its_control(many: ManySessions) -> None:
    many.add(1, remote_port=21, alg=1, bytes=(10, 0))
    for number in (2, 3):
        many.add(number, flags=EXPECTED, bytes=(number, 0))
        many.parents[many.id(number)] = many.id(1)
    many.add(4, alg=1)
    many.add(5, bytes=(1000, 0))
    for args, best, more in (
        ({"alg": "ftp", "limit": 1}, [1], {2, 3}),
        ({"inside": ":2"}, [2], {1, 3}),
        ({"limit": 1}, [5], set()),
    ):
        seen = look(many, sort="bytes", **args)
        assert ports(seen)[: len(best)] == best, args
        assert set(ports(seen)[len(best) :]) == more, args
        assert seen["look"]["matching"] == {"alg": 2, "inside": 1}.get(next(iter(args)), 5)


def test_an_expectation_that_matches_brings_its_control_session(
    many: ManySessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.add(1, remote_port=21, alg=1)
    many.add(2, bytes=(1000, 0))
    row = ExpectationRow("e1", "pending", "tcp", "198.51.100.2", "203.0.113.1:4", "10.0.0.1:5", 9.0,
                         f"{many.id(1):016x}", "ftp")  # fmt: skip
    other = ExpectationRow("e2", "open", "tcp", "198.51.100.2", "203.0.113.1:4", "10.0.0.1:5", 9.0, "f" * 16, "ftp")

    def rows(*_: Any) -> Iterator[ExpectationRow]:
        yield from (row, other)

    monkeypatch.setattr(listing, "expectation_rows", rows)
    seen = look(many, state="pending")
    assert (ports(seen), seen["expectations"]) == ([1], [row])


def test_words_are_looked_for_in_every_row(many: ManySessions) -> None:
    for number in range(1, 600):
        many.add(number, bytes=(number, 0), inside="10.0.0.7" if number == 3 else "10.0.0.71")
    assert ports(look(many, words=["10.0.0.7"], sort="bytes")) == [3], "a whole address means that host"
    assert numbers(look(many, words=["10.0.0.7", "udp"])) == (0, 0, 599)
    assert ports(look(many, words=["10.0.0.71:42"], limit=99, sort="bytes")) == [*range(429, 419, -1), 42]


def test_a_row_that_is_kept_is_read_whatever_comes_first(many: ManySessions) -> None:
    many.add(1, bytes=(1, 0))
    many.add(2, bytes=(2, 0))
    kept = [["tcp", "10.0.0.1:1", "198.51.100.1:80"], ["tcp", "nonsense"], "x", ["udp", "10.0.0.1:1", "198.51.100.1:9"]]
    assert set(ports(look(many, sort="bytes", limit=1, keep=kept))) == {1, 2}


def test_rows_are_read_anew_and_all_are_looked_at_seldom(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes long is paid for by a long rest; meanwhile what is shown lives and dies."""
    for number in range(1, 9):
        many.add(number, bytes=(number, 0))
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    chunks = many.gateway.sessions.chunks

    def slow(size: int) -> Iterator[Any]:
        clock[0] += 0.5
        yield from chunks(size)

    many.gateway.sessions.chunks = slow

    def key(number: int) -> bytes:
        return next(one for one in many.rows if abi.SessionKey.unpack(one).inside_port == abi.be16(number))

    async def looks() -> None:
        view = seeing(many, limit=4, sort="bytes")
        seen = await view.look()
        assert ports(seen) == [8, 7, 6, 5]
        assert (seen["look"]["took"], seen["look"]["every"]) == (0.5, 8.3), "six percent of the time"
        view.rated = True
        view.pace.spent(0.5, 1.0)
        many.rows[key(7)].bytes[0] = 99
        del many.rows[key(6)]
        for _ in range(7):
            clock[0] += 1.0
            seen = await view.look()
        assert many.walks == 1
        assert ports(seen) == [8, 7, 5]
        assert [row.bytes_out for row in seen["sessions"]] == [8, 99, 5]
        assert seen["look"]["total"] == 7
        clock[0] += 2.0
        for _ in range(50):
            seen = await view.look()
            await asyncio.sleep(0)
        assert many.walks == 2
        assert ports(seen) == [7, 8, 5, 4]

    asyncio.run(looks())


def test_by_rate_what_moves_comes_first_and_another_screen_knows_it_at_once(
    many: ManySessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRESH", "STEADY", "FIRST"):
        monkeypatch.setattr(pace, name, 0.0)
    monkeypatch.setattr(pace, "SHARE", 1e9)
    for number in range(1, 9):
        many.add(number, bytes=(10_000 - number, 0), age=50.0)

    async def looks() -> tuple[list[int], list[int]]:
        memory = pace.Memory()
        view = seeing(many, memory, limit=2, interval=0.1)
        seen = await view.look()
        assert ports(seen) == [1, 2], "at first by what they have carried"
        assert not seen["look"]["rated"]
        many.rows[next(one for one in many.rows if abi.SessionKey.unpack(one).inside_port == abi.be16(5))].bytes[1] += 7
        other = await seeing(many, memory, limit=1).look()
        for _ in range(20):
            await asyncio.sleep(0.01)
            seen = await view.look()
        assert other["look"]["rated"]
        return ports(seen), ports(other)

    first, other = asyncio.run(looks())
    assert other == [5]
    assert first[0] in (5, 1)


def test_what_was_seen_is_forgotten_when_nobody_looks(monkeypatch: pytest.MonkeyPatch, many: ManySessions) -> None:
    monkeypatch.setattr(pace, "LINGER", 0.0)
    monkeypatch.setattr(pace, "FRESH", 0.0)

    async def looks() -> None:
        memory = pace.Memory()
        many.add(1)
        with memory.used():
            await seeing(many, memory).look()
            await asyncio.sleep(0.01)
            assert memory.earlier() is not None
        await asyncio.sleep(0.01)
        assert memory.earlier() is None

    asyncio.run(looks())


def test_hosts_are_summed_up_and_sorted(many: ManySessions) -> None:
    for number in range(1, 8):
        many.add(number, inside=f"10.0.0.{number % 2}", bytes=(number, 0))
    many.hosts = {"10.0.0.0": abi.Host(sessions=3, ports=2), "10.0.0.1": abi.Host(sessions=4, ports=1)}
    seen = look(many, view="hosts", sort="sessions")
    assert [(row.inside, row.sessions) for row in seen["hosts"]] == [("10.0.0.1", 4), ("10.0.0.0", 3)]
    assert [row.inside for row in look(many, view="hosts", sort="ports", limit=1)["hosts"]] == ["10.0.0.0"]
    assert seen["look"]["total"] == 2
    assert [row.inside for row in look(many, view="hosts", inside="10.0.0.1")["hosts"]] == ["10.0.0.1"]


def test_ports_are_seen_as_the_verb_lists_them(many: ManySessions) -> None:
    seen = look(many, view="ports")
    assert [(row.public, row.proto, row.used) for row in seen["ports"]] == [
        ("203.0.113.1", proto, 0) for proto in ("tcp", "udp", "icmp")
    ]


def test_other_views_look_at_no_table(many: ManySessions) -> None:
    assert sight.of(many.running, TopRequest.parse(many.running, {"view": "drops"}), pace.Memory()) is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"sort": "speed"}, "--sort: 'speed' is not a column"),
        ({"alg": "nope"}, "no plug-in 'nope'"),
        ({"inside": "x"}, "is not a network"),
    ],
)
def test_wrong_wishes(many: ManySessions, args: dict[str, Any], said: str) -> None:
    with pytest.raises(AlgateError, match=said):
        TopRequest.parse(many.running, args)


@pytest.mark.parametrize(
    "args", [{"limit": "x"}, {"limit": -1}, {"events": None}, {"interval": "soon"}, {"words": "x"}]
)
def test_what_makes_no_sense_is_left_out(many: ManySessions, args: dict[str, Any]) -> None:
    made = TopRequest.parse(many.running, args)
    assert 0 <= made.limit <= asked.ROWS_MOST
    assert made.interval >= asked.INTERVAL_LEAST
    assert TopRequest.parse(many.running, {"limit": 10**5}).limit == asked.ROWS_MOST
    assert isinstance(SessionRow.names(), tuple)
