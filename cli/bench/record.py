"""What was measured, by figure, gateway and round; and why a round doesn't count.

The law of this file: pure. It keeps numbers and hands out summaries; it prints nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from algate.cli.bench.spread import Summary, ratio, summarise

LESS, MORE = "less", "more"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured. `key` is its name in the JSON; `better` tells which way is good."""

    key: str
    title: str
    unit: str
    better: str = LESS
    info: bool = False  # of minor interest: no chart
    once: bool = False  # takes too long for every round: one sample is enough
    loose: bool = False  # may be near 0, or counted in coarse steps: rounds that scatter don't refuse it


@dataclass
class Record:
    """Samples of a whole run. `wanted`: valid rounds that a figure needs to be reported."""

    wanted: int = 1
    took: dict[str, float] = field(default_factory=dict)  # s of each step, over all rounds
    figures: dict[str, Figure] = field(default_factory=dict)
    samples: dict[tuple[str, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    void: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, figure: Figure, gateway: str, number: int, value: float) -> None:
        """Keep what round `number` gave."""
        self.figures.setdefault(figure.key, figure)
        self.samples[figure.key, gateway][number] = value

    def refuse(self, figure: Figure, gateway: str, why: str) -> None:
        """Note a round that doesn't count."""
        self.figures.setdefault(figure.key, figure)
        self.void[figure.key, gateway].append(why)

    def gateways(self, key: str) -> list[str]:
        """The gateways that have samples or refusals of a figure, in the order of their first."""
        seen = dict.fromkeys(name for figure, name in [*self.samples, *self.void] if figure == key)
        return list(seen)

    def by_round(self, key: str, gateway: str) -> Mapping[int, float]:
        return self.samples.get((key, gateway), {})

    def summary(self, key: str, gateway: str) -> Summary:
        """Median and range, or why there is none to report."""
        values = list(self.by_round(key, gateway).values())
        figure = self.figures.get(key)
        wanted = 1 if figure is not None and figure.once else self.wanted
        loose = figure is not None and figure.loose
        return summarise(values, void=self.void.get((key, gateway), []), wanted=wanted, loose=loose)

    def ratio(self, mine: tuple[str, str], theirs: tuple[str, str]) -> Summary:
        """The ratio of two (figure, gateway), round by round; refused if one of them is."""
        for key, gateway in (mine, theirs):
            summary = self.summary(key, gateway)
            if not summary.usable:
                return Summary(
                    summary.median, summary.least, summary.most, summary.rounds, f"{gateway}: {summary.refusal}"
                )
        return ratio(self.by_round(*mine), self.by_round(*theirs))

    def as_dict(self) -> dict[str, Any]:
        """The figures for the JSON."""
        return {key: self._figure(figure) for key, figure in self.figures.items()}

    def _figure(self, figure: Figure) -> dict[str, Any]:
        found = {}
        for name in self.gateways(figure.key):
            summary = self.summary(figure.key, name)
            usable = summary.usable
            found[name] = {
                "median": summary.median if usable else None,
                "min": summary.least if usable else None,
                "max": summary.most if usable else None,
                "rounds": list(self.by_round(figure.key, name).values()),
                "void": list(self.void.get((figure.key, name), [])),
                "refused": summary.refusal or None,
            }
        return {"title": figure.title, "unit": figure.unit, "better": figure.better, "gateways": found}
