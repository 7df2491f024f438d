"""Questions about all sessions by columns: the same answers as row by row."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any, cast

import pytest

from algate.alg.gateway import survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.gc import Batch
from algate.alg.rows import GroupRow
from algate.bpf import abi

TCP, UDP, ICMP = 6, 17, 1
NOW, SECOND = 1_000_000, 1_000_000_000
TEXT = Addresses(cast(Any, None)).text  # without IPv6
LIMITS = {proto: [100_000] * (max(abi.SessionState) + 1) for proto in (TCP, UDP, ICMP)}
FORWARD = int(abi.SessionFlag.FORWARD)


def address(text: str) -> int:
    return abi.ip_to_be32(IPv4Address(text))


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
                flags=row.get("flags", 0),
                public_ip=address(row.get("public_ip", "0.0.0.0")),
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
    {
        "inside": "10.0.0.1",
        "id": 5,
        "remote_port": 50001,
        "port_index": 40,
        "flags": FORWARD,
        "public_ip": "203.0.113.9",
    },
    {
        "inside": "10.0.0.7",
        "proto": UDP,
        "state": 9,
        "port_index": 40,
        "id": 99 * SECOND,
    },  # the server's own, from there
    {"inside": "10.0.0.9", "idle": 100_000},  # idle for its limit: over
    {"inside": "10.0.0.9", "state": int(abi.SessionState.DEAD)},
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"protos": (UDP, ICMP)}, [1, 2, 4]),
        ({"states": (2,)}, [0, 3]),
        ({"algs": (1,)}, [0]),
        ({"algs": (0,)}, [1, 2, 3, 4]),
        ({"ids": frozenset({5})}, [3]),
        ({"insides": (place("10.0.0.0/24"),)}, [0, 1, 3, 4]),
        ({"insides": (place("10.0.0.1/32"), place("10.0.1.0/24"))}, [0, 2, 3]),
        ({"insides": (place("10.0.0.1/32", 1000),)}, [0, 3]),
        ({"outsides": (place(port=53),)}, [1]),
        ({"outsides": (place(port=77),)}, [2]),  # ICMP: the identifier, which the key has once
        ({"outsides": (place("192.0.2.0/24", 53), place(port=21))}, [0, 1]),
        ({"forwards": frozenset({40})}, [3]),
        ({"forwards": frozenset()}, []),
        ({"addresses": frozenset({address("10.0.1.1"), address("192.0.2.7")})}, [1, 2]),
        ({"addresses": frozenset({address("203.0.113.9")})}, [3]),
        ({"addresses": frozenset()}, []),
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
            "flags": random.choice((0, FORWARD)),
        }
        for at in range(number)
    ]


@pytest.mark.parametrize("by", ["host", "port", "alg", "state", "remote", "forward"])
def test_sums_by_each_key(by: str) -> None:
    rows = some_sessions(2)
    groups = survey.Groups(by, {1: "ftp"}, {0: "tcp/8080"}, TEXT)
    for start in range(0, len(rows), 64):
        made = batch(*rows[start : start + 64])
        groups.take(made, chosen(made))
    keys: dict[str, Callable[[dict[str, Any]], str]] = {
        "host": lambda row: row["inside"],
        "port": lambda row: f"{'tcp' if row['proto'] == TCP else 'udp'}/{row['remote_port']}",
        "alg": lambda row: "ftp" if row["alg"] else "none",
        "state": lambda row: "established",
        "remote": lambda row: "198.51.100.1",
        "forward": lambda row: "tcp/8080" if row["flags"] else "none",
    }
    expected: dict[str, list[int]] = {}
    for row in rows:
        one = expected.setdefault(keys[by](row), [0] * 5)
        for at, amount in enumerate((1, *row["packets"], *row["bytes"])):
            one[at] += amount
    found = list(groups.rows())
    assert {row.key: row for row in found} == {name: GroupRow(name, *sums) for name, sums in expected.items()}
    for sort, amount in (("bytes", lambda sums: sums[3] + sums[4]), ("packets", lambda sums: sums[1] + sums[2])):
        by_amount = sorted(found, key=survey.group_order(sort))
        assert [row.key for row in by_amount] == sorted(
            (row.key for row in found), key=lambda key: amount(expected[key])
        )
    assert sorted(map(survey.group_order(""), found)) == sorted(one[0] for one in expected.values())


def test_keys_that_there_is_no_room_for_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "GROUPS_MAX", 2)
    groups = survey.Groups("host", {}, {}, TEXT)
    made = batch(*({"inside": f"10.0.0.{number}", "bytes": (number, 0)} for number in (1, 2, 3, 4, 1)))
    groups.take(made, chosen(made))
    assert [(row.key, row.sessions, row.bytes_out) for row in groups.rows()] == [
        ("10.0.0.1", 2, 2),
        ("10.0.0.2", 1, 2),
        ("others", 2, 7),
    ]


def test_no_filter_asks_for_nothing() -> None:
    """A session that was seen in this very tick is listed, too."""
    from types import SimpleNamespace

    from algate.alg.admin import listings

    running = cast(Any, SimpleNamespace(names={1: "ftp"}))
    for args in ({}, {"limit": 5, "sort": "bytes"}, {"idle": 0, "age": 0}):
        assert listings.wanted(running, args) == survey.Wanted()
    assert listings.wanted(running, {"idle": 0.001, "age": 1}) != survey.Wanted()


@pytest.mark.parametrize("network", ["0.0.0.0/0", "0.0.0.0/1", "0.0.0.0/8"])
@pytest.mark.parametrize("port", [None, 1000])
def test_no_ipv4_network_has_what_stands_for_an_ipv6_address(network: str, port: int | None) -> None:
    six, four = {"inside": "0.1.2.3", "remote": "0.4.5.6"}, {"inside": "10.0.0.1"}
    made = batch(six, four, {"inside": "0.1.2.3"})  # the last by NAT64
    assert chosen(made, insides=(place(network, port),)) == ([] if network == "0.0.0.0/8" else [1])
    assert chosen(made, outsides=(place("128.0.0.0/1"),)) == [1, 2]
    assert chosen(made, insides=(place(None, 1000),)) == [0, 1, 2]
