"""Whether the helper's loop lives, and whether a state translates."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg import version
from algate.alg.daemon.standing import alive, build, translates
from algate.bpf import ticks

pytestmark = pytest.mark.unit


def gateway(silent: float) -> Any:
    """One whose helper gave its last sign of life so many seconds ago, with a helper_timeout of 3 s."""
    beat = ticks.count() - round(silent / ticks.SECONDS)
    return SimpleNamespace(heartbeat={0: beat}, configs={0: SimpleNamespace(helper_timeout=ticks.lasting(3))})


def test_a_helper_that_is_silent_for_too_long_is_not_alive() -> None:
    assert alive(gateway(0.3)) == (True, "alive")
    well, said = alive(gateway(4.2))
    assert not well and said.startswith("no sign of life of the helper for 4.")


@pytest.mark.parametrize(
    ("state", "wanted"),
    [("translating", True), ("translating, but pins are gone", True), ("not translating: eth0 is down", False),
     ("waiting for an address on eth0", False), ("starting", False)],
)  # fmt: skip
def test_a_gateway_with_something_amiss_may_still_translate(state: str, wanted: bool) -> None:
    assert translates(state) is wanted


def test_the_build_has_what_a_dashboard_asks_for() -> None:
    assert set(build()) == {"version", "layout", "kernel", "python"} and all(build().values())


def test_a_package_upgraded_under_a_daemon_does_not_change_what_it_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build()["version"]
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9")
    assert build()["version"] == before == version.VERSION
