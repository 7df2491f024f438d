"""What a run of the bench does: how many rounds, how long, which figures.

The law of this file: pure; numbers and names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
HA = "ha"
PACKETS, MILLION, NEW, STREAMS, FTP, TESTRUN, SIX = "packets", "million", "new", "streams", "ftp", "testrun", "six"
GROUPS = {
    TESTRUN: "ns per packet of each path, by test-run",
    PACKETS: "cost per packet of established sessions, and the highest rate without a loss",
    MILLION: "the same with 1,000,000 sessions; memory, sweep and listing",
    NEW: "new sessions/s, UDP and TCP",
    SIX: "IPv6 through the filter and by NAT64, beside IPv4, nft and Tayga: packets, new sessions, FTP",
    STREAMS: "bulk TCP, latency, start to ready",
    FTP: "FTP sessions/s, delay of an exchange, capacity of the helper",
    HA: "two gateways: a planned switch and a death, beside nft with conntrackd; what telling costs; only with --only",
}
ASKED = {"epsv": "pasv", "eprt": "port"}  # by NAT64: what the server reads, and what IPv4's client says for it


@dataclass(frozen=True, slots=True)
class Plan:
    """`frames`: frames sent for one sample; `seconds`: length of a bulk transfer for one sample."""

    rounds: int
    groups: tuple[str, ...]
    sessions: tuple[int, ...]
    most: int  # sessions of a full table
    frames: int
    seconds: float
    ftp_seconds: float  # of FTP sessions for one sample, unless there were enough before
    exchange_seconds: float  # of FTP commands for one sample
    streams: tuple[int, ...]
    clients: tuple[int, ...]
    servers: tuple[str, ...]
    quick: bool
    search: bool  # for the highest lossless rates

    @property
    def wanted(self) -> int:
        """How many rounds must be valid."""
        return self.rounds // 2 + 1

    def searches(self, number: int) -> bool:
        """Whether round `number` searches for the highest rates."""
        return self.search and self.thorough(number)

    def thorough(self, number: int) -> bool:
        """Whether round `number` does what takes long: with many rounds, every other one and the last do."""
        return self.rounds < 5 or number % 2 == 0 or number == self.rounds - 1

    @staticmethod
    def turn(names: Sequence[T], number: int) -> list[T]:
        """The order of round `number`: each name starts a round once, so that none always follows the same one."""
        start = number % len(names)
        return [*names[start:], *names[:start]]


def make_plan(rounds: int, groups: Sequence[str], quick: bool) -> Plan:
    """The plan of a full run, or of a short one that only shows that everything works.

    IPv6 takes long and is compared with itself, so a full run has it only if it is asked for; pairs always are.
    """
    chosen = tuple(groups) or tuple(name for name in GROUPS if name not in (HA, MILLION if quick else SIX))
    if quick:
        return Plan(rounds, chosen, (1000,), 10_000, 10_000, 0.3, 0.3, 0.3, (1,), (8,), ("minimal",), True, False)
    return Plan(
        rounds,
        chosen,
        (1, 1000, 64_000),
        1_000_000,
        100_000,
        0.8,
        2.0,
        0.4,
        (1, 4),
        (1, 8, 64),
        ("minimal", "vsftpd", "pyftpdlib", "proftpd", "pure-ftpd"),
        False,
        True,
    )
