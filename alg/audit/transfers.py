"""The data connections in progress: what each carries and, when it ends, how much that was.

The law of this file: a bounded record of connections by control session and tag. It reads counters through a function
and knows neither maps nor clocks; it returns what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from algate.alg.engine.effects import IN, OUT
from algate.alg.plugin.model import Control, Purpose, Side

MOST = 8192  # connections watched at a time; more are used but not told
AT_ONCE = 64  # looked at between two looks at the ring
DESCRIBED_MOST = 16384  # purposes that wait for their connection
UPLOADS = ("STOR", "STOU", "APPE")
TCP, UDP = 6, 17
UDP_HEADERS = 28  # bytes of IP and UDP, without options
WRAP = 1 << 32


class Counters(NamedTuple):
    """A session's counters by direction. `seconds`: from its first packet to its last; `ended`: "" while it goes on.

    Of TCP: `next`, what the receiver of the data expects next; `fins`, whether that counts a FIN; `begins`, the number
    of the first byte, None if nobody knows or nobody asked.
    """

    id: int
    packets: tuple[int, int]
    octets: tuple[int, int]
    seconds: float
    ended: str
    proto: int = TCP
    next: tuple[int, int] = (0, 0)
    fins: tuple[bool, bool] = (False, False)
    begins: tuple[int, int] | None = None


class Payload:
    """How many bytes came to their receivers, by direction, from sequence numbers: repetitions count once. It is told
    of often enough that less than 4 GiB lie between."""

    def __init__(self) -> None:
        self._at: tuple[int, int] | None = None  # how far it has counted
        self._octets = (0, 0)
        self._bytes = (0, 0)

    @property
    def known(self) -> bool:
        """Whether it has something to count from."""
        return self._at is not None

    def follow(self, now: Counters) -> None:
        """Count up to here."""
        at = now.begins if self._at is None else self._at
        if at is None or now.proto != TCP:
            return
        fresh = [_step(at[way], now.next[way], now.octets[way] - self._octets[way]) for way in (OUT, IN)]
        self._at, self._octets = now.next, now.octets
        self._bytes = (self._bytes[OUT] + fresh[OUT], self._bytes[IN] + fresh[IN])

    def of(self, last: Counters, way: int) -> int | None:
        """In that direction; None: only the packets are known."""
        if last.proto == UDP:
            return last.octets[way] - UDP_HEADERS * last.packets[way]
        return max(0, self._bytes[way] - last.fins[way]) if self.known else None


def _step(before: int, after: int, octets: int) -> int:
    """From one number to the other, backwards if there weren't as many bytes: a number in doubt is taken back."""
    step = (after - before) % WRAP
    return step - WRAP if step >= WRAP // 2 and octets < WRAP // 2 else step


class Transfer:
    """One data connection of a control session (`control` None: an earlier helper admitted it)."""

    __slots__ = ("control", "data", "key", "last", "payload", "purpose", "session", "tag")

    def __init__(
        self, session: int, control: Control | None, tag: int, data: int, key: bytes, purpose: Purpose | None = None,
        last: Counters | None = None, payload: Payload | None = None,
    ) -> None:  # fmt: skip
        self.session = session
        self.control = control
        self.tag = tag
        self.data = data
        self.key = key
        self.purpose = purpose
        self.last = last
        self.payload = Payload() if payload is None else payload

    @property
    def fields(self) -> dict[str, str | int | float]:
        """The fields for machines, in the direction of the data: `bytes` of payload, `ip_bytes` of IP packets, headers
        and repetitions included. Where payload isn't known `counted` says so, and `bytes` is of packets too."""
        given = dict(self.purpose.fields) if self.purpose else {}
        last = self.last or Counters(self.data, (0, 0), (0, 0), 0.0, "")
        way = self._way(str(given.get("verb", "")), last)
        known, seconds = self.payload.of(last, way), last.seconds
        size = last.octets[way] if known is None else known
        return {
            **given, "direction": ("out", "in")[way], "bytes": size, "ip_bytes": last.octets[way],
            "counted": "packets" if known is None else "payload", "packets": last.packets[way],
            "duration": round(seconds, 3), "rate": round(size / seconds) if seconds else 0,
            "data_session": f"{self.data:016x}",
        }  # fmt: skip

    def _way(self, verb: str, last: Counters) -> int:
        """The enum direction of the data: what the command says, else where more bytes went."""
        if verb and self.control is not None:
            to_client = verb not in UPLOADS
            return IN if to_client == (self.control.inside_side is Side.CLIENT) else OUT
        return IN if last.octets[IN] > last.octets[OUT] else OUT


