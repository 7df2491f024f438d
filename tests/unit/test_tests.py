"""The tests themselves: each can fail. This reads their text, so that no test stays that only looks like one."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.pure  # both builds are of this text

JUDGES = {"raises", "warns", "fail"}  # of pytest
# What can't be false, or is judged by a branch that may say nothing about the case.
HOLLOW = (ast.Constant, ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr, ast.Lambda, ast.GeneratorExp)


def texts() -> dict[str, str]:
    """The tests' modules, and what they judge by, by their paths."""
    files = [*sorted((ROOT / "tests").rglob("*.py")), ROOT / "alg/testing.py"]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def hollow(texts: Mapping[str, str]) -> list[str]:
    """Assertions that nothing could make fail, and comparisons that nobody looks at."""
    found = ((path, node) for path, text in texts.items() for node in ast.walk(ast.parse(text)))
    return [f"{path}:{node.lineno}" for path, node in found if isinstance(node, ast.Assert | ast.Expr) and _empty(node)]


def _empty(node: ast.Assert | ast.Expr) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Compare, ast.BoolOp))
    parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
    return any(isinstance(one, HOLLOW) or _same(one) for one in parts)


def _same(node: ast.expr) -> bool:
    """Whether something is compared with itself."""
    return isinstance(node, ast.Compare) and ast.dump(node.left) == ast.dump(node.comparators[0])


def without_judgement(texts: Mapping[str, str]) -> list[str]:
    """Tests that assert nothing, neither themselves nor through anything that they name, in however many steps."""
    names: dict[tuple[str, str], set[str]] = {}
    judging: set[tuple[str, str]] = set()
    for path, text in texts.items():
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                at = path, function.name
                inner = list(ast.walk(function))
                names.setdefault(at, set()).update(*map(_named, inner))
                if any(map(_judges, inner)):
                    judging.add(at)
    while more := {at for at in names.keys() - judging if _reaches(at, names, judging)}:
        judging |= more
    tests = [at for at in names if at[1].startswith("test_") and Path(at[0]).name.startswith("test_")]
    return [f"{path}::{name}" for path, name in tests if (path, name) not in judging]


def _reaches(at: tuple[str, str], names: Mapping[tuple[str, str], set[str]], judging: set[tuple[str, str]]) -> bool:
    """Whether it names something that judges: its own module's if that has one of the name, else any other's."""
    others = {name for _, name in judging}
    for name in names[at]:
        if (at[0], name) in names:
            if (at[0], name) in judging:
                return True
        elif name in others:
            return True
    return False


def _named(node: ast.AST) -> set[str]:
    """The name used here; `>>` compares a conversation's answers (alg/testing.py)."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    return {"__rshift__"} if isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift) else set()


def _judges(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return "AssertionError" in ast.dump(node)
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr in JUDGES)


def test_no_assertion_is_hollow() -> None:
    assert hollow(texts()) == []


def test_every_test_judges_something() -> None:
    assert without_judgement(texts()) == []


@pytest.mark.parametrize(
    "line",
    [
        "assert True", "assert (x, 'message')", "assert x == 1 if y else 304", "assert f'{x}'", "assert x == x",
        "assert (one for one in x)", "assert x or 'word'", "x == 1", "x and y",
    ],
)  # fmt: skip
def test_a_planted_hollow_assertion_is_seen(line: str) -> None:
    assert hollow({"test_x.py": f"def test_x():\n    {line}"}) == ["test_x.py:2"]


@pytest.mark.parametrize("line", ["assert x == 1", "assert x, (1, 2)", "assert x or y", "assert x < x + 1", "x(1)"])
def test_a_proper_one_is_not(line: str) -> None:
    assert hollow({"test_x.py": f"def test_x():\n    {line}"}) == []


def test_a_planted_test_that_judges_nothing_is_seen() -> None:
    helpers = "def look(x):\n    assert x\ndef far(x):\n    look(x)\ndef idle(x):\n    return x"
    tests = {
        "direct": "assert x", "by_helper": "look(x)", "by_two": "far(x)", "by_raises": "with pytest.raises(E): f()",
        "idle": "idle(x)", "none": "x = 1",
    }  # fmt: skip
    text = "\n".join(f"def test_{name}():\n    {body}" for name, body in tests.items())
    found = without_judgement({"tests/helpers.py": helpers, "tests/test_x.py": text})
    assert found == ["tests/test_x.py::test_idle", "tests/test_x.py::test_none"]
