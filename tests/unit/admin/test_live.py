"""`check --live`: what persists is broken. tests/bpf/test_check_live.py tries its rules on the kernel's tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import live
from algate.alg.gateway import namespace
from algate.alg.gateway.invariants import judge
from algate.alg.gateway.picture import Broken, Picture
from algate.bpf import abi, pins
from algate.bpf.contents import contents
from algate.bpf.description import own
from algate.bpf.errors import AlgateError
from algate.bpf.programs import PER_SESSION, STAGES, STAGES6, STAGES64

pytestmark = pytest.mark.unit

ONE, TWO = Broken("a", "x", "1"), Broken("b", "y", "2")


def picture(**fields: Any) -> Picture:
    values: dict[str, Any] = {"stages": {*map(int, STAGES)}} | fields
    return Picture(0, True, (bytes([203, 0, 113, 1]),), (1,) * 6, 0, 1 << 18, {}, {}, (0, 0), **values)


def test_only_what_is_there_at_both_looks_counts() -> None:
    looks = iter([[ONE, TWO], [TWO._replace(detail="3"), Broken("c", "z", "4")]])
    assert live.persistent(lambda: next(looks), 0.0) == [Broken("b", "y", "3")]


def test_one_look_is_enough_for_a_sound_gateway() -> None:
    looks: Iterator[list[Broken]] = iter([[]])
    assert live.persistent(lambda: next(looks), 60.0) == []


def test_an_empty_gateway_is_sound() -> None:
    assert judge(picture()) == []


def test_sessions_made_and_ended_between_two_reads_are_no_damage() -> None:
    busy = picture(ended=3)
    busy.made = (3, 8)
    assert judge(busy) == []
    quiet = picture(ended=3)
    quiet.made = (8, 8)
    assert [one.rule for one in judge(quiet)] == ["counters"]


def test_handles_freed_so_far_are_no_ports_of_an_address() -> None:
    freed = picture()
    freed.pools = ({abi.POOL_FREED: 2}, {abi.POOL_FREED: 2})
    assert judge(freed) == []
    freed.pools = ({abi.POOL_HANDLES: 2}, {abi.POOL_HANDLES: 2})
    assert [one.rule for one in judge(freed)] == ["pool"]


@pytest.mark.parametrize("rows", [STAGES, STAGES | STAGES6, STAGES | STAGES6 | STAGES64], ids=["4", "6", "64"])
def test_each_row_without_its_program_is_told(rows: dict[int, str]) -> None:
    """Of the families that are loaded: a gateway without IPv6, with it, or with NAT64 too."""
    there = {*map(int, rows)}
    assert judge(picture(stages=set(there))) == []
    for row in there:
        (one,) = judge(picture(stages=there - {row}))
        assert (one.rule, one.about) == ("stage", rows[row].partition("_")[2].upper())
    assert {one.rule for one in judge(picture(stages={*map(int, STAGES), *STAGES64}))} == {"stage"}, "IPv6's lack"


def test_without_pins_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "folder", lambda run_dir: tmp_path / "none")
    monkeypatch.setattr(namespace, "require_root", lambda what: None)
    with pytest.raises(AlgateError, match="no tables of this version's are pinned"):
        live.check(tmp_path)


def test_every_map_with_room_for_all_sessions_gets_it() -> None:
    text = (abi.INCLUDE / "maps.h").read_text()
    assert set(re.findall(r", (\w+), MAX_SESSIONS\);", text)) == set(PER_SESSION)


def test_every_pinned_map_has_contents_of_a_known_size() -> None:
    assert {"sessions", "ports", "mappings", "shares", "hosts", "held", "expectations"} <= set(contents())
    assert all(own().size(one.key) and own().size(one.value) for one in contents().values())
