"""What keepalived sees of a daemon that works, and of one that is stopped; and for how long the kernel may go on."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.daemon import fitness
from algate.alg.daemon.fitness import IN_STEP, UNFIT, Fitness
from algate.alg.daemon.leasekeeping import LAPSED, LeaseKeeping
from algate.alg.gateway.fence import LEASE, boot
from algate.alg.ha.keepalived import ALIVE, LOOK, PRIORITY


def alive(run_dir: Path) -> bool:
    """What keepalived's script says."""
    return subprocess.run(["/bin/sh", run_dir / LOOK], check=False, capture_output=True).returncode == 0


def test_a_silent_daemon_is_not_taken_for_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Fitness(tmp_path)
    assert not alive(tmp_path)

    async def work() -> None:
        live = asyncio.create_task(fit.live())
        await asyncio.sleep(0.05)
        live.cancel()

    asyncio.run(work())
    assert alive(tmp_path) and boot() < int((tmp_path / ALIVE).read_text()) <= boot() + fitness.SECONDS + 1
    monkeypatch.setattr(fitness, "SECONDS", -1.0)  # as if that had been a while ago
    asyncio.run(work())
    assert not alive(tmp_path)
    assert fitness.SECONDS < LEASE, "the address is another's before new connections find nobody"


def test_the_latest_announcement_stands(tmp_path: Path) -> None:
    fit = Fitness(tmp_path)
    for one in (UNFIT, IN_STEP):
        fit.announce(one)
        assert (fit.said, (tmp_path / PRIORITY).read_text()) == (one, f"{one}\n")
    Fitness(tmp_path / "gone").announce(UNFIT)  # a warning


@pytest.mark.parametrize(("go_on", "fenced", "until"), [(True, False, 1000), (False, False, 70), (True, True, None)])
def test_a_lease_is_renewed_unless_somebody_else_leads(
    go_on: bool, fenced: bool, until: float | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("algate.alg.daemon.leasekeeping.boot", lambda: 1000.0)
    allowed: list[float] = []
    bars: Any = SimpleNamespace(allow=allowed.append)
    leader: Any = SimpleNamespace(fenced=fenced, sure=70.0)
    keeping = LeaseKeeping(bars, leader, go_on)
    keeping.renew()
    keeping.renew()
    assert allowed == ([] if until is None else [until + LEASE] * 2)
    assert [one.getMessage() for one in caplog.records] == ([] if until != 70 else [f"ha: {LAPSED}"])
    leader.sure = 1000.0
    keeping.renew()
    assert len(caplog.records) == (2 if until == 70 else 0)
