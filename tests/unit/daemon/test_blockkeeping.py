"""What is told of port blocks, and when they are taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.audit.translations import Translation
from algate.alg.audit.translations import TranslationKind as Kind
from algate.alg.config.sections import Nat
from algate.alg.daemon.blockkeeping import BlockKeeping
from algate.alg.gateway import portblocks
from algate.alg.gateway.addresses import Addresses, is_handle
from algate.alg.gateway.portblocks import PortBlock
from algate.bpf import ticks

pytestmark = pytest.mark.unit
PUBLIC, OTHER = IPv4Address("203.0.113.1"), IPv4Address("203.0.113.9")
NAT = Nat(port_block=512, port_block_idle=10.0, hold_down=0.0)


class Kernel:
    """The table of blocks, and the control program."""

    def __init__(self) -> None:
        self.blocks: dict[int, PortBlock] = {}
        self.taken_back: list[int] = []

    def give(self, host: str, first: int, used: int = 1, idle: float = 0.0, ago: float = 0.0) -> PortBlock:
        assigned = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(ago * 1e9)
        stamp = (ticks.now() - ticks.lasting(idle)) % ticks.WRAP
        one = PortBlock(portblocks.row_of(0, first), 0, first, 512, IPv4Address(host), used, assigned, stamp)
        self.blocks[one.row] = one
        return one

    def withdraw(self, row: int) -> bool:
        self.taken_back.append(row)
        return self.blocks.pop(row, None) is not None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(portblocks, "held", lambda _: list(made.blocks.values()))
    monkeypatch.setattr(portblocks, "write_networks", lambda *_: None)
    monkeypatch.setattr(portblocks, "write_usable", lambda *_: None)
    return made


def keeping(kernel: Kernel, nat: Nat = NAT) -> tuple[BlockKeeping, list[Translation]]:
    told: list[Translation] = []
    gateway: Any = SimpleNamespace(configs=[SimpleNamespace(port_block=nat.port_block)])
    control: Any = kernel
    made = BlockKeeping(gateway, control)
    take: Any = told.extend
    made.tell = take
    made.settle(nat, [PUBLIC], [])
    return made, told


def kinds(told: Sequence[Translation]) -> list[tuple[Kind, str, int]]:
    return [(one.kind, str(IPv4Address(one.inside.ip)), one.ports[0]) for one in told]


def test_how_full_it_is(kernel: Kernel) -> None:
    made, _ = keeping(kernel)
    fills = [made.fill]
    kernel.give("10.0.0.2", 1024)
    made.look()
    fills += [made.fill, keeping(kernel, replace(NAT, port_block=0))[0].fill]
    assert fills == [(0, 126), (1, 126), None]  # 64,512 ports of 512


def test_each_block_is_told_once_with_its_time(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    kernel.give("10.0.0.2", 1024, ago=30.0)
    kernel.give("10.0.0.3", 2048)
    made.look()
    made.look()
    assert kinds(told) == [
        (Kind.BLOCK_ASSIGNED, "10.0.0.2", 1024),
        (Kind.BLOCK_ASSIGNED, "10.0.0.3", 2048),
    ]
    assert told[0].time == pytest.approx(time.time() - 30, abs=1) and told[0].ports == (1024, 1535)
    assert told[0].public is not None and told[0].public.ip == PUBLIC.packed and told[0].proto == 0


def test_a_host_of_nat64_is_told_by_its_address(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = keeping(kernel)
    client = IPv6Address("2001:db8:1::5").packed
    monkeypatch.setattr(Addresses, "packed", lambda _, raw: client if is_handle(raw) else raw)
    kernel.give("0.1.2.3", 1024)
    old = kernel.give("0.1.2.3", 3072, used=0, idle=11.0)
    made.look()
    assert [(one.kind, one.inside.ip) for one in told] == [
        (Kind.BLOCK_ASSIGNED, client), (Kind.BLOCK_ASSIGNED, client), (Kind.BLOCK_RELEASED, client),
    ] and kernel.taken_back == [old.row]  # fmt: skip


def test_an_empty_block_goes_back_after_a_while(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    busy, young = kernel.give("10.0.0.2", 1024, idle=60.0), kernel.give("10.0.0.3", 2048, used=0, idle=5.0)
    old = kernel.give("10.0.0.4", 3072, used=0, idle=11.0, ago=100.0)
    made.look()
    assert kernel.taken_back == [old.row] and set(made.held) == {busy.row, young.row}
    assert kinds(told)[-1] == (Kind.BLOCK_RELEASED, "10.0.0.4", 3072)
    assert told[-1].since == pytest.approx(time.time() - 100, abs=1) and told[-1].time == pytest.approx(
        time.time(), abs=1
    )


def test_sooner_when_few_are_left(kernel: Kernel) -> None:
    made, _ = keeping(kernel, Nat(port_block=4096, port_block_idle=300.0, hold_down=10.0))  # 15 blocks
    for n in range(13):
        kernel.give(f"10.0.1.{n}", 4096 + 4096 * n)
    kernel.give("10.0.0.4", 57344, used=0, idle=11.0)
    made.look()
    assert kernel.taken_back == []
    kernel.give("10.0.0.5", 61440)
    made.look()
    assert kernel.taken_back == [portblocks.row_of(0, 57344)]


def test_not_before_hold_down_is_over(kernel: Kernel) -> None:
    made, _ = keeping(kernel, Nat(port_block=512, port_block_idle=10.0, hold_down=120.0))
    kernel.give("10.0.0.4", 3072, used=0, idle=60.0)
    made.look()
    assert kernel.taken_back == []


def test_one_that_the_kernel_keeps_is_not_told_as_released(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    kernel.give("10.0.0.4", 3072, used=0, idle=60.0)
    kernel.withdraw = lambda row: False  # type: ignore[method-assign] # a port was taken meanwhile
    made.look()
    assert kinds(told) == [(Kind.BLOCK_ASSIGNED, "10.0.0.4", 3072)]


def test_another_host_between_two_looks(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    kernel.give("10.0.0.2", 1024)
    made.look()
    kernel.give("10.0.0.3", 1024)
    made.look()
    assert kinds(told)[1:] == [
        (Kind.BLOCK_RELEASED, "10.0.0.2", 1024),
        (Kind.BLOCK_ASSIGNED, "10.0.0.3", 1024),
    ]


def test_one_that_is_being_given_out_waits(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    one = kernel.give("10.0.0.2", 1024)
    kernel.blocks[one.row] = one._replace(assigned=0)
    made.look()
    assert told == []
    kernel.blocks[one.row] = one
    made.look()
    assert len(told) == 1


def test_a_computed_block_needs_no_line(kernel: Kernel) -> None:
    nat = Nat(port_block=512, port_block_idle=10.0, port_block_hosts=(IPv4Network("10.0.0.0/28"),))
    made, told = keeping(kernel, nat)
    kernel.give("10.0.0.2", 1024 + 2 * 512)  # its own
    kernel.give("10.0.0.3", 1024 + 90 * 512)  # a further one
    made.look()
    assert kinds(told) == [(Kind.BLOCK_ASSIGNED, "10.0.0.3", 1024 + 90 * 512)]


def test_another_public_address(kernel: Kernel) -> None:
    """Blocks end under the former one, and begin under the new one at that moment."""
    made, told = keeping(kernel)
    kernel.give("10.0.0.2", 1024, ago=500.0)
    made.look()
    made.settle(NAT, [OTHER], [])
    made.look()
    assert [(one.kind, one.public and one.public.ip) for one in told[1:]] == [
        (Kind.BLOCK_RELEASED, PUBLIC.packed), (Kind.BLOCK_ASSIGNED, OTHER.packed)
    ]  # fmt: skip
    assert told[-1].time == pytest.approx(time.time(), abs=1)


def test_switched_off_blocks_are_given_back(kernel: Kernel) -> None:
    made, told = keeping(kernel)
    one = kernel.give("10.0.0.2", 1024)
    made.look()
    made.settle(Nat(port_block_idle=10.0, hold_down=0.0), [PUBLIC], [])
    kernel.blocks[one.row] = one._replace(used=0, stamp=(ticks.now() - ticks.lasting(20)) % ticks.WRAP)
    made.look()
    assert kinds(told)[-1] == (Kind.BLOCK_RELEASED, "10.0.0.2", 1024) and made.held == {}


def test_nothing_is_read_while_there_are_no_blocks(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = keeping(kernel, Nat())
    monkeypatch.setattr(portblocks, "held", lambda _: pytest.fail("read"))
    made.settle(Nat(), [PUBLIC], [])
    made.look()
