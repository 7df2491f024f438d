"""A new configuration: looked at, applied, confirmed, or undone by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from unittest.mock import MagicMock

import pytest

from algate.alg.admin import verbs
from algate.alg.admin.run import handlers
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.daemon.reloading import Reloading
from algate.alg.errors import AlgateError

BASE = '[gateway]\nlan = ["eth1"]\nwan = "eth0"\n'


class Place:
    """A daemon's configuration: what the file says, what is in force, what was applied so far."""

    def __init__(self) -> None:
        self.file = BASE
        self.config = configuration.loads(BASE)
        self.applied: list[float] = []
        self.refuse = False
        self.reloading = Reloading(lambda: self.config, lambda: configuration.loads(self.file), self.apply)

    def apply(self, fresh: Config) -> None:
        self.applied.append(fresh.timeouts.udp)
        if self.refuse and fresh.timeouts.udp != 300:
            raise AlgateError("a port is taken")
        self.config = fresh

    def udp(self, seconds: float) -> None:
        self.file = f"{BASE}[timeouts]\nudp = {seconds}\n"


@pytest.fixture
def place() -> Place:
    return Place()


def within(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def test_a_dry_run_says_and_touches_nothing(place: Place) -> None:
    place.udp(60)
    said = place.reloading.reload(dry_run=True)
    assert said["changes"] == [{"key": "timeouts.udp", "was": 300, "now": 60, "when": "at once"}]
    assert (said["dry_run"], place.applied, place.config.timeouts.udp) == (True, [], 300)


def test_a_dry_run_says_what_a_reload_would_refuse(place: Place) -> None:
    place.file = BASE.replace("eth0", "eth9")
    (one,) = place.reloading.reload(dry_run=True)["changes"]
    assert one["key"] == "gateway.wan" and one["when"].startswith("not while running")
    with pytest.raises(AlgateError, match="nothing was changed"):
        place.reloading.reload()
    assert place.applied == []


def test_what_cant_be_applied_leaves_the_former_one_in_force(place: Place) -> None:
    place.refuse = True
    place.udp(60)
    with pytest.raises(AlgateError, match="a port is taken"):
        place.reloading.reload()
    assert place.applied == [60, 300] and place.config.timeouts.udp == 300


def test_it_is_undone_by_itself(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        place.udp(60)
        said = place.reloading.reload(seconds=0.05)
        assert said["unconfirmed"] is not None and 0 < said["unconfirmed"]["left"] <= 0.05
        assert place.config.timeouts.udp == 60
        waiting = place.reloading.unconfirmed()
        assert waiting is not None and waiting["changed"] == ["timeouts.udp"]
        await asyncio.sleep(0.15)
        assert place.config.timeouts.udp == 300
        assert place.reloading.unconfirmed() is None

    with caplog.at_level(logging.WARNING):
        within(work)
    assert "not confirmed within 0.05 s: the former configuration is in force again" in caplog.text


def test_it_stays_if_it_is_confirmed(place: Place) -> None:
    async def work() -> None:
        place.udp(60)
        place.reloading.reload(seconds=0.05)
        assert place.reloading.confirm()["changed"] == ["timeouts.udp"]
        await asyncio.sleep(0.15)
        assert place.config.timeouts.udp == 60
        with pytest.raises(AlgateError, match="nothing to confirm"):
            place.reloading.confirm()

    within(work)


def test_what_comes_back_is_the_last_one_that_was_confirmed(place: Place) -> None:
    """Twice tried, nothing confirmed: neither stays. A plain reload in between is refused."""

    async def work() -> None:
        place.udp(60)
        place.reloading.reload(seconds=0.2)
        place.udp(50)
        with pytest.raises(AlgateError, match=r"isn't confirmed: `algate reload --confirm`, or it is undone in 0 s"):
            place.reloading.reload()
        place.reloading.reload(seconds=0.05)
        assert place.config.timeouts.udp == 50
        await asyncio.sleep(0.3)
        assert place.config.timeouts.udp == 300

    within(work)


def test_what_would_outlive_the_undoing_waits(place: Place) -> None:
    """An upgrade, whose new daemon reads the file, and a forward that is saved; nothing else."""

    async def work() -> None:
        service = MagicMock(reloading=place.reloading)
        known = handlers(service, MagicMock())
        place.udp(60)
        place.reloading.reload(seconds=60)
        for verb, args in (("upgrade", {}), ("forward-add", {"save": True})):
            answer = known[verb](args)
            assert isinstance(answer, Awaitable)
            with pytest.raises(AlgateError, match=r"a reload isn't confirmed yet: .* it is undone in 60 s"):
                await answer
        place.reloading.confirm()
        place.reloading.need_settled()

    within(work)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 1e9, "x", True, float("nan")])
def test_a_time_that_cant_be_is_refused(place: Place, seconds: object) -> None:
    with pytest.raises(AlgateError) as refused:
        verbs.reload(place.reloading, {"seconds": seconds})
    assert refused.value.exit_code == 2 and place.applied == []


def test_one_of_three(place: Place) -> None:
    with pytest.raises(AlgateError, match="exclude each other"):
        verbs.reload(place.reloading, {"dry_run": True, "confirm": True})
    assert verbs.reload(place.reloading, {"dry_run": True})["dry_run"]
