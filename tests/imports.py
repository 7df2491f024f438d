"""Who imports whom among algate's own modules, read from their text, including in functions and under TYPE_CHECKING.

`importlib.import_module` isn't seen: the command's table of verbs and the plug-ins' entry points go through it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREES = ("alg", "bpf", "cli")

Arrows = Mapping[str, set[str]]  # a module -> the modules that it imports


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Full name -> file, for every module of the trees."""
    files = (path for tree in TREES for path in sorted((root / tree).rglob("*.py")))
    return {f"{package(path, root)}.{path.stem}".removesuffix(".__init__"): path for path in files}


def package(path: Path, root: Path = ROOT) -> str:
    """The full name of the package that a file belongs to. alg/client is a package of its own (pyproject.toml)."""
    name = ".".join(("algate", *path.relative_to(root).parent.parts))
    return "algate.client" if name == "algate.alg.client" else name


def imported(source: str, package: str) -> set[tuple[str, str]]:
    """(module, name) of every import anywhere in a text; name "" for `import module`. `package`: where the text is."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {(module, alias.name) for alias in node.names}
    return found


@functools.cache
def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """The arrows of every module of the trees. `from package import module` leads only to the module."""
    own = modules(root)
    found: dict[str, set[str]] = {}
    for name, path in own.items():
        wanted = imported(path.read_text(), package(path, root))
        leads = {f"{module}.{part}" if f"{module}.{part}" in own else module for module, part in wanted}
        found[name] = {one for one in leads if one in own}
    return found


def circles(arrows: Arrows) -> list[list[str]]:
    """The strongly connected components of more than one module, or of one that imports itself (Tarjan's)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(one: str) -> None:
        number[one] = lowest[one] = len(number)
        path.append(one)
        for other in sorted(arrows[one]):
            if other not in number:
                visit(other)
            if other in path:
                lowest[one] = min(lowest[one], lowest[other])
        if lowest[one] == number[one]:
            part = path[path.index(one) :]
            del path[path.index(one) :]
            if len(part) > 1 or one in arrows[one]:
                found.append(sorted(part))

    for one in sorted(arrows):
        if one not in number:
            visit(one)
    return found
