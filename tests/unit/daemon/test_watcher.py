"""When the devices are looked at, and which of them a packet may be routed to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from algate.alg.config import load as configuration
from algate.alg.daemon import watcher
from algate.alg.daemon.devices import Sight
from algate.alg.daemon.watcher import Watcher
from algate.alg.plugin import policy, registry


def test_a_look_for_each_word_and_soon_again_if_something_is_amiss(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while a look is made is looked at too."""
    monkeypatch.setattr(watcher, "AGAIN", 0.02)
    answers = iter([True, False, False, True])
    looks: list[int] = []

    async def course() -> None:
        made = Watcher()

        def look() -> int:
            looks.append(1)
            return len(looks)

        def follow(number: int) -> bool:
            if number == 1:
                made.wake()  # meanwhile something else changed
            return next(answers)

        duty = asyncio.create_task(made.run(look, follow))
        try:
            made.wake()
            await asyncio.sleep(0.4)
        finally:
            duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)
            made.close()

    asyncio.run(course())
    assert len(looks) == 4, "then all was well, and nothing more was heard"


def test_a_device_made_anew_is_unknown_until_its_programs_are_attached(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[gateway]\nlan = ["lan0"]\nwan = "wan0"\n')
    config = configuration.load(file, {}, policy.kinds(registry.discover()))
    seen = Sight(None, "", {1: "lo", 2: "lan0", 3: "docker0", 9: "wan0"})
    assert seen.known(config, [2, 4]) == {1, 2, 3}
    assert seen.known(config, [2, 9]) == {1, 2, 3, 9}
    assert seen.known(config, []) == {1, 3}
