"""The compiled build (setup.py): which modules it has, what stops a plug-in in it, and which build runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from algate.alg.admin.build import build, loaded
from algate.alg.helper.guard import Guard, TooSlowError
from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy
from algate.alg.testing import control
from tests.imports import ROOT

#: Loops of the plug-ins that end by themselves soon, or whose every round calls Script, which is interpreted code.
LOOPS = {
    "ftp/families.py: at < len(raw)": "a line at most, max_line",
    "ftp/machine.py: start < len(data)": "judge says",
    "ftp/machine.py: (answer := negotiation(data, start)) is not None": "each one says",
    "irc/session.py: at < len(data)": "each line says",
    "irc/session.py: len(self._live) + wanted > self._policy.max_offers": "max_offers at most",
    "lines.py: at < len(body)": "a line at most, max_line",
}


def listed() -> list[str]:
    """The modules that setup.py compiles."""
    spec = importlib.util.spec_from_file_location("algate_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found: list[str] = script.compiled(ROOT)
    return found


def test_all_that_is_listed_is_compiled_in_the_compiled_build_and_nothing_in_the_other() -> None:
    names = ["algate." + path.removesuffix(".py").replace("/", ".") for path in listed()]
    modules = [importlib.import_module(name) for name in names]
    assert len(modules) > 40 and build(modules) == build()
    others = [one for one in loaded() if one.__name__ not in names]
    assert build(others) == "pure"


def test_what_others_derive_from_and_what_can_stop_a_plug_in_is_interpreted() -> None:
    kept = {"alg/protocols/base.py", "alg/plugin/model.py", "alg/plugin/policy.py", "alg/plugin/words.py"}
    assert not kept & {*listed()}


def test_no_coroutine_is_compiled() -> None:
    """setup.py says why."""
    kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncWith, ast.AsyncFor)
    trees = {name: ast.parse((ROOT / name).read_text()) for name in listed()}
    assert [name for name, tree in trees.items() for one in ast.walk(tree) if isinstance(one, kinds)] == []


@pytest.mark.parametrize(
    ("files", "said"),
    [(("a.py",), "pure"), (("a.cpython-311-x86_64-linux-gnu.so",), "compiled"), (("a.py", "b.so"), "mixed")],
)
def test_what_is_said_of_the_build(files: tuple[str, ...], said: str) -> None:
    modules = [ModuleType("a") for _ in files]
    for module, file in zip(modules, files, strict=True):
        module.__file__ = file
    assert build(modules) == said


def loops(path: str) -> Iterator[str]:
    """The loops of a module that don't go through something that is already there."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.While):
            yield f"{path.removeprefix('alg/protocols/')}: {ast.unparse(node.test)}"


def test_each_loop_of_a_compiled_plug_in_can_be_stopped_or_ends_soon() -> None:
    """Python runs a signal's handler between steps of interpreted code, and a compiled loop takes none by itself."""
    assert {one for path in listed() if path.startswith("alg/protocols/") for one in loops(path)} == set(LOOPS)


@pytest.mark.parametrize(
    ("side", "line"), [(Side.CLIENT, b"NOOP\r\n"), (Side.CLIENT, b"x\0y\r\n"), (Side.SERVER, b"200 x\r\n")]
)
def test_a_plug_in_that_goes_on_and_on_is_stopped(side: Side, line: bytes) -> None:
    """A million lines, of which the engine would feed a few: seconds of work in one call, in either build."""
    conversation = PLUGIN.open(control(), FtpPolicy())
    conversation.feed(Side.SERVER, b"220 hello\r\n", 0.0)
    guard, much = Guard(0.02), line * 1_000_000
    try:
        began = time.thread_time()
        with pytest.raises(TooSlowError):
            guard.call(conversation.feed, side, much, 0.0)
        assert time.thread_time() - began < 0.4
    finally:
        guard.close()


def test_a_module_that_was_compiled_by_mistake_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = ModuleType("algate.planted")
    planted.__file__ = "planted.so"
    monkeypatch.setitem(sys.modules, "algate.planted", planted)
    assert build([planted, sys.modules["algate.alg.plugin.model"]]) == "mixed"
