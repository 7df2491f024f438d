"""What a histogram of /metrics says of the time between two readings.

The law of this file: pure; `stats` as `algate stats --json` gives them, sample name with labels -> value.
"""

from __future__ import annotations

from collections.abc import Mapping

Stats = Mapping[str, float]


def quantile(before: Stats, after: Stats, name: str, part: float) -> float | None:
    """The bound below which a `part` of what came in between lies: never less than the truth, a bucket at most more.

    None: nothing came. Infinite: it lies beyond the last bound.
    """
    head, tail = f'{name}_bucket{{le="', '"}'
    bounds = sorted((float(key[len(head) : -len(tail)]), key) for key in after if key.startswith(head))
    counts = [(bound, after[key] - before.get(key, 0.0)) for bound, key in bounds]
    if not counts or counts[-1][1] <= 0:
        return None
    wanted = part * counts[-1][1]
    return next(bound for bound, number in counts if number >= wanted)
