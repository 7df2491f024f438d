"""The pure modules stay pure: no socket, clock, loop or kernel handle reaches them, not even through another module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"socket", "time", "asyncio", "bcc", "pyroute2"}
PURE = (
    "alg/plugin/model.py",
    "alg/engine/stream.py",
    "alg/engine/engine.py",
    "alg/config/load.py",
    "alg/config/sections.py",
    "alg/plugin/contract.py",
    "alg/plugin/policy.py",
    "alg/plugin/words.py",
    "alg/testing.py",
    "alg/admin/explain.py",
    "alg/admin/reasons.py",
    "alg/audit/transfers.py",
    "cli/view.py",
)


def pure_files() -> list[Path]:
    return [*(ROOT / name for name in PURE), *sorted((ROOT / "alg/protocols").rglob("*.py"))]


def imported(source: str, package: str) -> set[str]:
    """The full names that a module imports anywhere in its text. `package`: for relative imports, dotted."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def own_file(name: str) -> Path | None:
    """Where a module of algate lies, None for others."""
    if not name.startswith("algate."):
        return None
    path = ROOT.joinpath(*name.split(".")[1:])
    found = path.with_suffix(".py"), path / "__init__.py"
    return next((file for file in found if file.is_file()), None)


def impure(start: Path) -> list[str]:
    """Each way from `start` to a forbidden module."""
    problems: list[str] = []
    seen: set[Path] = set()
    todo = [(start, start.name)]
    while todo:
        path, way = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        package = ".".join(("algate", *path.relative_to(ROOT).parent.parts))
        for name in imported(path.read_text(), package):
            if name.partition(".")[0] in FORBIDDEN:
                problems.append(f"{way} -> {name}")
            file = own_file(name)
            if file is not None:
                todo.append((file, f"{way} -> {name}"))
    return problems


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_reaches_nothing_forbidden(path: Path) -> None:
    assert impure(path) == []


def test_the_walk_itself_sees_planted_imports(tmp_path: Path) -> None:
    assert "socket" in imported("def f():\n    import socket", "algate.alg")
    assert "time.monotonic" in imported("from time import monotonic", "algate.alg")
    assert "algate.alg.engine.stream" in imported("from . import stream", "algate.alg.engine")
    assert "algate.alg.plugin.model.Pass" in imported("from ..plugin.model import Pass", "algate.alg.protocols")
    assert own_file("algate.alg.protocols.lines") == ROOT / "alg/protocols/lines.py"
    assert own_file("algate.alg.protocols") == ROOT / "alg/protocols/__init__.py"
    assert own_file("re") is None


def test_the_walk_follows_own_modules() -> None:
    assert any("asyncio" in way for way in impure(ROOT / "alg/admin/answering.py")), (
        "answering.py has the socket: it must be seen"
    )
