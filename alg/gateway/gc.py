"""The sweep: walks the sessions for what looks expired, and has the kernel check and delete it.

The law of this file: user space only proposes. The control program keeps a session that was refreshed meanwhile.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import compress

from algate.alg.gateway import records, shares
from algate.alg.gateway.counted import timeout_kind
from algate.alg.gateway.reclaim import PART, Need
from algate.alg.gateway.shares import FULL
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.packing import entry, numbers, octets
from algate.bpf.requests import ControlProgram

NEW, UNREPLIED = int(abi.SessionState.NEW), int(abi.SessionState.UNREPLIED)
TIME_WAIT, RESET = int(abi.SessionState.TIME_WAIT), int(abi.SessionState.RESET)
NEVER = -ticks.WRAP  # older than any last packet
# Far below 1 s, after which a SYN is first repeated (RFC 6298 section 2.1) and makes the session again.
EMBRYONIC_IDLE = ticks.lasting(0.1)
# A server answers sooner, and who talks without wanting an answer talks on, or doesn't mind another public port.
UNREPLIED_IDLE = ticks.lasting(2.0)
# The last ACK was lost if a FIN comes again, twice the first RTO of 1 s later at most (RFC 6298 section 2.1).
OVER_IDLE = ticks.lasting(2.0)
SPARE = {NEW: EMBRYONIC_IDLE, UNREPLIED: UNREPLIED_IDLE, TIME_WAIT: OVER_IDLE, RESET: OVER_IDLE}
FAMILIES = ("ipv4", "ipv6", "nat64")
UNCOUNTED = bytes(not flags & abi.SessionFlag.PEER for flags in range(256))
EXPECTED = bytes(bool(flags & abi.SessionFlag.EXPECTED) for flags in range(256))


class Batch:
    """The sessions of one batch as columns, cut out by strides: a loop over the fields of a million rows takes seconds.

    `tick` is the moment to judge by. `now` and `seen` are ticks on one scale, signed near the wrap at 32 bits, so that
    they compare as plain numbers.
    """

    def __init__(self, keys: bytes, values: bytes, tick: int) -> None:
        self.keys, self.values, self.tick = keys, values, tick
        self.now, signed = ticks.plain(tick)
        self.protos = octets("session_key", "proto", keys)
        self.states = octets("session", "state", values)
        self.algs = octets("session", "alg", values)
        self.flags = octets("session", "flags", values)
        self.seen = numbers("session", "last_seen", values, signed)

    def families(self, over: Collection[int]) -> tuple[int, int, int]:
        """How many are of IPv4, of IPv6, of NAT64 (an IPv6 host inside, an IPv4 one outside), without those at `over`:
        an address that begins with 0 stands for one of IPv6 (addresses.py)."""
        first = 0 if sys.byteorder == "little" else 3  # the first byte of an address in network byte order
        ends = [octets("session_key", name, self.keys, first) for name in ("inside_ip", "remote_ip")]
        inside, six = (part.count(0) - sum(part[place] == 0 for place in over) for part in ends)
        return len(self.states) - len(over) - inside, six, inside - six

    def key(self, place: int) -> bytes:
        """Packed."""
        return entry("session_key", self.keys, place)

    def value(self, place: int) -> records.SessionValue:
        """Of one session."""
        return records.unpack_session(entry("session", self.values, place))

    def id(self, place: int) -> int:
        """Of one session."""
        return self.value(place).id

    def expired(self, limits: Mapping[int, Sequence[int]]) -> list[int]:
        """Places of sessions that have been idle for their limit: `limits` in ticks by protocol and state."""
        latest = [[NEVER] * 256] * 256
        for proto, ages in limits.items():
            latest[proto] = [*(self.now - age for age in ages), *[NEVER] * (256 - len(ages))]
        shortest = min((age for ages in limits.values() for age in ages), default=-NEVER)
        top = self.now - shortest  # the shortest limit: nothing seen after this is over
        if not self.seen or min(self.seen) > top:
            return []
        old = [place for place, seen in enumerate(self.seen) if seen <= top]
        return [place for place in old if self.seen[place] <= latest[self.protos[place]][self.states[place]]]

    def expected(self, over: Collection[int]) -> set[int]:
        """Ids of the EXPECTED sessions, without those at the places `over`."""
        marks = bytearray(self.flags.translate(EXPECTED))
        for place in over:
            marks[place] = 0
        return set(compress(numbers("session", "id", self.values), marks)) if any(marks) else set()

    def spare(self) -> list[tuple[int, int]]:
        """(idle ticks, place) of the sessions that nobody answered, though there was time, or that are over."""
        if not any(state in self.states for state in SPARE):
            return []
        least = [SPARE.get(state, sys.maxsize) for state in range(256)]
        return [
            (self.now - seen, place)
            for place, (seen, state) in enumerate(zip(self.seen, self.states, strict=True))
            if self.now - seen > least[state]
        ]

    def spare_of(self) -> list[tuple[int, int, int, int]]:
        """(inside host as in struct session_key, idle ticks, row of `ports`, place) of each of those."""
        found = self.spare()
        if not found:
            return []
        hosts, rows = numbers("session_key", "inside_ip", self.keys), numbers("session", "port_index", self.values)
        return [(hosts[place], idle, rows[place], place) for idle, place in found]


def idle_limits(gateway: Gateway) -> dict[int, list[int]]:
    """Idle limits in ticks by protocol and state."""
    timeouts: Sequence[int] = [min(limit, ticks.WINDOW) for limit in gateway.configs[0].timeouts]
    states = range(max(abi.SessionState) + 1)
    return {
        proto: [timeouts[timeout_kind(proto, state)] for state in states]
        for proto in (range(256) if gateway.six else (1, 6, 17))
    }


class Sweep:
    """One sweep in slices: `for _ in sweep.run(): <let others work>`. The attributes then hold what it found.

    `refused`: hosts, as in struct session_key, that were refused something for what they have already.
    """

    def __init__(self, gateway: Gateway, control: ControlProgram, refused: Collection[int] = ()) -> None:
        self._gateway = gateway
        self._refused = frozenset(refused)
        self._control = control
        self.seen = 0
        self.deleted = 0
        self.live_parents: set[int] = set()
        self._children: set[int] = set()
        self.control_ids: dict[int, bytes] = {}
        self.by_state: Counter[int] = Counter()
        self.by_family: Counter[str] = Counter()
        self.full = False
        self._spare = False  # whether any session is in a state that may be reclaimed, perhaps later
        self.reclaimed = 0
        self.keys: list[bytes] = []  # of all sessions that were seen
        # Filtering may have become address-dependent after a session was made, whose peer isn't recorded yet.
        self._peers = bool(gateway.configs[0].flags & abi.ConfigFlag.FILTER_ADF)
        self._began = ticks.now()  # one moment for the whole sweep, so that ages don't move between its walks

    def run(self) -> Iterator[None]:
        """Yield after each batch of entries."""
        limits = idle_limits(self._gateway)  # the kernel judges again, so a shortened one does no harm
        for keys, values, _ in self._gateway.sessions.chunks():
            self._judge(Batch(keys, values, self._began), limits)
            self.keys.append(keys)
            yield
        self._refresh_parents()
        self.full = self.seen - self.deleted > FULL * self._gateway.max_sessions
        if self._spare and (needs := self._needs()):
            yield from self._reclaim(needs)

    def _judge(self, batch: Batch, limits: Mapping[int, Sequence[int]]) -> None:
        expired = batch.expired(limits)
        if expired:
            self.deleted += self._control.keys(abi.ControlOp.SWEEP, [batch.key(place) for place in expired])
        self.seen += len(batch.states)
        self._spare = self._spare or any(state in batch.states for state in SPARE)
        for state in abi.SessionState:
            self.by_state[int(state)] += batch.states.count(state)
        self.by_state.subtract(batch.states[place] for place in expired)
        over = set(expired)
        if self._gateway.six:
            self.by_family.update(dict(zip(FAMILIES, batch.families(over), strict=True)))
        if self._peers:
            unknown = [batch.key(place) for place in marked(batch.flags.translate(UNCOUNTED)) if place not in over]
            self._control.keys(abi.ControlOp.PEERS, unknown)
        self._children |= batch.expected(over)
        for place in marked(batch.algs) if batch.algs.strip(b"\0") else ():
            if place not in over:
                self.control_ids[batch.id(place)] = batch.key(place)

    def _needs(self) -> list[Need]:
        """What is scarce now."""
        most = self._gateway.max_sessions
        found = [Need(wanted=max(1, most // PART))] if self.full else []
        found += [
            Need(wanted=max(1, shares.range_size(self._gateway) // PART), block=block)
            for block in shares.scarce_blocks(self._gateway)
        ]
        hosts = self._refused | shares.crowding_hosts(self._gateway)
        return [*found, Need(hosts=hosts)] if hosts else found

    def _reclaim(self, needs: list[Need]) -> Iterator[None]:
        """Make room: unanswered sessions and those that are over go, those of who has most of them first."""
        for batch in self._batches():
            found = [one[:3] for one in batch.spare_of()]
            for need in needs if found else ():
                need.tally(found)
            yield
        if not any(need.ages for need in needs):
            return  # a walk more would find nothing to take
        for need in needs:
            need.choose()
        for batch in self._batches():
            some = [
                batch.key(place)
                for host, idle, row, place in batch.spare_of()
                if sum(need.takes(host, idle, row) for need in needs)  # each counts what it took
            ]
            self.reclaimed += self._control.keys(abi.ControlOp.RECLAIM, some)
            yield

    def _batches(self) -> Iterator[Batch]:
        for keys, values, _ in self._gateway.sessions.chunks():
            yield Batch(keys, values, self._began)

    def age_ports(self) -> Iterator[None]:
        """Have the kernel look at every group of ports in which the bitmap shows some as taken."""
        groups: set[int] = set()
        words = abi.AGED_ROWS // 64
        for keys, values, _ in self._gateway.port_bits.chunks():
            for at in records.taken_words(keys, values):
                block, word = divmod(at, abi.BITMAP_BLOCK)
                if word < abi.BITMAP_WORDS:
                    groups.add((block << 16) + word // words * abi.AGED_ROWS)
            yield
        for number, row in enumerate(sorted(groups)):
            self._control.age_ports(row)
            if number % 32 == 31:
                yield

    def _refresh_parents(self) -> None:
        """Refresh the control sessions whose data connections are alive."""
        known = dict(self._gateway.relations.items()) if self._children else {}
        self.live_parents = {known[one] for one in self._children if one in known}
        keys = [self.control_ids[one] for one in self.live_parents if one in self.control_ids]
        if keys:
            self._control.keys(abi.ControlOp.REFRESH, keys)


def marked(column: bytes) -> Iterator[int]:
    """Places of the bytes that aren't 0; there are few."""
    for byte in set(column) - {0}:
        place = column.find(byte)
        while place >= 0:
            yield place
            place = column.find(byte, place + 1)
