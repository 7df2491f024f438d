"""`algate whose`: who was behind a public port."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

import typer

from algate.alg.admin import filters
from algate.alg.audit import logbook, record
from algate.alg.audit.translations import PROTOS, PackedEnd, Translation, text_of
from algate.alg.errors import FAILED, USAGE, AlgateError
from algate.alg.plugin.values import RefusedError, public_end_point
from algate.alg.rows import HolderRow
from algate.alg.wording import shown
from algate.cli.options import DEFAULT_RUN_DIR, Json, Proto, RunDir
from algate.cli.output import OutputForm, say, show_rows
from algate.client import Client, ControlError

NOW = 5.0  # s: --at within so long of now means now
JOURNAL = ("journalctl", "--no-pager", "--quiet", "--output=json")
SYSLOG_FILES = ("/var/log/syslog", "/var/log/daemon.log", "/var/log/messages")  # of syslog daemons, by their defaults


def whose(
    public: Annotated[str, typer.Argument(metavar="IP:PORT", help="The public end point, as a complaint names it.")],
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="At that time: 2026-11-28T04:00:00Z, without a zone the host's own; or seconds since 1970.",
        ),
    ] = "",
    proto: Proto = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="The log to read, instead of the one that [log] names; a syslog daemon's, too.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Ask this configuration alone, and no gateway: whose computed block the port is in.",
        ),
    ] = None,
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Say which inside end point was behind a public one: now, by the gateway's tables; at a time, by the log too.

    The log must have been kept then: see [log] level. What was logged in blocks of ports names the host alone.
    """
    if config is not None:
        return computed(public, config, as_json)
    try:
        wanted = public_end_point(public)
    except RefusedError as error:
        raise AlgateError(str(error), USAGE) from None
    protos = filters.parse({"proto": proto}).proto if proto else ()
    now = time.time()
    moment = now if not at else when(at)
    live = _live(run_dir, str(wanted), bool(at))
    past = None
    if (at and moment <= now - NOW) or log is not None:
        past = _past(log, live, PackedEnd(wanted.ip.packed, wanted.port))
    rows = [HolderRow.read(one) for one in live.get("holders", ())]
    rows = [one for one in rows if not at or (one.since or 0.0) <= moment + NOW]
    leases = [one for one in rows if one.source == "lease" and (one.until or moment + 1) > moment]
    rows = [one for one in rows if one.source != "lease"]
    rows = merged([*rows, *(past.rows(str(wanted), moment) if past else ())], protos)
    rows = rows or leases  # which gateway it was says less than which host
    if as_json:
        show_rows(rows, HolderRow, OutputForm.JSON)
    else:
        sys.stdout.writelines(f"{told(one)}\n" for one in rows)
    if past is not None and past.found.gaps:
        say(f"algate: the log lacks {past.found.gaps} records: others may have had it too")
    if not rows:
        say(f"algate: {nobody(str(wanted), moment if at else None, past, live)}")
    return 0 if rows else FAILED


def computed(public: str, file: Path, as_json: bool) -> int:
    """The answer of a configuration, which every one of several gateways has."""
    from algate.alg.config import load as configuration
    from algate.alg.gateway import portblocks
    from algate.alg.plugin import policy, registry

    try:
        wanted = public_end_point(public)
    except RefusedError as error:
        raise AlgateError(str(error), USAGE) from None
    nat = configuration.load(file, {}, policy.kinds(registry.discover())).nat
    if wanted.ip not in nat.addresses:
        raise AlgateError(f"{wanted.ip} is not in nat.addresses of {shown(str(file))}", USAGE)
    place = nat.addresses.index(IPv4Address(str(wanted.ip)))
    host = portblocks.host_of(nat, place, wanted.port)
    rows = [] if host is None else [HolderRow(str(wanted), "any", str(host), None, None, None, "computed")]
    if as_json:
        show_rows(rows, HolderRow, OutputForm.JSON)
    else:
        sys.stdout.writelines(f"{told(one)}\n" for one in rows)
    if not rows:
        giver = portblocks.giver(nat, len(nat.addresses), place, wanted.port)
        who = f"gateway {giver} gives that block out: ask it, or its log" if giver else "it is in no port block"
        say(f"algate: {wanted} is in no computed block; {who}")
    return 0 if rows else FAILED


class Past:
    """What the log says."""

    def __init__(self, found: logbook.Findings) -> None:
        self.found = found

    def rows(self, public: str, at: float) -> list[HolderRow]:
        """Of those who held it at that moment."""
        return [_row(public, one) for one in self.found.held if one.covers(at)]

    def nearest(self, at: float) -> logbook.Holding | None:
        """Who held it at the nearest time."""
        return min(self.found.held, key=lambda one: one.away(at), default=None)


def when(text: str) -> float:
    """Seconds since the epoch. AlgateError (usage) for what is no time."""
    if text == "now":
        return time.time()
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise AlgateError(f"--at: {shown(text)} is not a time: write it like 2026-11-28T04:00:00Z", USAGE) from None


def _live(run_dir: Path, public: str, optional: bool) -> dict[str, Any]:
    """The daemon's answer; without one, what a log says may be enough."""
    try:
        answer: dict[str, Any] = Client(run_dir).ask("whose", {"public": public})
        return answer
    except ControlError:
        if not optional:
            raise
        return {}


