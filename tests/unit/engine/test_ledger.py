"""What a receiver has and is owed, and that only flow and ledger change either."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.alg.engine.flow import Flow
from algate.alg.engine.ledger import Chunk, Ledger
from algate.alg.plugin.contract import NEVER

ENGINE = Path(__file__).parents[3] / "alg/engine"
OTHERS = {"self", "fresh", "made"}  # Delivery's Fresh has chunks too
SLOTS = {name for kind in (Flow, Ledger) for name in getattr(kind, "__slots__", ())}  # a compiled class has none
MEMBERS = SLOTS - {"direction", "stream", "ledger"}
CHANGES = {"append", "clear", "extend", "insert", "pop", "remove", "sort"}


def started(at: int = 1000) -> Ledger:
    ledger = Ledger()
    ledger.start(at)
    return ledger


def test_the_receiver_has_what_it_acknowledged_and_no_more_than_was_decided() -> None:
    ledger = started()
    ledger.append(b"x" * 10, None)
    assert not ledger.acknowledge(1004) and ledger.acked == ledger.heard == 1004
    assert not ledger.acknowledge(1002) and not ledger.acknowledge(1012)
    assert ledger.acked == 1004 and ledger.release() == []
    assert ledger.acknowledge(1011), "the FIN behind the decided end"
    assert ledger.release() == [Chunk(1000, 1010, b"x" * 10, None)] and ledger.retained == 0


def test_acknowledgements_count_on_beyond_2_to_the_32nd() -> None:
    ledger = started(0xFFFF_FFF0)
    ledger.append(b"x" * 32, None)
    assert not ledger.acknowledge(8) and ledger.acked == (1 << 32) + 8


def test_who_has_all_before_a_refused_chunk_has_it_too_but_never_heard_of_it() -> None:
    ledger = started()
    ledger.append(b"abcd", None)
    ledger.refuse(b"DELE f\r\n")
    assert ledger.acked == 1000
    ledger.acknowledge(1004)
    assert (ledger.acked, ledger.heard) == (1012, 1004)
    assert [chunk.new for chunk in ledger.release()] == [None] and len(ledger.chunks) == 1


def test_what_was_promised_and_is_not_acknowledged_is_owed() -> None:
    ledger = started()
    ledger.append(b"abcd", None)
    ledger.append(b"efgh", None)
    assert ledger.owed() == [] and ledger.acknowledged == 1000
    ledger.promise(1003)
    assert [chunk.old for chunk in ledger.owed()] == [b"abcd"] and ledger.acknowledged == 1003
    ledger.acknowledge(1004)
    assert ledger.owed() == []


def test_what_is_owed_is_due_ever_later_until_the_receiver_moves() -> None:
    ledger = started()
    assert ledger.due(10.0, 0.3) == NEVER
    ledger.append(b"abcd", None)
    ledger.promise(1004)
    assert ledger.due(10.0, 0.3) == ledger.due(10.2, 0.3) == 10.3
    ledger.resent(10.3, 1.0)
    ledger.resent(ledger.resend_at, 1.0)
    assert ledger.resends == 2 and ledger.due(11.0, 0.3) == pytest.approx(11.9)
    ledger.acknowledge(1002)
    assert ledger.due(12.0, 0.3) == pytest.approx(12.3) and ledger.resends == 0
    ledger.acknowledge(1004)
    assert ledger.due(13.0, 0.3) == NEVER and ledger.resend_at == 0


def test_the_log_holds_what_a_restart_must_know_and_says_when_that_is_nothing() -> None:
    ledger = started()
    ledger.append(b"pass", None)
    assert (ledger.log(), ledger.stored) == (None, False)
    ledger.append(b"old", b"longer")
    assert [chunk.new for chunk in ledger.log() or []] == [b"longer"]
    assert ledger.stored
    ledger.acknowledge(1007)
    assert (ledger.indebted, ledger.log(), ledger.stored) == (False, None, False)
    ledger.promise(1009)
    assert ledger.log() == [], "bytes without a decision alone"


def changes(tree: ast.AST) -> Iterator[str]:
    """Members of Flow and Ledger that are set or changed through a name other than self."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [part for one in node.targets for part in (one.elts if isinstance(one, ast.Tuple) else [one])]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = [one.value if isinstance(one, ast.Subscript) else one for one in node.targets]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            targets = [node.func.value]
        for one in targets:
            if isinstance(one, ast.Attribute) and one.attr in MEMBERS and ast.unparse(one.value) not in OTHERS:
                yield f"{one.lineno}: {ast.unparse(one)}"


@pytest.mark.pure
def test_nobody_outside_sets_the_members_of_flow_and_ledger() -> None:
    found = {path.name: [*changes(ast.parse(path.read_text()))] for path in ENGINE.glob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.pure
def test_a_change_from_outside_would_be_seen() -> None:
    planted = (
        "flow.judged += 1\nflow.ledger.acked = flow.ledger.heard = 3\nledger.chunks.append(c)\ndel back.answers[0]"
    )
    seen = sorted(line.partition(": ")[2] for line in changes(ast.parse(planted)))
    assert seen == ["back.answers", "flow.judged", "flow.ledger.acked", "flow.ledger.heard", "ledger.chunks"]
