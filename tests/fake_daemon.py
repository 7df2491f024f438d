"""A daemon for the CLI's tests: the real control socket, canned answers, traffic that grows with each snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from algate.alg.admin import answering, control, filters
from algate.alg.answers import ExplainAnswer, FindingAnswer, HaAnswer, ReloadAnswer, StatusAnswer
from algate.alg.errors import AlgateError
from algate.alg.rows import (
    LOST,
    AllowRow,
    EventRow,
    ExpectationRow,
    ForwardRow,
    GroupRow,
    HolderRow,
    HostRow,
    LeaseRow,
    MappingRow,
    PortRow,
    Row,
    SessionEventRow,
    SessionRow,
    SettingRow,
)

HOSTILE = "evil\x1b]0;owned\x07\r\n[red]x[/red]\u202e"
CONTROL = "00000000000000a1"

SESSIONS = (
    SessionRow(CONTROL, "tcp", "established", "10.0.0.2:40001", "198.51.100.2:21", "203.0.113.1:40001",
               20, 18, 900, 1400, 61.5, 7380.0, "ftp", None),
    SessionRow("00000000000000a2", "tcp", "established", "10.0.0.2:40002", "198.51.100.2:51234", "203.0.113.1:40002",
               5000, 9000, 300_000, 12_000_000, 4.2, 7440.0, None, CONTROL),
    SessionRow("00000000000000b1", "udp", "active", "10.0.0.3:5353", "192.0.2.53:53", "203.0.113.1:5353", 1, 1, 60, 120,
               0.4, 299.6, None, None),
    SessionRow("00000000000000c1", "icmp", "unreplied", "10.0.0.4:77", "192.0.2.9:77", "203.0.113.1:77", 3, 0, 252, 0,
               3.0, 57.0, None, None),
    SessionRow("00000000000000d1", "tcp", "reset", "10.0.0.5:1234", "192.0.2.80:443", None, 9, 9, 4000, 90_000,
               700.0, 3.0, None, None),
)  # fmt: skip
EXPECTATIONS = (
    ExpectationRow("00000000000000e1", "open", "tcp", "198.51.100.2", "203.0.113.1:40050", "10.0.0.2:50001", 119.0,
                   CONTROL, "ftp"),
    ExpectationRow("00000000000000e2", "pending", "tcp", "10.0.0.2", None, "198.51.100.2:51235", 60.0, CONTROL, "ftp"),
)  # fmt: skip
HA: HaAnswer = {
    "node": "a", "role": "leads", "state": "in step", "epoch": 3, "sessions": 12, "commit_ms": 0.4,
    "lag_ms": 251.0, "waiting": 0, "lease": 4.8, "fenced": False, "resyncs": 1, "failures": {"slow": 2},
    "when_alone": "go-on", "problem": "", "engine": "10.9.0.1:6379", "peer": "10.9.0.2:6379",
    "witness": "10.9.0.3:6379",
}  # fmt: skip
LEASE = LeaseRow("1024-9215", "left", 1_700_000_000.0, None)
MAPPINGS = (MappingRow("tcp", "10.0.0.2:40001", "203.0.113.1:40001", 1, 61.5, 7380.0, False),)
HOSTS = (
    HostRow("10.0.0.2", 3, 2, 41_000.0, 1_250_000.0, 0.4, 0, 500, None, 61.5),
    HostRow("10.0.0.3", 500, 480, 0.0, 12.5, 21.0, 1734, 500, None, 3600.0),
)
PORTS = (
    PortRow("203.0.113.1", "tcp", 51_000, 12_512, 900, 100, 51_100 / 64_512, 7200.0),
    PortRow("203.0.113.1", "udp", 10, 64_502, 0, 0, 10 / 64_512, None),
)
ALLOWED = (AllowRow("tcp", "8443", "2001:db8:1::5", ("2001:db8:9::/48",), hits=3),)
FORWARDS = (ForwardRow("tcp", "21", "10.0.0.5:21", (), "ftp", "config", 7),)
EVENTS = (
    EventRow(1_700_000_000.25, "command", CONTROL, "ftp", "PORT 10,0,0,2,195,81"),
    EventRow(1_700_000_001.5, "refused", CONTROL, "ftp", f"RETR {HOSTILE}", "PORT named 10.0.0.9, not the client"),
)
SESSION_EVENTS = (
    SessionEventRow(1_700_000_000.25, "session-created", "00000000000000a9", "udp", "unreplied", "10.0.0.3:5353",
                    "192.0.2.53:53", "203.0.113.1:5353", 0, 0, 0, 0, 0.0),
    EventRow(1_700_000_001.0, LOST, None, None, "7 the kernel's ring had no room", "ring-full", {"count": 7}),
    SessionEventRow(1_700_000_002.5, "session-ended", CONTROL, "tcp", "time-wait", "10.0.0.2:40001", "198.51.100.2:21",
                    "203.0.113.1:40001", 20, 18, 900, 1400, 61.5, "ftp"),
)  # fmt: skip
HOLDER = HolderRow("203.0.113.1:40001", "tcp", "10.0.0.2:40001", None, 1_700_000_000.0, None, "live")
STATUS: StatusAnswer = {
    "state": "translating", "version": "0.1.0", "build": "pure", "pid": 4711, "uptime": 3661.0,
    "run_dir": "/run/algate", "config": None, "lan": ["eth1"], "wan": "eth0", "addresses": ["203.0.113.1"],
    "ipv6": {"forwarded": True, "filtered": False, "prefixes": ["2001:db8:1::/64"], "nat64": None, "told": "passes"},
    "datapath": "tc", "datapath_why": {"eth0": "native XDP costs veth its GSO"}, "sessions": 5, "max_sessions": 1048576,
    "control_sessions": 1, "control_memory": 12345,
    "plugins": [{"name": "ftp", "enabled": True, "transport": "tcp", "ports": [21], "origin": "algate"}],
    "fail": "closed", "headers": None, "pins": "/sys/fs/bpf/algate/1", "amiss": [],
    "drops": [{"reason": "unsolicited", "count": 41, "meaning": "nobody inside wants it", "cure": "add a [[forward]]"}],
    "refused": [{
        "inside": "10.0.0.3", "reason": "host-sessions", "times": 17, "ago": 4.0, "has": 500, "limit": 500,
        "of": "sessions", "setting": "max_sessions_per_host",
    }],
    "ha": HA, "unconfirmed": {"left": 42.0, "changed": ["timeouts.udp"]}, "tap": "algate0", "notes": [],
}  # fmt: skip
EXPLAINED: ExplainAnswer = {
    "subject": "10.0.0.2:40001", "verdict": "working",
    "findings": [{"verdict": "working", "topic": "idle", "text": "nothing is under way", "fix": ""}],
}  # fmt: skip
RELOADED: ReloadAnswer = {
    "changed": ["timeouts.udp"],
    "changes": [{"key": "timeouts.udp", "was": 300, "now": 60, "when": "at once"}],
    "dry_run": False, "unconfirmed": None,
}  # fmt: skip
SETTINGS = (
    SettingRow("nat.ports", "1024-65535", "default"),
    SettingRow("timeouts.udp", 60, "file", "/etc/algate/config.toml", 12),
    SettingRow("gateway.lan", ["eth1"], "command line"),
    SettingRow("forward tcp/8080", {"to": "10.0.0.9:80"}, "forward add"),
)
DROPS = {"unsolicited": 41, "no-session": 3}


def stats(step: int = 0) -> dict[str, float]:
    """The counters at snapshot number `step`."""
    made: dict[str, float] = {
        'algate_sessions{state="established"}': 2,
        'algate_sessions{state="active"}': len(SESSIONS) - 2,
        'algate_engine_events_total{reason="broken-sample"}': 2,
        "algate_sessions_created_total": 100 + step,
        "algate_punts_total": 50 + 2 * step,
        "algate_punts_lost_total": 1,
        'algate_held_total{reason="punt-held"}': 12 + step,
        'algate_packets_total{direction="out"}': 1000.0 + 100 * step,
        'algate_packets_total{direction="in"}': 2000.0 + 200 * step,
        'algate_bytes_total{direction="out"}': 100_000.0 + 10_000 * step,
        'algate_bytes_total{direction="in"}': 3_000_000.0 + 1_250_000 * step,
    }
    return made | {f'algate_drops_total{{reason="{name}"}}': total + step for name, total in DROPS.items()}


def snapshot(step: int, seconds: float = 1_700_000_000.0, **args: Any) -> dict[str, Any]:
    """What the verb `top` sends as number `step`; the data connection moves 1 MB a step inward."""
    view = args.get("view", "sessions")
    made: dict[str, Any] = {
        "time": seconds + step, "view": view, "status": STATUS, "stats": stats(step),
        "events": [row.as_dict() for row in EVENTS],
    }  # fmt: skip
    if view == "sessions":
        sessions = [row.as_dict() for row in SESSIONS]
        sessions[1]["bytes_in"] += 1_000_000 * step
        sessions[1]["bytes_out"] += 1_000 * step
        made |= {"sessions": sessions, "expectations": [row.as_dict() for row in EXPECTATIONS]}
    rows = {"sessions": SESSIONS, "hosts": HOSTS, "ports": PORTS}.get(view, ())
    if view in ("hosts", "ports"):
        made[view] = [row.as_dict() for row in rows]
    if rows:
        number = len(filters.parse(args).select(rows)) if view == "sessions" else len(rows)
        made["look"] = {"matching": number, "total": len(rows), "took": 0.001, "every": 1.0, "rated": step > 0}
    return made


def handlers(requests: list[tuple[str, dict[str, Any]]], run_dir: Path) -> dict[str, answering.Handler]:
    """The verbs; every request is noted in `requests`."""

    def listing(verb: str, rows: tuple[Row, ...]) -> answering.Handler:
        async def answer(args: dict[str, Any]) -> Any:
            requests.append((verb, args))
            chosen = filters.parse(args).select(rows)
            if args.get("by"):
                return [GroupRow("10.0.0.2", len(chosen), 0, 0, 0, 0)]
            return {"count": len(chosen)} if args.get("count") else chosen

        return answer

    async def kill(args: dict[str, Any]) -> list[SessionRow]:
        requests.append(("kill", args))
        wanted, ids = filters.parse(args), args.get("ids")
        return [row for row in wanted.select(SESSIONS) if row.id in ids] if ids else wanted.select(SESSIONS)

    def once(verb: str, data: Any) -> answering.Handler:
        async def answer(args: dict[str, Any]) -> Any:
            requests.append((verb, args))
            return data(args) if callable(data) else data

        return answer

    async def follow(args: dict[str, Any]) -> AsyncIterator[Any]:
        requests.append(("follow", args))
        if args.get("sessions"):
            yield [one.as_dict() for one in SESSION_EVENTS]
            return
        for row in EVENTS:
            yield row

    async def top(args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        requests.append(("top", args))
        for step in range(100_000):
            yield snapshot(step, **args)
            await asyncio.sleep(float(args["interval"]) if step else 0)

    return {
        "sessions": listing("sessions", SESSIONS),
        "mappings": listing("mappings", MAPPINGS),
        "expectations": listing("expectations", EXPECTATIONS),
        "hosts": listing("hosts", HOSTS),
        "ports": listing("ports", PORTS),
        "forward-list": listing("forward-list", FORWARDS),
        "forward-add": once("forward-add", lambda args: {**args, "origin": "live"}),
        "forward-del": once("forward-del", refuse),
        "allow-list": listing("allow-list", ALLOWED),
        "allow-add": once("allow-add", lambda args: {**args, "origin": "live"}),
        "allow-del": once("allow-del", refuse_allowed),
        "forward-file": once("forward-file", lambda _: {"path": str(run_dir / "config.toml")}),
        "status": once("status", STATUS),
        "settings": listing("settings", SETTINGS),
        "stats": once("stats", stats()),
        "reload": once("reload", RELOADED),
        "ha-status": once("ha-status", HA),
        "ha-leases": once("ha-leases", [LEASE.as_dict()]),
        "ha-yield": once("ha-yield", {}),
        "ha-resync": once("ha-resync", {}),
        "kill": kill,
        "down": once("down", {}),
        "explain": once("explain", explanation),
        "follow": follow,
        "whose": once("whose", lambda args: whose(args, run_dir)),
        "top": top,
    }  # fmt: skip


def whose(args: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """One holder, and a log in the run directory."""
    found = [HOLDER.as_dict()] if args["public"] == HOLDER.public else []
    log = {"level": "sessions", "sinks": ["file"], "file": str(run_dir / "log")}
    return {"public": args["public"], "ours": args["public"].startswith("203.0.113.1:"), "holders": found, "log": log}


def explanation(args: dict[str, Any]) -> ExplainAnswer:
    """What `explain` answers: of an id, more than of anything else."""
    subject = args["subject"][0]
    if len(subject) != len(CONTROL):
        return EXPLAINED
    text = f"a SYN is missing {HOSTILE}"
    finding: FindingAnswer = {"verdict": "waiting", "topic": "syn-missing", "text": text, "fix": "wait"}
    return {"subject": subject, "verdict": "waiting", "findings": [finding]}


def refuse(args: dict[str, Any]) -> Any:
    """A daemon's answer when what it is to delete isn't there."""
    raise AlgateError(f"no forward of {args['proto']} port {args['wan_port']}: see `algate forward list`")


def refuse_allowed(args: dict[str, Any]) -> Any:
    raise AlgateError(f"{args['proto']} port {args['port']} of {args['to']} isn't let in: see `algate allow list`")


@contextlib.contextmanager
def running(run_dir: Path) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The daemon in a thread, listening on `run_dir`; yields the list of requests that it got."""
    requests: list[tuple[str, dict[str, Any]]] = []
    loop = asyncio.new_event_loop()
    run_dir.mkdir(exist_ok=True, parents=True)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        serving = answering.serve(control.socket_path(run_dir), handlers(requests, run_dir))
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(10)
        try:
            yield requests
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


if __name__ == "__main__":
    import sys
    import time

    with running(Path(sys.argv[1])), contextlib.suppress(KeyboardInterrupt):
        time.sleep(float(sys.argv[2]))