Read = Callable[[bytes, bool], Counters | None]  # by packed key; whether it is to say where the data begins


class Transfers:
    """Data connections under way, at most MOST of them: what comes beyond is not told."""

    def __init__(self) -> None:
        self._under_way: dict[int, Transfer] = {}
        self._by_tag: dict[tuple[int, int], Transfer] = {}
        self._purposes: dict[int, dict[int, Purpose]] = {}  # by control session and tag; no session has none
        self._described = 0  # how many

    def __len__(self) -> int:
        return len(self._under_way)

    def describe(self, session: int, purpose: Purpose) -> None:
        """Say what a tag's connection is for, before or after it comes."""
        found = self._by_tag.get((session, purpose.tag))
        if found is not None:
            found.purpose = purpose
            return
        waiting = self._purposes.get(session)
        if waiting is None:
            waiting = self._purposes[session] = {}
        if purpose.tag not in waiting:
            self._described += 1
        waiting[purpose.tag] = purpose
        if self._described > DESCRIBED_MOST:
            oldest = next(iter(self._purposes))
            self._taken(oldest, next(iter(self._purposes[oldest])))

    def _taken(self, session: int, tag: int) -> Purpose | None:
        """What waits for its connection there, which waits no longer."""
        waiting = self._purposes.get(session)
        found = waiting.pop(tag, None) if waiting is not None else None
        if found is not None:
            self._described -= 1
        if waiting is not None and not waiting:
            del self._purposes[session]
        return found

    def admit(self, session: int, control: Control | None, tag: int, data: int, key: bytes) -> None:
        """A data connection came; `key` finds it in the kernel."""
        if len(self._under_way) >= MOST:
            return
        made = Transfer(session, control, tag, data, key, self._taken(session, tag))
        self._under_way[data] = made
        if tag:
            self._by_tag[(session, tag)] = made

    def of(self, session: int) -> list[Transfer]:
        """The connections of one control session."""
        return [one for one in self._under_way.values() if one.session == session]

    def purpose(self, data: int) -> Purpose | None:
        """What a data session carries, if anybody has said."""
        found = self._under_way.get(data)
        return found.purpose if found else None

    def poll(self, read: Read) -> Iterator[list[Transfer]]:
        """Look at all of them, AT_ONCE a step; of each step those that have ended, which are forgotten here.

        Connections may come and go between two steps; one that came is for the next poll.
        """
        there = list(self._under_way.values())
        for start in range(0, len(there), AT_ONCE):
            yield self._look(there[start : start + AT_ONCE], read)

    def _look(self, some: list[Transfer], read: Read) -> list[Transfer]:
        over: list[Transfer] = []
        for one in some:
            if self._under_way.get(one.data) is not one:
                continue  # told of by another walk that began meanwhile
            now = read(one.key, not one.payload.known)
            if now is None or now.id != one.data:
                last = one.last or Counters(one.data, (0, 0), (0, 0), 0.0, "")
                one.last = last._replace(ended="gone")
                over.append(one)
                continue
            one.last = now
            one.payload.follow(now)
            if now.ended:
                over.append(one)
        for one in over:
            self._under_way.pop(one.data, None)
            self._by_tag.pop((one.session, one.tag), None)
        return over

    def forget(self, session: int) -> None:
        """The control session is over: drop its purposes that were never used."""
        self._described -= len(self._purposes.pop(session, ()))
