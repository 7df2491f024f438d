"""A listing as it was asked for, over tables with few sessions; and what each wrong wish is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from algate.alg.admin import listings, overview
from algate.alg.admin.kill import kill
from algate.alg.admin.messages import Rows
from algate.alg.errors import AlgateError
from algate.bpf import abi
from tests.many_sessions import ManySessions

FORWARD = int(abi.SessionFlag.FORWARD)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> ManySessions:
    made = ManySessions(monkeypatch)
    for number in range(1, 21):
        made.add(number, f"10.0.0.{number % 3}", bytes=(100 * number, 0), age=10.0 * number, idle=float(number))
    made.add(30, "10.0.0.9", port_index=8080, flags=FORWARD)
    made.add(31, "10.0.0.9", port_index=8080)
    made.cells = [("tcp/8080", [8080]), ("tcp/9000-9001", [9000, 9001])]
    return made


def rows(answer: Any) -> list[Any]:
    return [row for piece in answer.pieces for row in piece] if isinstance(answer, Rows) else answer


def ask(many: ManySessions, **args: Any) -> Any:
    answer = asyncio.run(listings.sessions(many.running, args))
    return answer if isinstance(answer, dict) else rows(answer)


def inside_ports(found: list[Any]) -> list[int]:
    return [int(row.inside.rpartition(":")[2]) for row in found]


def test_a_plug_in_that_is_not_installed_is_refused(many: ManySessions) -> None:
    with pytest.raises(AlgateError, match="--alg: no plug-in 'ftpp' is installed; the nearest is ftp") as refused:
        ask(many, alg="ftpp")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("args", [{}, {"ids": []}, {"reset": True}, {"dry_run": True}])
def test_kill_without_ids_and_filter_ends_nothing(many: ManySessions, args: dict[str, Any]) -> None:
    """It would have ended all sessions, once."""
    with pytest.raises(AlgateError, match="which sessions") as refused:
        asyncio.run(kill(many.running, args))
    assert refused.value.exit_code == 2


def test_orders_and_limits(many: ManySessions) -> None:
    assert inside_ports(ask(many)) == [*range(1, 21), 30, 31]
    assert inside_ports(ask(many, limit=3)) == [1, 2, 3]
    assert inside_ports(ask(many, sort="bytes", limit=2)) == [20, 19]
    assert inside_ports(ask(many, sort="age", reverse=True, limit=1, inside="10.0.0.0/30")) == [1]
    assert ask(many, count=True) == {"count": 22}
    assert ask(many, count=True, idle=15) == {"count": 6}
    assert ask(many, count=True, age=195) == {"count": 1}


def test_sums(many: ManySessions) -> None:
    found = ask(many, by="host", sort="bytes")
    assert [(row.key, row.sessions, row.bytes_out) for row in found] == [
        ("10.0.0.2", 7, 7700), ("10.0.0.1", 7, 7000), ("10.0.0.0", 6, 6300), ("10.0.0.9", 2, 0),
    ]  # fmt: skip
    assert [row.key for row in ask(many, by="host", sort="bytes", limit=1)] == ["10.0.0.2"]
    assert [(row.key, row.sessions) for row in ask(many, by="forward")] == [("none", 21), ("tcp/8080", 1)]


@pytest.mark.parametrize(("named", "found"), [("tcp/8080", [30]), ("8080", [30]), ("any", [30]), ("9000-9001", [])])
def test_what_came_by_a_forward(many: ManySessions, named: str, found: list[int]) -> None:
    """Not what the server inside began itself from the port that the forward leads to."""
    assert inside_ports(ask(many, forward=named)) == found


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"forward": "tcp/80"}, "--forward: no forward 'tcp/80': the nearest is tcp/8080"),
        ({"sort": "byts"}, "the nearest is bytes"),
        ({"by": "hosts"}, "the nearest is host"),
        ({"limit": -1}, "--limit: -1 is not a number"),
        ({"idle": "x"}, "--idle: 'x' is not a number of seconds"),
    ],
)
def test_wrong_wishes(many: ManySessions, args: dict[str, Any], said: str) -> None:
    with pytest.raises(AlgateError, match=r"^--") as caught:
        ask(many, **args)
    assert said in str(caught.value) and caught.value.exit_code == 2


def test_hosts(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "RATE_SECONDS", 0.05)
    many.hosts = {f"10.0.0.{number}": abi.Host(sessions=number, ports=1) for number in (1, 2)}
    many.hosts["10.0.0.7"] = abi.Host(refused=3)
    many.config.max_sessions_per_host = 5

    def hosts(**args: Any) -> Any:
        return asyncio.run(overview.hosts(many.running, args))

    found = hosts(sort="sessions", limit=2)
    assert [(row.inside, row.sessions, row.limit_sessions) for row in rows(found)] == [
        ("10.0.0.2", 2, 5),
        ("10.0.0.1", 1, 5),
    ]
    (one,) = rows(hosts(inside="10.0.0.7"))
    assert (one.refused, one.oldest) == (3, None)
    assert hosts(count=True) == {"count": 5}
    assert [row.inside for row in rows(hosts(sort="refused", reverse=True))][-1] == "10.0.0.7"
    for args, said in (
        (
            {"sort": "bytes"},
            "--sort: 'bytes' is not one of rate, sessions, ports, new, refused, oldest; the nearest is",
        ),
        ({"by": "host"}, "--by: these rows can't be summed up"),
        ({"proto": "tcp"}, "--proto: hosts have nothing to compare it with"),
        ({"forward": "any"}, "--forward: hosts have nothing to compare it with"),
        ({"inside": "10.0.0.1:80"}, "--inside: a host has no port"),
    ):
        with pytest.raises(AlgateError) as caught:
            hosts(**args)
        assert said in str(caught.value) and caught.value.exit_code == 2


def test_rates_of_hosts(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """What moved between the two walks, by the time between them."""
    monkeypatch.setattr(overview, "RATE_SECONDS", 0.2)

    async def both() -> Any:
        asked = asyncio.ensure_future(overview.hosts(many.running, {"inside": "10.0.0.9"}))
        while not many.walks:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        for key, value in many.rows.items():
            if abi.SessionKey.unpack(key).inside_port == abi.be16(30):
                value.bytes[0] += 3000
        return await asked

    (row,) = rows(asyncio.run(both()))
    assert 3000 / 1.0 < row.rate_out <= 3000 / 0.2 and row.rate_in == 0.0


def test_ports(many: ManySessions) -> None:
    many.slots = {row: abi.PortSlot(owner=int(abi.PortKind.MAPPING) << 48 | 1, sessions=1) for row in range(2000, 2100)}

    def ports(**args: Any) -> Any:
        return rows(asyncio.run(overview.ports(many.running, args)))

    found = ports()
    assert [(row.public, row.proto, row.used, row.free) for row in found] == [
        ("203.0.113.1", "tcp", 100, 64412), ("203.0.113.1", "udp", 0, 64512), ("203.0.113.1", "icmp", 0, 64512),
    ]  # fmt: skip
    assert [row.proto for row in ports(proto="udp")] == ["udp"]
    assert ports(outside="192.0.2.0/24") == []
    assert [row.proto for row in ports(reverse=True, limit=2)] == ["icmp", "udp"]
    assert ports(count=True, limit=1) == {"count": 3}
    assert [row.proto for row in ports(sort="used", limit=1)] == ["tcp"]
    for args, said in (
        ({"sort": "sessions"}, "the nearest is"),
        ({"inside": "10.0.0.1"}, "--inside: ports have nothing to compare it with"),
    ):
        with pytest.raises(AlgateError) as caught:
            ports(**args)
        assert said in str(caught.value) and caught.value.exit_code == 2
