"""New sessions of one protocol, each of an end point that nobody had before: at a rate, or as many as there can be.

The law of this file: how they are made and which tries count. Whose gateway and which figures those are, others say.
"""

from __future__ import annotations

from algate.cli.bench import capacity
from algate.cli.bench.packet_lab import ENDPOINTS, OUT, SYN, Family, PacketLab, Passage, Traffic
from algate.cli.bench.record import Figure, Record

KINDS = {"udp": OUT, "tcp": SYN}
TITLES = {"udp": "UDP, one session per packet", "tcp": "TCP, connect and close"}
RATES = {"udp": 100_000, "tcp": 30_000}  # sessions/s for the cost
GUESSES = {"udp": 2.2, "tcp": 1.2}  # the capacity on a CPU of its own is about this many times what the cost suggests
COSTED, PROBE, STEPS = 10_000, 2_000, 6  # sessions for the cost, for one try; halvings of the span: to 2 %


class Openings:
    """Of one start of a gateway. `most`: end points that there are ports for; `used`: of these, those taken already."""

    def __init__(
        self, bench: PacketLab, proto: str, *, family: Family = Family.FOUR, most: int = ENDPOINTS, used: int = 0,
        costed: int = COSTED, tried: int = PROBE,
    ) -> None:  # fmt: skip
        """`costed`, `tried`: sessions for the cost, and for one try of a rate."""
        self._bench, self._proto, self._family, self._most, self._used = bench, proto, family, most, used
        self._costed, self._tried = costed, tried
        self._failed = self._spent = False

    @property
    def cut_short(self) -> bool:
        """Whether the ports were spent while every rate that was tried had gone through: the highest one is unknown."""
        return self._spent and not self._failed

    def cost(self) -> Passage:
        """Some of them at a fixed rate, on the CPU that the generator is on."""
        self._bench.place(apart=False)
        return self._send(RATES[self._proto], self._costed)

    def highest(self, cost: float) -> int | None:
        """The highest rate (per second) without a loss, on a CPU of its own, near what `cost` (ns) suggests."""
        self._bench.place(apart=True)
        return capacity.highest(self._probe, GUESSES[self._proto] * 1e9 / cost, STEPS)

    def measure(self, record: Record, name: str, number: int, cost: Figure, rate: Figure | None) -> None:
        """Add both figures of a gateway, or why there is none. `rate` None: the highest isn't looked for."""
        passed = self.cost()
        if self.undone(passed):
            why = f"{self.undone(passed)} of {passed.sent} sessions lost at {RATES[self._proto]:,}/s"
            record.refuse(cost, name, why)
        else:
            record.add(cost, name, number, passed.cost)
        if rate is None:
            return
        found = self.highest(passed.cost)
        if found is None:
            record.refuse(rate, name, "no rate without a loss was found among the port pool's tries")
        else:
            record.add(rate, name, number, found)

    def undone(self, passed: Passage) -> int:
        """Sessions that didn't complete."""
        return passed.sent - passed.ended if self._proto == "tcp" else passed.lost

    def _probe(self, rate: int) -> bool:
        if self._used + self._tried > self._most:
            self._spent = True
            return False
        passed = self._send(rate, self._tried)
        good = not self.undone(passed) and not passed.late * 20 > passed.bursts
        self._failed = self._failed or not good
        return good

    def _send(self, rate: int, count: int) -> Passage:
        traffic = Traffic(KINDS[self._proto], ENDPOINTS, rate, family=self._family)
        passed = self._bench.send(traffic, count, self._used)
        self._used += passed.sent
        return passed
