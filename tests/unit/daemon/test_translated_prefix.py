"""Another prefix of NAT64, or the same bytes of another length, ends what was begun under the former one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.daemon.prefixkeeping import TranslatedPrefix, prefix_in_force
from algate.bpf import abi

pytestmark = pytest.mark.unit


def gateway(bits: int, first: int = 0x20) -> Any:
    """One whose table of sessions is empty; `looks` counts the walks."""
    config = abi.Config6(prefix_bits=bits)
    config.prefix[0] = first
    looks: list[int] = []

    def chunks() -> list[Any]:
        looks.append(1)
        return []

    return SimpleNamespace(nat64=True, configs6=[config], sessions=SimpleNamespace(chunks=chunks), looks=looks)


@pytest.mark.parametrize(("former", "walks"), [((96, 0x20), 0), ((64, 0x20), 1), ((96, 0x30), 1), ((0, 0x20), 0)])
def test_bytes_and_length_are_the_prefix(former: tuple[int, int], walks: int) -> None:
    now, control = gateway(96), SimpleNamespace()
    TranslatedPrefix(now, control).look(prefix_in_force(gateway(*former)))  # type: ignore[arg-type]
    assert len(now.looks) == walks


def test_without_nat64_there_is_none() -> None:
    assert prefix_in_force(SimpleNamespace(nat64=False, configs6=None)) == b""  # type: ignore[arg-type]
