"""Room for new sessions where something is scarce: which spare sessions go.

The law of this file: it chooses; the kernel looks again and keeps what is needed again meanwhile (CONTROL_RECLAIM).
Spare is what nobody has answered, and what is over: both FINs are acknowledged, or a RST came. Who has most spare
sessions loses them first, until all that lose some have equally many, each the longest idle first. So a host that
floods pays for it, and only then those that look alike, as the sources that a flood invents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

PART = 4  # at most a quarter of what is scarce is reclaimed at once
AGE_SHIFT = 6  # ages are counted in steps of 64 ticks


@dataclass
class Need:
    """Something scarce: `wanted` sessions of everybody's are to go, of one block of `ports` if `block` says which; or
    of each of `hosts`, a quarter of its own."""

    wanted: int = 0
    block: int | None = None
    hosts: Collection[int] = ()
    ages: Counter[tuple[int, int]] = field(default_factory=Counter)  # (host, age) -> sessions
    limits: dict[int, tuple[int, int]] = field(default_factory=dict)

    def tally(self, found: Iterable[tuple[int, int, int]]) -> None:
        """Count spare sessions as (host, idle ticks, row of `ports`)."""
        self.ages.update((host, idle >> AGE_SHIFT) for host, idle, row in found if self._about(host, row))

    def _about(self, host: int, row: int) -> bool:
        return (self.block is None or row >> 16 == self.block) and (not self.hosts or host in self.hosts)

    def choose(self) -> None:
        """Settle who loses how many, once all are counted."""
        total: Counter[int] = Counter()
        oldest: Counter[int] = Counter()
        for (host, age), number in self.ages.items():
            total[host] += number
            oldest[host] = max(oldest[host], age)
        if self.hosts:
            quotas = {host: -(-number // PART) for host, number in total.items()}
        else:
            quotas = level(total, self.wanted, oldest)
        by_host: dict[int, list[tuple[int, int]]] = {}
        for (host, age), number in self.ages.items():
            if host in quotas:
                by_host.setdefault(host, []).append((age, number))
        for host, counted in by_host.items():
            self.limits[host] = _limit(counted, quotas[host])

    def takes(self, host: int, idle: int, row: int) -> bool:
        """Whether this session is one of those that go. Ask once for each."""
        if host not in self.limits or not self._about(host, row):
            return False
        age = idle >> AGE_SHIFT
        limit, left = self.limits[host]
        if age == limit and left:
            self.limits[host] = limit, left - 1
        return age > limit or (age == limit and left > 0)


def level(total: Mapping[int, int], wanted: int, oldest: Mapping[int, int]) -> dict[int, int]:
    """How many each gives so that `wanted` are given by those who have most, and they end with equally many; one
    more is left to those whose `oldest` is younger."""
    ranked = sorted(total.items(), key=lambda one: (-one[1], -oldest.get(one[0], 0)))
    above = 0  # what the first `number` hosts have
    for number, (_, has) in enumerate(ranked, 1):
        above += has
        following = ranked[number][1] if number < len(ranked) else 0
        if above - number * following >= wanted:
            keep, more = divmod(above - wanted, number)
            return {
                host: max(0, has - keep - (place >= number - more)) for place, (host, has) in enumerate(ranked[:number])
            }
    return dict(ranked)


def _limit(counted: list[tuple[int, int]], quota: int) -> tuple[int, int]:
    """The age at which a host's sessions begin to go, and how many of just that age."""
    for age, number in sorted(counted, reverse=True):
        if number >= quota:
            return age, quota
        quota -= number
    return -1, 0
