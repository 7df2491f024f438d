"""Questions about all sessions by columns: the same answers as row by row."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any

import pytest

from algate.alg.gateway import survey
from algate.alg.gateway.gc import Batch
from algate.alg.rows import GroupRow
from algate.bpf import abi

TCP, UDP, ICMP = 6, 17, 1
NOW, SECOND = 1_000_000, 1_000_000_000
LIMITS = {proto: [100_000] * (max(abi.SessionState) + 1) for proto in (TCP, UDP, ICMP)}
ALL = survey.Wanted()


def batch(*rows: dict[str, Any]) -> Batch:
    """Sessions by field; addresses as text, ports in host order."""
    keys, values = b"", b""
    for row in rows:
        keys += bytes(
            abi.SessionKey(
                inside_ip=abi.ip_to_be32(IPv4Address(row.get("inside", "10.0.0.1"))),
                remote_ip=abi.ip_to_be32(IPv4Address(row.get("remote", "198.51.100.1"))),
                inside_port=abi.be16(row.get("inside_port", 1000)),
                remote_port=abi.be16(row.get("remote_port", 80)),
                proto=row.get("proto", TCP),
            )
        )
        values += bytes(
            abi.Session(
                id=row.get("id", 1),
                state=row.get("state", 2) | 256,
                alg=row.get("alg", 0),
                last_seen=NOW - row.get("idle", 0),
                packets=row.get("packets", (0, 0)),
                bytes=row.get("bytes", (0, 0)),
                port_index=row.get("port_index", 0),
            )
        )
    return Batch(keys, values, NOW)


def chosen(made: Batch, **wanted: Any) -> list[int]:
    return survey.places(made, survey.Wanted(**wanted), LIMITS, 100 * SECOND)


def place(network: str | None = None, port: int | None = None) -> survey.RawPlace:
    return survey.RawPlace.of(IPv4Network(network) if network else None, port)


MANY = batch(
    {"inside": "10.0.0.1", "remote_port": 21, "alg": 1, "id": 10 * SECOND},
    {"inside": "10.0.0.2", "proto": UDP, "state": 9, "remote": "192.0.2.7", "remote_port": 53, "id": 99 * SECOND},
    {"inside": "10.0.1.1", "proto": ICMP, "state": 9, "inside_port": 77, "remote_port": 0, "idle": 50_000},
    {"inside": "10.0.0.1", "id": 5, "remote_port": 50001, "port_index": 40},
    {"inside": "10.0.0.9", "idle": 100_000},  # idle for its limit: over
    {"inside": "10.0.0.9", "state": int(abi.SessionState.DEAD)},
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"protos": (UDP, ICMP)}, [1, 2]),
        ({"states": (2,)}, [0, 3]),
        ({"algs": (1,)}, [0]),
        ({"algs": (0,)}, [1, 2, 3]),
        ({"ids": frozenset({5})}, [3]),
        ({"insides": (place("10.0.0.0/24"),)}, [0, 1, 3]),
        ({"insides": (place("10.0.0.1/32"), place("10.0.1.0/24"))}, [0, 2, 3]),
        ({"insides": (place("10.0.0.1/32", 1000),)}, [0, 3]),
        ({"outsides": (place(port=53),)}, [1]),
        ({"outsides": (place(port=77),)}, [2]),  # ICMP: the identifier, which the key has once
        ({"outsides": (place("192.0.2.0/24", 53), place(port=21))}, [0, 1]),
        ({"forwards": frozenset({40})}, [3]),
        ({"least_idle": 50_000}, [2]),
        ({"least_age": 90 * SECOND}, [0, 2, 3]),
        ({"protos": (TCP,), "algs": (0,), "insides": (place("10.0.0.1/32"),)}, [3]),
        ({"ids": frozenset()}, []),
    ],
)
def test_places(wanted: dict[str, Any], found: list[int]) -> None:
    assert chosen(MANY, **wanted) == found


def some_sessions(seed: int, number: int = 300) -> list[dict[str, Any]]:
    random = Random(seed)
    return [
        {
            "id": at + 1,
            "inside": f"10.0.0.{random.randrange(1, 9)}",
            "remote_port": random.choice((21, 80, 443)),
            "proto": random.choice((TCP, UDP)),
            "idle": random.randrange(1000),
            "alg": random.choice((0, 0, 1)),
            "packets": (random.randrange(99), random.randrange(99)),
            "bytes": (random.randrange(9999), at),
        }
        for at in range(number)
    ]


def ids(found: survey.Best) -> list[int]:
    return [abi.Session.unpack(value).id for _, value in found.found()]


@pytest.mark.parametrize("sort", ["bytes", "packets", "age", "idle"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_the_best_are_those_of_a_whole_sort(sort: str, reverse: bool, limit: int) -> None:
    rows = some_sessions(1)
    best = survey.Best(sort, limit, reverse)
    for start in range(0, len(rows), 64):
        made = batch(*rows[start : start + 64])
        best.take(made, chosen(made))
    keys: dict[str, Callable[[dict[str, Any]], int]] = {
        "bytes": lambda row: sum(row["bytes"]),
        "packets": lambda row: sum(row["packets"]),
        "age": lambda row: -row["id"],
        "idle": lambda row: row["idle"],
    }
    in_order = sorted(rows, key=keys[sort], reverse=not reverse)  # stable: the table's order where equal
    expected = [row["id"] for row in in_order]
    assert ids(best) == expected[:limit]
    assert best.number == len(rows)


def test_rates_are_differences_though_sessions_come_and_go() -> None:
    """The second walk meets other batches: one session is gone, one is new, the rest have moved."""
    rows: list[dict[str, Any]] = [{"id": number, "bytes": (1000 * number, 0)} for number in range(1, 9)]
    before = survey.Bytes()
    for part in (rows[:4], rows[4:]):
        before.take(batch(*part), ())
    later = [{**row, "bytes": (row["bytes"][0] + 100 - row["id"], 0)} for row in rows if row["id"] != 2]
    later.insert(3, {"id": 99, "bytes": (60, 0)})
    best = survey.Best("rate", 3, False, before)
    for part in (later[:4], later[4:]):
        made = batch(*part)
        best.take(made, chosen(made))
    assert ids(best) == [1, 3, 4]


@pytest.mark.parametrize("by", ["host", "port", "alg", "state", "remote", "forward"])
def test_sums_by_each_key(by: str) -> None:
    rows = some_sessions(2)
    groups = survey.Groups(by, {1: "ftp"}, {0: "tcp/8080"})
    for start in range(0, len(rows), 64):
        made = batch(*rows[start : start + 64])
        groups.take(made, chosen(made))
    keys: dict[str, Callable[[dict[str, Any]], str]] = {
        "host": lambda row: row["inside"],
        "port": lambda row: f"{'tcp' if row['proto'] == TCP else 'udp'}/{row['remote_port']}",
        "alg": lambda row: "ftp" if row["alg"] else "none",
        "state": lambda row: "established",
        "remote": lambda row: "198.51.100.1",
        "forward": lambda row: "tcp/8080",
    }
    expected: dict[str, list[int]] = {}
    for row in rows:
        one = expected.setdefault(keys[by](row), [0] * 5)
        for at, amount in enumerate((1, *row["packets"], *row["bytes"])):
            one[at] += amount
    found = groups.rows("bytes", False)
    assert {row.key: row for row in found} == {name: GroupRow(name, *sums) for name, sums in expected.items()}
    totals = [row.bytes_out + row.bytes_in for row in found]
    assert totals == sorted(totals, reverse=True)
    assert [row.sessions for row in groups.rows("", True)] == sorted(one[0] for one in expected.values())


def test_more_keys_than_are_kept_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "GROUPS_MAX", 2)
    groups = survey.Groups("host", {}, {})
    made = batch(*({"inside": f"10.0.0.{number}"} for number in (1, 2, 3, 3, 1)))
    groups.take(made, chosen(made))
    assert (len(groups.rows("", False)), groups.left_out) == (2, 2)


def test_no_filter_asks_for_nothing() -> None:
    """A session that was seen in this very tick is listed, too."""
    from types import SimpleNamespace
    from typing import cast

    from algate.alg.admin import listings

    running = cast(Any, SimpleNamespace(names={1: "ftp"}))
    for args in ({}, {"limit": 5, "sort": "bytes"}, {"idle": 0, "age": 0}):
        assert listings.wanted(running, args) == survey.Wanted()
    assert listings.wanted(running, {"idle": 0.001, "age": 1}) != survey.Wanted()
