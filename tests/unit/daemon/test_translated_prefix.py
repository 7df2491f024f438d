"""Another prefix of NAT64, or the same bytes of another length, ends what was begun under the former one; a start
without IPv6 what an earlier one served."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.config.load import loads
from algate.alg.daemon.prefixkeeping import TranslatedPrefix, end_unserved, prefix_in_force
from algate.alg.engine.effects import SessionKey
from algate.alg.gateway import records
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


GATEWAY = '[gateway]\nlan = ["lan0"]\nwan = "wan0"\n'
HANDLES = bytes((0, 1, 2, 3)), bytes((0, 4, 5, 6))
KEYS = [
    records.pack_key(SessionKey(inside, 40000, remote, 7))
    for inside, remote in ((HANDLES[0], HANDLES[1]), (HANDLES[0], bytes((203, 0, 113, 9))), (bytes((10, 0, 0, 2)),) * 2)
]


@pytest.mark.parametrize(
    ("text", "six", "pinned", "ended"),
    [
        ('[ipv6]\nfilter = true\n[nat64]\nprefix = "64:ff9b::/96"\n', True, True, []),
        ("[ipv6]\nfilter = true\n", True, True, [KEYS[1]]),
        ('[nat64]\nprefix = "64:ff9b::/96"\n', True, True, [KEYS[0]]),
        ("", False, True, KEYS[:2]),
        ("", False, False, []),  # it never had IPv6: its table isn't read
    ],
)
def test_what_nobody_serves_any_more_ends(
    tmp_path: Path, text: str, six: bool, pinned: bool, ended: list[bytes]
) -> None:
    if pinned:
        (tmp_path / "addresses6").touch()
    asked: list[bytes] = []

    def kill(op: abi.ControlOp, keys: list[bytes]) -> int:
        assert op == abi.ControlOp.KILL
        asked.extend(keys)
        return len(keys)

    sessions = SimpleNamespace(chunks=lambda: iter([(b"".join(KEYS), b"", len(KEYS))]))
    held: Any = SimpleNamespace(six=six, pins=tmp_path, sessions=sessions)
    control: Any = SimpleNamespace(keys=kill)
    assert (end_unserved(held, control, loads(GATEWAY + text)), asked) == (len(ended), ended)
