"""Whether what is pinned filters or translates IPv6: by the stages that are installed, not by maps that stay."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Network

import pytest

from algate.alg.gateway.inforce import InForce, installed
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.syscall import delete, lookup
from algate.bpf.tables import U32
from tests.bpf.rig import Rig

pytestmark = pytest.mark.bpf
PREFIX = IPv6Network("64:ff9b::/96")


def without(gateway: Gateway, kind: str, restart: Callable[[], None]) -> None:
    """Install the stages as a start without `six` or `nat64` over the same pins does."""
    kept = gateway.six, gateway.nat64
    try:
        gateway.nat64 = False
        gateway.six = kind != "six"
        restart()
    finally:
        gateway.six, gateway.nat64 = kept


def configured(gateway: Gateway, filtered: bool, prefix: IPv6Network | None) -> None:
    value = abi.Config6(flags=int(abi.SixFlag.FILTER) if filtered else int(abi.SixFlag.HOST_64))
    if prefix is not None:
        value.prefix_bits = prefix.prefixlen
        value.prefix[:] = [*prefix.network_address.packed]
    gateway.configs6.put(0, value)


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("prefix", [PREFIX, None])
def test_what_is_installed(rig64: Rig, filtered: bool, prefix: IPv6Network | None) -> None:
    gateway = rig64.gateway
    configured(gateway, filtered, prefix)
    gateway.install_stages()
    assert installed(gateway.pins) == InForce(filtered, prefix)
    try:
        without(gateway, "nat64", gateway.install_stages)
        assert installed(gateway.pins) == InForce(filtered)
        without(gateway, "six", gateway.install_stages)
        assert installed(gateway.pins) == InForce(), "addresses6 and the flag are still there"
        assert (gateway.pins / "addresses6").exists() and gateway.configs6[0].prefix_bits == (96 if prefix else 0)
    finally:
        gateway.install_stages()
    assert installed(gateway.pins) == InForce(filtered, prefix)


def test_without_maps_there_is_nothing(rig: Rig) -> None:
    assert installed(rig.gateway.pins / "no such") == InForce()


def test_a_program_array_tells_user_space_which_rows_it_has(rig: Rig) -> None:
    stages, row = rig.gateway.map_fd("stages"), U32.pack(abi.STAGES_SIX)
    assert lookup(stages, row, 4) not in (None, bytes(4))
    delete(stages, row)
    try:
        assert lookup(stages, row, 4) is None
    finally:
        rig.gateway.install_stages()
