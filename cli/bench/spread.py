"""Turning many rounds into one figure: medians, spread, ratios, and when to report nothing.

The law of this file: numbers in, numbers out. It doesn't know what was measured, or how.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOO_WIDE = 0.5
"""Rounds whose middle half is wider than this part of the median aren't reported."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over all rounds. `refusal` says why it isn't reported; "" if it is."""

    median: float
    least: float
    most: float
    rounds: int
    refusal: str = ""

    @property
    def usable(self) -> bool:
        return not self.refusal


def summarise(values: Sequence[float], *, void: Sequence[str] = (), wanted: int = 1, loose: bool = False) -> Summary:
    """The median with its range. `void`: why rounds don't count; `wanted`: how many rounds must be left; `loose`:
    however far they scatter."""
    if len(values) < max(1, wanted):
        reason = f"{len(void)} of {len(values) + len(void)} rounds void: {void[-1]}" if void else "not measured"
        if not values:
            return Summary(float("nan"), float("nan"), float("nan"), 0, reason)
        return Summary(statistics.median(values), min(values), max(values), len(values), reason)
    middle = statistics.median(values)
    wide = 0.0 if loose else scatter(values)
    refusal = f"rounds scatter by {wide:.0%} of the median" if wide > TOO_WIDE else ""
    return Summary(middle, min(values), max(values), len(values), refusal)


def scatter(values: Sequence[float]) -> float:
    """Width of the middle half of the values, as a part of the median; of all values where there are fewer than 4."""
    middle = statistics.median(values)
    if len(values) < 2 or middle == 0:
        return 0.0
    if len(values) < 4:
        return (max(values) - min(values)) / abs(middle)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / abs(middle)


def ratio(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Summary:
    """mine / theirs, round by round: what changes between rounds cancels out. Rounds that one lacks don't count."""
    return summarise([value / theirs[number] for number, value in mine.items() if theirs.get(number, 0) > 0])


def percentile(ordered: Sequence[float], part: float) -> float:
    """A quantile of ascending values, by nearest rank; `part` from 0 to 1. ValueError if there are none."""
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(round(part * len(ordered), 9)) - 1
    return ordered[max(0, min(len(ordered) - 1, rank))]
