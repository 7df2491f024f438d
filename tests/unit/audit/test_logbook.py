"""Who held a public port, as a log tells it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algate.alg.audit import logbook, record
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind
from algate.alg.errors import AlgateError

pytestmark = pytest.mark.unit

K = TranslationKind
PUBLIC = PackedEnd(bytes([203, 0, 113, 7]), 4000)
ONE, TWO = (PackedEnd(bytes([10, 0, 0, last]), 5000) for last in (1, 2))
REMOTE = PackedEnd(bytes([198, 51, 100, 2]), 80)


def taken(at: float, inside: PackedEnd, proto: int = 6) -> Translation:
    return Translation(K.MAPPING_CREATED, at, proto, inside, PUBLIC)


def freed(at: float, inside: PackedEnd, since: float = 0.0, proto: int = 6) -> Translation:
    return Translation(K.MAPPING_ENDED, at, proto, inside, PUBLIC, since=since)


def who(records: list[Translation], at: float, public: PackedEnd = PUBLIC) -> list[tuple[str, str]]:
    return [(str(one.inside), str(one.kind)) for one in logbook.held(records, public) if one.covers(at)]


def test_from_beginning_to_end() -> None:
    records = [taken(100, ONE), freed(200, ONE, 100), taken(300, TWO), freed(400, TWO, 300)]
    assert who(records, 150) == [("10.0.0.1:5000", "mapping-ended")]
    assert who(records, 350) == [("10.0.0.2:5000", "mapping-ended")]
    assert who(records, 250) == who(records, 99) == []


def test_an_end_answers_by_itself() -> None:
    """The beginning was in a file that is gone."""
    assert who([freed(200, ONE, 100)], 150) == [("10.0.0.1:5000", "mapping-ended")]
    assert who([freed(200, ONE)], 150) == [("10.0.0.1:5000", "mapping-ended")]


def test_a_beginning_lasts_until_another_has_the_port() -> None:
    """Its end was lost."""
    records = [taken(100, ONE), taken(300, TWO)]
    assert who(records, 200) == [("10.0.0.1:5000", "mapping-created")]
    assert who(records, 400) == [("10.0.0.2:5000", "mapping-created")]
    both = [taken(100, ONE), taken(150, TWO, proto=17)]
    assert who(both, 200) == [("10.0.0.1:5000", "mapping-created"), ("10.0.0.2:5000", "mapping-created")]


def test_a_shared_port_is_several_hosts() -> None:
    records = [replace(taken(100, ONE), remote=REMOTE), replace(taken(110, TWO), remote=REMOTE._replace(port=443))]
    assert len(who(records, 120)) == 2


def test_a_block_answers_for_its_ports() -> None:
    block = Translation(K.BLOCK_ASSIGNED, 100, 0, ONE._replace(port=0), PUBLIC._replace(port=0), ports=(3900, 4100))
    assert who([block], 150) == [("10.0.0.1:0", "block-assigned")]
    assert who([block], 150, PUBLIC._replace(port=4101)) == []
    released = replace(block, kind=K.BLOCK_RELEASED, time=200)
    assert who([block, released], 250) == []


def test_a_log_is_searched_through_its_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    noise = [replace(taken(50, ONE), public=PUBLIC._replace(port=port)) for port in (400, 40001, 40000)]
    (tmp_path / "log.10").write_text("".join(record.line(one) + "\n" for one in (*noise, taken(100, ONE))))
    (tmp_path / "log.2").write_text(record.gap(3, 150) + "\n" + record.line(freed(200, ONE)) + "\n")
    (tmp_path / "log.1").write_text("")
    path.write_text(record.line(taken(300, TWO)) + "\n" + record.line(taken(400, ONE))[:50])
    found = logbook.search(path, PUBLIC)
    assert [(str(one.inside), one.since, one.until) for one in found.held] == [
        ("10.0.0.1:5000", 100, 200), ("10.0.0.2:5000", 300, None),
    ]  # fmt: skip
    assert (found.gaps, found.first) == (3, 50)


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AlgateError, match="no log at"):
        logbook.search(tmp_path / "none", PUBLIC)
