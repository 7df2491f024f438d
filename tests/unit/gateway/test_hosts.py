"""What each inside host has and does, from the kernel's counts and two walks of its sessions."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any, cast

from algate.alg.gateway import hosts, survey
from algate.alg.gateway.best import Earlier
from algate.alg.rows import HostRow
from algate.bpf import abi
from tests.unit.gateway.test_survey import SECOND, TEXT, batch

NOW_NS = 5000 * SECOND
CONFIG = abi.Config(max_sessions_per_host=10, max_ports_per_host=20)


def host(ip: str) -> int:
    return abi.ip_to_be32(IPv4Address(ip))


def table(**rows: abi.Host) -> Any:
    """`hosts` of the kernel, in one batch. Names: a_b_c_d for an address."""
    keys = b"".join(bytes(abi.MappingKey(inside_ip=host(name[1:].replace("_", ".")))) for name in rows)
    return SimpleNamespace(
        hosts=SimpleNamespace(chunks=lambda: [(keys, b"".join(map(bytes, rows.values())), len(rows))])
    )


def test_counts_of_those_who_have_something() -> None:
    gateway = table(
        _10_0_0_1=abi.Host(sessions=3, ports=2),
        _10_0_0_2=abi.Host(),
        _10_0_0_3=abi.Host(refused=7),
        _10_0_0_4=abi.Host(sessions=(1 << 64) - 1, ports=1),  # a session's end was counted before its beginning
    )
    (found,) = hosts.host_counts(cast(Any, gateway))
    assert found == {
        host("10.0.0.1"): hosts.HostCount(3, 2, 0),
        host("10.0.0.3"): hosts.HostCount(0, 0, 7),
        host("10.0.0.4"): hosts.HostCount(0, 1, 0),
    }


def test_a_row_for_each_host() -> None:
    old = 4000 * SECOND
    before = [
        {"inside": "10.0.0.1", "id": old, "bytes": (100, 1000)},
        {"inside": "10.0.0.1", "id": old + 1, "bytes": (5, 5)},
    ]
    earlier = Earlier()
    earlier.take(batch(*before), ())
    earlier.began = NOW_NS - 2 * SECOND
    sums = hosts.HostSums(earlier, NOW_NS)
    now = [
        {**before[0], "bytes": (300, 1000)},
        {**before[1], "bytes": (5, 25)},
        {"inside": "10.0.0.2", "id": NOW_NS - SECOND, "bytes": (60, 0)},
        {"inside": "10.0.0.2", "id": NOW_NS - 11 * SECOND, "bytes": (60, 0)},
    ]
    sums.take(batch(*now), [0, 1, 2, 3])
    counts = {
        host("10.0.0.1"): hosts.HostCount(2, 1, 0),
        host("10.0.0.9"): hosts.HostCount(0, 0, 4),
        0: hosts.HostCount(1, 0, 0),
    }
    rows = sorted(hosts.host_rows(counts, sums.sums, CONFIG, 2.0, NOW_NS, TEXT), key=lambda row: row.inside)
    assert rows == [
        HostRow("10.0.0.1", 2, 1, 100.0, 10.0, 0.0, 0, 10, 20, 1000.0),
        HostRow("10.0.0.2", 0, 0, 30.0, 0.0, 0.1, 0, 10, 20, 11.0),
        HostRow("10.0.0.9", 0, 0, 0.0, 0.0, 0.0, 4, 10, 20, None),
        HostRow("others", 1, 0, 0.0, 0.0, 0.0, 0, 10, 20, None),
    ]
    some = (survey.RawPlace.of(IPv4Network("10.0.0.8/29"), None),)
    assert [row.inside for row in hosts.host_rows(counts, sums.sums, CONFIG, 2.0, NOW_NS, TEXT, some)] == ["10.0.0.9"]


def test_every_order_is_one_of_numbers() -> None:
    row = HostRow("10.0.0.1", 2, 3, 1.0, 2.0, 4.0, 5, None, None, None)
    assert {name: key(row) for name, key in hosts.SORTS.items()} == {
        "rate": 3.0, "sessions": 2, "ports": 3, "new": 4.0, "refused": 5, "oldest": 0.0,
    }  # fmt: skip
