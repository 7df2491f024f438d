"""`whose` in the daemon: the inside end points behind a public one, from the kernel's tables."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.admin.whose import whose
from algate.alg.config.sections import Config, LogSection, Nat
from algate.alg.errors import AlgateError
from algate.alg.rows import LeaseRow
from algate.bpf import abi, ticks
from algate.bpf.abi import PortKind
from algate.bpf.requests import owner, port_row

pytestmark = pytest.mark.unit

FIRST, SECOND = IPv4Address("203.0.113.1"), IPv4Address("203.0.113.2")
INSIDE = IPv4Address("10.0.0.2")
TCP, UDP = 6, 17


class Ports(dict[int, abi.PortSlot]):
    """The table `ports`: an array, so every row is there."""

    def __missing__(self, _: int) -> abi.PortSlot:
        return abi.PortSlot()


def asked(public: str, slots: dict[int, abi.PortSlot], shares: Any = (), config: Config | None = None) -> Any:
    gateway = SimpleNamespace(ports=Ports(slots), shares=SimpleNamespace(items=lambda: shares))
    running: Any = SimpleNamespace(gateway=gateway, devices=SimpleNamespace(addresses=(FIRST, SECOND)))
    return asyncio.run(whose(running, config or Config(), {"public": public}))


def slot(kind: PortKind, port: int = 4000) -> abi.PortSlot:
    ten_seconds_ago = (ticks.now() - ticks.lasting(10)) % ticks.WRAP
    return abi.PortSlot(owner=owner(INSIDE, port, kind), sessions=1, stamp=ten_seconds_ago)


@pytest.mark.parametrize("kind", [PortKind.MAPPING, PortKind.HOME, PortKind.FORWARD, PortKind.RESERVED])
def test_whoever_has_the_port(kind: PortKind) -> None:
    answer = asked("203.0.113.2:4001", {port_row(1, UDP, 4001): slot(kind), port_row(0, TCP, 4001): slot(kind, 1)})
    (row,) = answer["holders"]
    assert (row["public"], row["proto"], row["inside"]) == ("203.0.113.2:4001", "udp", "10.0.0.2:4000")
    assert answer["time"] - row["since"] == pytest.approx(10, abs=0.5) and row["until"] is None
    assert answer["ours"]


def test_a_computed_block_answers_without_a_log() -> None:
    nat = Nat(port_block=512, port_block_hosts=(IPv4Network("10.0.0.0/24"),))
    config = replace(Config(), nat=nat)
    (row,) = asked("203.0.113.2:1600", {}, config=config)["holders"]  # block 1 of the second address
    assert (row["proto"], row["inside"], row["source"]) == ("any", "10.0.0.127", "computed")
    assert row["since"] is row["until"] is None
    assert asked("203.0.113.2:80", {}, config=config)["holders"] == []


def test_each_protocol_has_its_own() -> None:
    answer = asked("203.0.113.1:5", {port_row(0, proto, 5): slot(PortKind.HOME, proto) for proto in (TCP, UDP)})
    assert [(one["proto"], one["inside"]) for one in answer["holders"]] == [
        ("tcp", "10.0.0.2:6"), ("udp", "10.0.0.2:17"),
    ]  # fmt: skip


def test_a_shared_port_by_destination() -> None:
    row = port_row(0, TCP, 80)

    def share(last: int, index: int) -> tuple[abi.ShareKey, abi.Share]:
        key = abi.ShareKey(port_index=index, remote_ip=abi.ip_to_be32(f"198.51.100.{last}"), remote_port=abi.be16(443))
        return key, abi.Share(owner=owner(INSIDE, last, PortKind.MAPPING), stamp=ticks.now())

    answer = asked("203.0.113.1:80", {row: slot(PortKind.SHARED)}, [share(1, row), share(2, row + 1), share(3, row)])
    assert [(one["inside"], one["outside"]) for one in answer["holders"]] == [
        ("10.0.0.2:1", "198.51.100.1:443"), ("10.0.0.2:3", "198.51.100.3:443"),
    ]  # fmt: skip


def test_the_gateway_itself_nobody_and_somewhere_else() -> None:
    answer = asked("203.0.113.1:53", {port_row(0, UDP, 53): slot(PortKind.LOCAL)})
    assert [one["inside"] for one in answer["holders"]] == ["the gateway itself"]
    assert asked("203.0.113.1:54", {})["holders"] == []
    assert not asked("192.0.2.1:54", {port_row(0, UDP, 54): slot(PortKind.HOME)})["ours"]


def test_where_the_log_is() -> None:
    config = Config(log=LogSection(level="mappings", file="/var/log/x"))
    assert asked("203.0.113.1:5", {}, config=config)["log"] == {
        "level": "mappings", "sinks": ["file"], "file": "/var/log/x", "syslog": None,
    }  # fmt: skip


def test_what_is_no_end_point_is_refused() -> None:
    with pytest.raises(AlgateError, match="is not an address with a port") as caught:
        asked("203.0.113.1", {})
    assert caught.value.exit_code == 2


def test_of_gateways_that_share_an_address_the_one_is_named_that_leased_the_port() -> None:
    class Leases:
        async def lessees(self, port: int) -> list[LeaseRow]:
            assert port == 1600
            return [LeaseRow("1024-2047", "left", 5.0, 9.0), LeaseRow("1024-2047", "right", 9.0, None)]

    class Away:
        async def lessees(self, port: int) -> list[LeaseRow]:
            raise AlgateError("the engine doesn't answer")

    gateway = SimpleNamespace(ports=Ports({}), shares=SimpleNamespace(items=tuple))
    running: Any = SimpleNamespace(gateway=gateway, devices=SimpleNamespace(addresses=(FIRST, SECOND)))
    rows = asyncio.run(whose(running, Config(), {"public": "203.0.113.2:1600"}, Leases()))["holders"]
    assert [(one["inside"], one["source"], one["since"], one["until"]) for one in rows] == [
        ("gateway left", "lease", 5.0, 9.0), ("gateway right", "lease", 9.0, None),
    ]  # fmt: skip
    assert asyncio.run(whose(running, Config(), {"public": "203.0.113.9:1600"}, Leases()))["holders"] == []
    assert asyncio.run(whose(running, Config(), {"public": "203.0.113.2:1600"}, Away()))["holders"] == []
