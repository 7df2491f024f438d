"""What a node that leads has done for the other one, in numbers.

The law of this file: it counts and judges nothing; whoever wants histograms gives the two calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .store import StoreError

REASONS = ("unreachable", "slow", "refused", "fenced", "asked")


class AnewError(StoreError):
    """Nothing is wrong: an operator wants everything told anew."""

    reason = "asked"


@dataclass
class LeaderCounts:
    """Of one daemon. `committed`: called with the s that a commit of control sessions took; `lagged`: with the s that a
    record of other sessions waited at most until the other node had it, once for each walk of them."""

    committed: Callable[[float], None] = lambda _: None
    lagged: Callable[[float], None] = lambda _: None
    lag: float | None = None  # s, of the last walk
    resyncs: int = 0  # how often everything was told
    failures: Counter[str] = field(default_factory=Counter)  # by REASONS: why the other node wasn't in step any more

    def failed(self, error: StoreError) -> None:
        """The other node isn't in step any more, or still isn't."""
        self.failures[error.reason] += 1

    def waited(self, seconds: float) -> None:
        """A walk is acknowledged."""
        self.lag = seconds
        self.lagged(seconds)
