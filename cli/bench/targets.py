"""The project's targets, and whether a run reached them.

The law of this file: pure; ratios of one run against limits (issue 5). It doesn't know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from algate.cli.bench.plan import ASKED
from algate.cli.bench.record import Record
from algate.cli.bench.spread import Summary

PASS, SHORT, NOT_MEASURED = "pass", "falls short", "not measured"
REAL = ("vsftpd", "pyftpdlib", "proftpd", "pure-ftpd")
Place = tuple[str, str]  # figure, gateway


@dataclass(frozen=True, slots=True)
class Target:
    """`mine` relative to `theirs` (None: the figure itself), at most or at least `limit`."""

    title: str
    mine: Place
    theirs: Place | None
    limit: float
    at_least: bool = False
    beside: tuple[Place, Place | None] | None = None  # another gateway's ratio or figure, shown next to it


@dataclass(frozen=True, slots=True)
class Verdict:
    target: Target
    reached: Summary
    word: str
    beside: Summary | None = None

    @property
    def wanted(self) -> str:
        sign = "≥" if self.target.at_least else "≤"
        return f"{sign} {self.target.limit:g}{'×' if self.target.theirs else ''}"


def _costs() -> Iterable[Target]:
    for sessions in (1, 1000, 64_000):
        for way in ("out", "in"):
            key, name = f"net.{way}.{sessions}", f"net cost/packet {way}, {sessions:,} sessions"
            total = f"total.{way}.{sessions}"
            yield Target(f"{name}: XDP vs nft", (key, "algate-xdp"), (key, "nft"), 0.4)
            yield Target(f"{name}: TC vs nft", (key, "algate-tc"), (key, "nft"), 0.55)
            yield Target(
                f"total cost/packet {way}, {sessions:,} sessions: XDP vs XDP forwarding",
                (total, "algate-xdp"), (total, "xdp-forward"), 1.4 if sessions == 64_000 else 1.6,
            )  # fmt: skip
        key = f"net.oneway.{sessions}"
        yield Target(
            f"net cost/packet, one-way UDP, {sessions:,} sessions: XDP vs nft", (key, "algate-xdp"), (key, "nft"), 0.2
        )
    for name in ("algate-xdp", "algate-tc"):
        yield Target(
            f"net cost/packet out, 1,000,000 sessions vs 1: {name}", ("net.out.1000000", name), ("net.out.1", name), 3,
            beside=(("net.out.1000000", "nft"), ("net.out.1", "nft")),
        )  # fmt: skip


def _rest() -> Iterable[Target]:
    for proto in ("udp", "tcp"):
        for way in ("out", "in"):
            key = f"testrun.{proto}.{way}"
            yield Target(
                f"test-run {proto} {way}: XDP vs XDP forwarding", (key, "algate-xdp"), (key, "xdp-forward"), 2.5
            )
    for streams in (1, 4):
        for way in ("up", "down"):
            key = f"bulk.{way}.{streams}"
            name = f"bulk TCP {way}, {streams} stream{'s' if streams > 1 else ''}"
            yield Target(f"{name}: TC vs nft", (key, "algate-tc"), (key, "nft"), 1.0, True)
            yield Target(
                f"{name}, no offload: TC vs nft", (f"plain.{way}.{streams}", "algate-tc"),
                (f"plain.{way}.{streams}", "nft"), 1.4, True,
            )  # fmt: skip
    yield Target("new TCP sessions/s: TC vs nft", ("new.tcp", "algate-tc"), ("new.tcp", "nft"), 1.2, True)
    yield Target("new UDP sessions/s: TC vs nft", ("new.udp", "algate-tc"), ("new.udp", "nft"), 1.4, True)
    for proto in ("udp", "tcp"):
        key = f"new.{proto}"
        name = f"new {proto.upper()} sessions/s: each one logged vs none"
        yield Target(name, (key, "algate-told"), (key, "algate-tc"), 0.9, True)


def _six() -> Iterable[Target]:
    for sessions in (1, 1000, 64_000):
        for way in ("out", "in"):
            key, name = f"net6.{way}.{sessions}", f"net cost/packet {way}, {sessions:,} sessions"
            yield Target(f"{name}: IPv6 filter vs nft's", (key, "algate-filter6"), (key, "nft6"), 0.7)
            yield Target(f"{name}: NAT64 vs IPv4's TC", (key, "algate-nat64"), (key, "algate-tc"), 1.25)
            yield Target(f"{name}: NAT64 vs Tayga", (key, "algate-nat64"), (key, "tayga"), 0.2)
    for server in ("minimal", "vsftpd"):
        for clients in (1, 8, 64):
            for mode in ASKED:
                key = f"ftp6.{server}.{mode}.{clients}"
                name = f"FTP sessions/s, {mode.upper()}, {server}, {clients} client{'s' if clients > 1 else ''}"
                # as many; 0.95, as elsewhere, is what two equal ones scatter by
                name += f": NAT64 vs IPv4's {ASKED[mode].upper()}"
                yield Target(name, (key, "algate-nat64"), (key, "algate-tc"), 0.95, True)


def _ftp() -> Iterable[Target]:
    for server in ("minimal", *REAL):
        for mode in ("pasv", "port", "epsv", "eprt"):
            name = f"{mode.upper()}, {server}, 1 client"
            key = f"ftptime.{server}.{mode}.1.p50"
            yield Target(f"FTP session, median, {name}: TC vs nft", (key, "algate-tc"), (key, "nft"), 1.15)
            yield Target(
                f"longest FTP session, {name}: above nft's, ms", (f"ftplonger.{server}.{mode}", "algate-tc"), None, 20
            )
    for clients in (8, 64):
        for mode, least in (("pasv", 0.6), ("port", 0.5)):
            for server, limit in (("minimal", least), *((server, 0.95) for server in REAL)):
                key = f"ftp.{server}.{mode}.{clients}"
                yield Target(
                    f"FTP sessions/s, {mode.upper()}, {server}, {clients} clients: TC vs kernel helper",
                    (key, "algate-tc"), (key, "nft"), limit, True,
                )  # fmt: skip
    yield Target("p99 of a PASV exchange: TC vs kernel helper", ("pasv.p99", "algate-tc"), ("pasv.p99", "nft"), 2)
    yield Target("held command, added p50, µs", ("punt.p50", "algate-tc"), None, 45)
    yield Target("held command, added p99, µs", ("punt.p99", "algate-tc"), None, 150)
    yield Target("helper, commands a CPU second", ("helper.capacity", "algate-tc"), None, 25_000, True)
    yield Target("a turn of the helper, p99, 1,000 clients, ms", ("helper.turn.p99", "algate-tc"), None, 5)
    yield Target("between two heartbeats, longest, 1,000 clients, ms", ("helper.gap", "algate-tc"), None, 300)
    yield Target("repetitions among punts, 1,000 clients, %", ("helper.again", "algate-tc"), None, 1)


def _life() -> Iterable[Target]:
    yield Target("start to ready, cold, s", ("start.cold", "algate-tc"), None, 2)
    yield Target("start to ready, programs kept or compiled before, s", ("start.cached", "algate-tc"), None, 1)
    yield Target("kernel memory per session, bytes", ("memory.session", "algate-tc"), None, 256)
    for name, what, limit in (
        ("limit", "sessions --limit 20", 0.5), ("best", "sessions --sort bytes --limit 20", 0.5),
        ("count", "sessions --count", 0.3), ("by", "sessions --by host", 2), ("host", "one host's sessions", 0.2),
    ):  # fmt: skip
        yield Target(f"a full table, {what}, s", (f"listing.{name}", "algate-tc"), None, limit)
    yield Target("a full table, sessions --tsv, rows a second", ("listing.rows", "algate-tc"), None, 300_000, True)
    yield Target("a full table, longest step of a listing, ms", ("listing.step", "algate-tc"), None, 5)
    yield Target("a full table, top at both ends, % of a core", ("listing.top", "algate-tc"), None, 10)
    yield Target("a full table, longest step of a sweep, ms", ("sweep.step", "algate-tc"), None, 5)
    yield Target("a full table, the daemon while nobody asks, % of a core", ("idle", "algate-tc"), None, 10)
    yield Target("port allocation at 99 % fill vs empty", ("ports.full", "algate-tc"), ("ports.empty", "algate-tc"), 2)


def _pair() -> Iterable[Target]:
    """Issue 15. What is a share has to be all of it."""
    mine, theirs = "algate", "nft+conntrackd"
    for key, title, limit in (
        ("switch.gap", "planned switch under load: longest time without an answer, ms", 50),
        ("switch.lost", "planned switch under load: sessions lost", 0),
        ("kill.gap", "active node cut off: longest time without an answer, s", 0.6),
    ):
        yield Target(title, (f"ha.{key}", mine), None, limit, beside=((f"ha.{key}", theirs), None))
    for key, title in (
        ("switch.next", "planned switch: control sessions whose next commands work, %"),
        ("kill.idle", "cut off: idle TCP sessions that go on, %"),
        ("kill.bulk", "cut off: busy TCP sessions, bytes compared, %"),
        ("kill.files", "cut off: transfers whole, %"),
        ("kill.answered", "cut off: control sessions whose command under way was answered, %"),
        ("kill.next", "cut off: control sessions whose next commands work, %"),
    ):
        yield Target(title, (f"ha.{key}", mine), None, 100, True, beside=((f"ha.{key}", theirs), None))
    for part in ("p50", "p99"):
        title = f"what the pair adds to a rewritten command, {part}, vs a 1 KB echo"
        yield Target(f"{title} as often", (f"ha.added.{part}", mine), (f"ha.paced.{part}", mine), 2.5)
        yield Target(f"{title} back to back", (f"ha.added.{part}", mine), (f"ha.echo.{part}", mine), 2.5)
    for proto in ("udp", "tcp"):
        key = f"ha.new.{proto}"
        made = f"ha.made.{proto}"
        title = f"CPU time of a new {proto.upper()} session: with [ha] vs without, the same ports"
        yield Target(title, (made, "algate-ha"), (made, "algate-half"), 1.05)
        name = f"new {proto.upper()} sessions/s: with [ha] vs without"
        yield Target(f"{name}, the same ports", (key, "algate-ha"), (key, "algate-half"), 0.95, True)
        yield Target(f"{name}, twice as many ports", (key, "algate-ha"), (key, "algate-tc"), 0.95, True)
    for way in ("out", "in"):
        key = f"ha.cost.{way}"
        yield Target(
            f"packet of an established session, {way}: with [ha] vs without",
            (key, "algate-ha"),
            (key, "algate-tc"),
            1.01,
        )
    yield Target("lag of what the standby is told, p99, ms", ("ha.lag", mine), None, 300)
    yield Target("resync of 1,000,000 sessions, s", ("ha.resync", mine), None, 5)
    for fault in ("killed", "partitioned", "slow", "disk full"):
        yield Target(f"engine {fault}: packets lost", (f"ha.fault.{fault}.lost", mine), None, 0)
        yield Target(f"engine {fault}: next commands work, %", (f"ha.fault.{fault}.next", mine), None, 100, True)
        yield Target(f"engine {fault}: told after, s", (f"ha.fault.{fault}.told", mine), None, 2)


TARGETS: tuple[Target, ...] = (*_costs(), *_rest(), *_six(), *_ftp(), *_life(), *_pair())


def judge(record: Record, targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """Each target with what the run reached."""
    return [_judge(record, target) for target in targets]


def _judge(record: Record, target: Target) -> Verdict:
    reached = record.ratio(target.mine, target.theirs) if target.theirs else record.summary(*target.mine)
    beside = _beside(record, *target.beside) if target.beside else None
    if not reached.usable:
        return Verdict(target, reached, NOT_MEASURED, beside)
    good = reached.median >= target.limit if target.at_least else reached.median <= target.limit
    return Verdict(target, reached, PASS if good else SHORT, beside)


def _beside(record: Record, mine: Place, theirs: Place | None) -> Summary:
    return record.ratio(mine, theirs) if theirs else record.summary(*mine)