def _past(log: Path | None, live: dict[str, Any], public: PackedEnd) -> Past | None:
    """What was logged of an end point: in the file that is named, else wherever the configuration has it written."""
    known = live.get("log") or {}
    sinks = known.get("sinks", ())
    path = log or (Path(known["file"]) if "file" in sinks and known.get("file") else None)
    if path is not None:
        return Past(logbook.search(path, public))
    if "journal" in sinks:
        return Past(logbook.Findings(logbook.held(_journal(public), public)))
    if "syslog" in sinks and not known.get("syslog"):
        return _syslog(public)
    if not live:
        raise AlgateError("no daemon tells where the log is: give --log FILE")
    return None


def _syslog(public: PackedEnd) -> Past:
    """What the local syslog daemon wrote: into the files that such daemons have or, if journald is it, the journal."""
    found = [logbook.search(path, public) for path in map(Path, SYSLOG_FILES) if path.exists()]
    if any(one.first is not None for one in found):
        return Past(
            logbook.Findings(
                [holding for one in found for holding in one.held],
                sum(one.gaps for one in found),
                min((one.first for one in found if one.first is not None), default=None),
            )
        )
    named = rf"public={text_of(public.ip)}(:{public.port}(?![0-9])| ports=)".replace(".", r"\.")
    entries = _entries(f"--grep={named}", "--case-sensitive=true", "_TRANSPORT=syslog")
    records = (record.parse(logbook.bare(str(one.get("MESSAGE", "")).encode())) for one in entries)
    return Past(logbook.Findings(logbook.held(filter(None, records), public)))


def _journal(public: PackedEnd) -> Iterator[Translation]:
    """Records of the journal about this end point."""
    # One field twice: either of them. Of a block of ports the field is the address alone.
    fields = [f"ALGATE_PUBLIC={public}", f"ALGATE_PUBLIC={text_of(public.ip)}"]
    for one in _entries("SYSLOG_IDENTIFIER=algate", *fields):
        found = record.parse(f"{one.get('ALGATE_TIME', '')} {one.get('MESSAGE', '')}")
        if found is not None:
            yield found


def _entries(*wanted: str) -> Iterator[dict[str, Any]]:
    """Entries of the journal. AlgateError if journalctl can't be asked; that it finds nothing is no error."""
    try:
        done = subprocess.run([*JOURNAL, *wanted], capture_output=True, text=True, check=False)
    except OSError as error:
        raise AlgateError(f"the journal can't be read: {error}") from None
    if done.returncode and done.stderr.strip():
        raise AlgateError(f"the journal can't be read: {done.stderr.strip().splitlines()[-1]}")
    yield from map(json.loads, done.stdout.splitlines())


def _row(public: str, one: logbook.Holding) -> HolderRow:
    block = one.kind in logbook.BLOCKS
    inside = str(one.inside).rpartition(":")[0] if block else str(one.inside)
    proto = PROTOS.get(one.proto) or (str(one.proto) if one.proto else "any")
    remote = str(one.remote) if one.remote else None
    return HolderRow(public, proto, inside, remote, one.since, one.until, str(one.kind))


def merged(rows: Iterable[HolderRow], protos: tuple[str, ...]) -> list[HolderRow]:
    """One row for each protocol and inside end point, over the whole time that any of its rows names."""
    found: dict[tuple[str, str], HolderRow] = {}
    for one in rows:
        if protos and one.proto not in (*protos, "any"):
            continue
        key = one.proto, one.inside
        other = found.get(key)
        if other is None:
            found[key] = one
            continue
        outside = one.outside if one.outside == other.outside else None
        since = None if None in (one.since, other.since) else min(one.since or 0.0, other.since or 0.0)
        until = None if None in (one.until, other.until) else max(one.until or 0.0, other.until or 0.0)
        source = "live" if "live" in (one.source, other.source) else other.source
        found[key] = HolderRow(one.public, one.proto, one.inside, outside, since, until, source)
    return list(found.values())


def told(row: HolderRow) -> str:
    """The answer as one line."""
    if row.source == "computed":
        return f"{row.public} {row.proto}: {row.inside}, as long as [nat] port_block_hosts says so (computed)"
    if row.source == "lease":
        until = "now" if row.until is None else day_time(row.until)
        return (
            f"{row.public}: {row.inside} leased it from {day_time(row.since or 0.0)} until {until}: ask it, or its log"
        )
    since = day_time(row.since) if row.since is not None else "a time that the log doesn't know"
    until = day_time(row.until) if row.until is not None else "now" if row.source == "live" else "an end not logged"
    towards = f" towards {row.outside}" if row.outside else ""
    return f"{row.public} {row.proto}: {row.inside}{towards}, from {since} until {until} ({row.source})"


def nobody(public: str, at: float | None, past: Past | None, live: dict[str, Any]) -> str:
    """Why there is no answer, and what comes nearest."""
    if live and not live.get("ours") and past is None:
        return f"{public} is no public address of this gateway"
    if at is None:
        return f"nobody inside has {public} now: ask for a time by --at"
    known = live.get("log") or {}
    if past is None and "syslog" in known.get("sinks", ()):
        there = "`algate whose --log FILE` there, with the file that it writes, finds it"
        return f"nobody has {public} now; who had it was told to the syslog daemon at {known.get('syslog')}: {there}"
    if past is None and "ipfix" in known.get("sinks", ()):
        return f"nobody has {public} now; who had it was told to a collector of IPFIX: ask it"
    if past is None:
        return f"nobody has {public} now, and nothing is logged that says who had it: see [log] level"
    nearest = past.nearest(at)
    if nearest is not None:
        return f"nobody had {public} then; nearest: {told(_row(public, nearest))}"
    begins = f"the log begins at {day_time(past.found.first)}" if past.found.first is not None else "no record names it"
    return f"nobody had {public} at {day_time(at)}: {begins}"


def day_time(seconds: float) -> str:
    """A time as the answers say it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
