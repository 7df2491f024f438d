"""The pure rooms stay pure: no socket, clock, loop or kernel handle reaches them, not even through another module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import ROOT, imported, modules, package

pytestmark = pytest.mark.pure  # both builds are of this text

FORBIDDEN = {
    "socket", "time", "asyncio", "bcc", "pyroute2", "threading", "subprocess", "select", "selectors", "signal",
    "random", "secrets", "fcntl", "ctypes", "mmap", "prometheus_client",
}  # fmt: skip
PURE = (
    "alg/plugin",
    "alg/protocols",
    "alg/config",
    "alg/engine",
    "alg/errors.py",
    "alg/rows.py",
    "alg/testing.py",
    "alg/audit/transfers.py",
    "alg/admin/explain.py",
    "alg/admin/known.py",
    "alg/admin/messages.py",
    "alg/admin/reasons.py",
    "alg/admin/origins.py",
    "cli/objects.py",
    "cli/text.py",
    "cli/view.py",
)


def pure_files() -> list[Path]:
    """A folder is pure in every module of it."""
    found = ([ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py")) for name in PURE)
    return [file for files in found for file in files]


def names(source: str, package: str) -> set[str]:
    """The full names that a module imports: modules, and what it takes from them."""
    return {name for module, part in imported(source, package) for name in (module, f"{module}.{part}".rstrip("."))}


def impure(start: Path) -> list[str]:
    """Each way from `start` to a forbidden module."""
    own = modules()
    problems: list[str] = []
    seen: set[Path] = set()
    todo = [(start, start.name)]
    while todo:
        path, way = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in sorted(names(path.read_text(), package(path))):
            if name.partition(".")[0] in FORBIDDEN:
                problems.append(f"{way} -> {name}")
            if name in own:
                todo.append((own[name], f"{way} -> {name}"))
    return problems


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_reaches_nothing_forbidden(path: Path) -> None:
    assert impure(path) == []


def test_the_walk_itself_sees_planted_imports() -> None:
    assert "socket" in names("def f():\n    import socket", "algate.alg")
    assert "time.monotonic" in names("from time import monotonic", "algate.alg")
    assert "algate.alg.engine.stream" in names("from . import stream", "algate.alg.engine")
    assert "algate.alg.plugin.model.Pass" in names("from ..plugin.model import Pass", "algate.alg.protocols")
    assert modules()["algate.alg.protocols.lines"] == ROOT / "alg/protocols/lines.py"
    assert modules()["algate.alg.protocols"] == ROOT / "alg/protocols/__init__.py"


def test_the_walk_follows_own_modules() -> None:
    assert any("asyncio" in way for way in impure(ROOT / "alg/admin/answering.py"))
    assert any("-> algate.alg.admin.control -> socket" in way for way in impure(ROOT / "alg/admin/down.py"))
