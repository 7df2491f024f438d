"""The worked example of alg/PLUGINS.md, and the page itself: what it prints runs."""

from __future__ import annotations

import re
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from algate.alg.config.load import loads
from algate.alg.plugin import policy
from algate.alg.plugin.model import Pass, Refuse, Reserve, Side
from algate.alg.testing import Stage, at, control

ROOT = Path(__file__).parents[3]
FILE = ROOT / "tests/callback_plugin/algate_callback.py"
PAGE = ROOT / "alg/PLUGINS.md"


def example() -> Any:
    """The example's module."""
    spec = util.spec_from_file_location("algate_callback", FILE)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stage(ports: list[int] | None = None) -> Stage:
    module = example()
    return Stage(module.PLUGIN, module.CallbackPolicy(enabled=True), control(remote="198.51.100.2:7070"), ports)


def test_another_address_or_a_low_port_passes_and_opens_nothing() -> None:
    for line in (b"CALL 10.0.0.9 4001\r\n", b"CALL 10.0.0.5 80\r\n", b"CALL 10.0.0.5 99999\r\n", b"OK\r\n"):
        made = stage()
        made.client << line >> Pass(len(line))
        made.done()
    made = stage()
    made.server << b"CALL 10.0.0.5 4001\r\n" >> Pass(20)
    made.done()


def test_without_a_port_the_client_hears_so() -> None:
    made = stage(ports=[])
    (
        made.client
        << b"CALL 10.0.0.5 4001\r\n"
        >> Reserve(1, at("10.0.0.5:4001"))
        >> Refuse(20, b"NO public port is free\r\n")
    )
    made.done()


def test_many_calls_in_one_segment_byte_by_byte_or_at_once() -> None:
    said = b"CALL 10.0.0.5 4001\r\n" * 30
    for pieces in ([said], [said[n : n + 1] for n in range(len(said))]):
        made = stage()
        made.say(Side.CLIENT, *pieces)
        assert made.heard[Side.SERVER].count(b"CALL 203.0.113.1 ") == 30 and len(made.expectations) == 30


def test_its_keys_are_read_from_its_table() -> None:
    plugin = example().PLUGIN
    kinds = policy.kinds({"callback": plugin})
    devices = {"gateway.lan": ["a"], "gateway.wan": "b"}
    text = (
        "[alg.callback]\nenabled = true\nmin_port = 2000\n[[alg.callback.rule]]\nclient = '10.0.0.0/24'\nmin_port = 9"
    )
    read = loads(text, devices, kinds).alg.protocols["callback"]
    assert read.watched == (7070,) and getattr(read, "min_port", 0) == 2000
    assert getattr(read.resolve(at("10.0.0.5:1").ip, at("9.9.9.9:1").ip), "min_port", 0) == 9


def test_the_page_s_test_runs_as_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    printed = [block for block in blocks if "def test_" in block]
    assert len(printed) == 1
    monkeypatch.syspath_prepend(FILE.parent)
    space: dict[str, Any] = {}
    exec(compile(printed[0], str(PAGE), "exec"), space)
    ran = [function() for name, function in space.items() if name.startswith("test_")]
    assert ran == [None]


def test_the_page_shows_this_very_code() -> None:
    page = PAGE.read_text()
    assert f"```python\n{FILE.read_text()}```" in page, "alg/PLUGINS.md: the example is not tests/callback_plugin's"
    declared = (ROOT / "tests/toy.py").read_text().split("# [declares]\n")[1].split("# [end]")[0].strip()
    assert f"```python\n{declared}\n```" in page, "alg/PLUGINS.md: what can be declared is not that of tests/toy.py"
    assert (FILE.parent / "pyproject.toml").read_text() in page
    assert len([line for line in FILE.read_text().splitlines() if line.strip()]) <= 50
