"""What each inside host has and does: the kernel's counts of it, and sums over its sessions.

The law of this file: pure but for reading one table; batches and raw rows in, rows out. Addresses are numbers as in
struct session_key until a row is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from algate.alg.gateway import survey
from algate.alg.gateway.best import Earlier
from algate.alg.gateway.gc import Batch
from algate.alg.rows import HostRow
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers

RECENT_NS = 10_000_000_000  # how far back new sessions are counted: a second has too few of them to tell a rate
UNKNOWN = 0  # the address of the row of those for whom there was no room
SORTS: Mapping[str, Callable[[HostRow], float]] = {
    "rate": lambda row: row.rate_out + row.rate_in,
    "sessions": lambda row: row.sessions,
    "ports": lambda row: row.ports,
    "new": lambda row: row.new_per_second,
    "refused": lambda row: row.refused,
    "oldest": lambda row: row.oldest or 0.0,
}


class HostCount(NamedTuple):
    """What the kernel counts of one host: what it has now, and how often it was refused something since the start."""

    sessions: int
    ports: int
    refused: int


def host_counts(gateway: Gateway) -> Iterator[dict[int, HostCount]]:
    """The rows of `hosts` that say anything, some thousand at a time."""
    for keys, values, _ in gateway.hosts.chunks():
        columns = [numbers("host", name, values) for name in ("sessions", "ports", "refused")]
        hosts = numbers("mapping_key", "inside_ip", keys)
        yield {
            host: HostCount(max(0, _signed(sessions)), max(0, _signed(ports)), refused)
            for host, sessions, ports, refused in zip(hosts, *columns, strict=True)
            if sessions or ports or refused
        }


def _signed(count: int) -> int:
    """A count that fell below 0 for a moment."""
    return count - (1 << 64) if count >> 63 else count


class HostSums:
    """Over the sessions of a second walk, by inside host: bytes since the first one, how many are new, the oldest."""

    def __init__(self, earlier: Earlier, now_ns: int) -> None:
        self._earlier, self._recent = earlier, now_ns - RECENT_NS
        self.sums: dict[int, list[int]] = {}

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        """A batch, and the places in it of what is wanted."""
        hosts, ids = survey.inside_ips(batch), numbers("session", "id", batch.values)
        out, back = self._earlier.growth(batch)
        sums, recent = self.sums, self._recent
        for at in some:
            born = ids[at]
            one = sums.get(hosts[at])
            if one is None:
                one = sums[hosts[at]] = [0, 0, 0, born]
            one[0] += out[at]
            one[1] += back[at]
            if born > recent:
                one[2] += 1
            if born < one[3]:
                one[3] = born


def host_rows(
    counts: Mapping[int, HostCount], sums: Mapping[int, Sequence[int]], config: abi.Config, seconds: float, now_ns: int,
    text: Callable[[int], str], wanted: Collection[survey.RawPlace] = (),
) -> Iterator[HostRow]:  # fmt: skip
    """A row for each host that has, does or was refused something, in no order. `seconds`: between the two walks;
    `now_ns`: of the second one; `text`: of an address; `wanted`: only these, all if empty."""
    nothing, limits = HostCount(0, 0, 0), (config.max_sessions_per_host or None, config.max_ports_per_host or None)
    for host in chain(counts, (one for one in sums if one not in counts)):
        if wanted and not any(place.holds(host, place.port or 0) for place in wanted):
            continue
        has = counts.get(host, nothing)
        out, back, new, oldest = sums.get(host) or (0, 0, 0, now_ns)
        yield HostRow(
            text(host) if host != UNKNOWN else "others",
            has.sessions, has.ports, out / seconds, back / seconds, new * 1e9 / RECENT_NS, has.refused, *limits,
            max(0.0, (now_ns - oldest) / 1e9) if host in sums else None,
        )  # fmt: skip
