"""What the shell offers after TAB: the verbs, and values that only a running gateway knows.

The law of this file: it never raises, prints nothing, and gives up after a moment: the operator is in the middle of a
line. The shells' scripts come from typer (deploy/completion/ holds them; `cli.manual` writes them).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

VARIABLE = "_ALGATE_COMPLETE"  # set by the scripts: what they ask
MOST = 200  # values offered; more help nobody
LOOKED_AT = 5000  # rows of a listing, which may have a million
SECONDS = 1.0  # that the daemon has to answer
RUN = Path("/run")


def asked() -> bool:
    """Whether this process was started by a shell that wants to complete a line."""
    return VARIABLE in os.environ


def prepare() -> None:
    """Make typer answer the scripts; it does so by itself only where it may also install them."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # re-exported without saying so

    completion_init()


def _quiet(values: Callable[[Any], Iterator[str]]) -> Callable[[Any, Any, str], list[str]]:
    """A typer completer of what `values(context)` yields; nothing if that fails for whatever reason."""

    def completer(ctx: Any, args: Any, incomplete: str) -> list[str]:
        found: list[str] = []
        try:
            for value in values(ctx):
                if value.startswith(incomplete) and value not in found:
                    found.append(value)
                if len(found) == MOST:
                    break
        except Exception:  # no daemon, no permission, an older one: the line is completed by hand
            pass
        return found

    return completer


def _ask(ctx: Any, verb: str) -> Iterable[dict[str, Any]]:
    from algate.client import Client

    named = ctx.params.get("run_dir") or os.environ.get("ALGATE_RUN_DIR") or RUN / "algate"
    yield from islice(Client(Path(named), SECONDS).rows(verb), LOOKED_AT)


def _host(end_point: str) -> str:
    return end_point.rpartition(":")[0].strip("[]")


def _ids(ctx: Any) -> Iterator[str]:
    """Control sessions first: those are asked about."""
    rows = list(_ask(ctx, "sessions"))
    yield from (row["id"] for row in sorted(rows, key=lambda row: not row.get("alg")))


def _insides(ctx: Any) -> Iterator[str]:
    yield from (_host(row["inside"]) for row in _ask(ctx, "sessions"))


def _outsides(ctx: Any) -> Iterator[str]:
    yield from (_host(row["outside"]) for row in _ask(ctx, "sessions"))


def _subjects(ctx: Any) -> Iterator[str]:
    rows = list(_ask(ctx, "sessions"))
    yield from (row["id"] for row in rows)
    yield from (row["inside"] for row in rows)


def _ports(ctx: Any) -> Iterator[str]:
    yield from (row["wan_port"] for row in _ask(ctx, "forward-list"))


def _allowed_ports(ctx: Any) -> Iterator[str]:
    yield from (row["port"] for row in _ask(ctx, "allow-list"))


def _allowed_hosts(ctx: Any) -> Iterator[str]:
    yield from (row["to"] for row in _ask(ctx, "allow-list"))


def _forwards(ctx: Any) -> Iterator[str]:
    yield from (f"{row['proto']}/{row['wan_port']}" for row in _ask(ctx, "forward-list"))
    yield "any"


def _run_dirs(ctx: Any) -> Iterator[str]:
    """Folders with a control socket in /run, which is where daemons put it."""
    for socket in sorted(RUN.glob("*/control.sock")):
        yield str(socket.parent)


def _words(*words: str) -> Callable[[Any], Iterator[str]]:
    return lambda ctx: iter(words)


def _from(module: str, name: str) -> Callable[[Any], Iterator[str]]:
    """The words of a tuple that is imported when it is asked for, so that --help stays quick."""

    def words(ctx: Any) -> Iterator[str]:
        import importlib

        yield from getattr(importlib.import_module(module), name)

    return words


def sorts(verb: str) -> Callable[[Any, Any, str], list[str]]:
    """The completer of --sort of a listing."""
    return _quiet(_orders(verb, "sorts"))


def keys(verb: str) -> Callable[[Any, Any, str], list[str]]:
    """The completer of --by of a listing."""
    return _quiet(_orders(verb, "keys"))


def _orders(verb: str, which: str) -> Callable[[Any], Iterator[str]]:
    def words(ctx: Any) -> Iterator[str]:
        from algate.alg.admin.orders import LISTINGS

        yield from getattr(LISTINGS[verb], which)

    return words


def _plugins(ctx: Any) -> Iterator[str]:
    from importlib.metadata import entry_points

    yield from sorted(point.name for point in entry_points(group="algate.protocols"))


ids = _quiet(_ids)
insides = _quiet(_insides)
outsides = _quiet(_outsides)
subjects = _quiet(_subjects)
forwarded_ports = _quiet(_ports)
forwards = _quiet(_forwards)
allowed_ports = _quiet(_allowed_ports)
allowed_hosts = _quiet(_allowed_hosts)
run_dirs = _quiet(_run_dirs)
plugins = _quiet(_plugins)
protos = _quiet(_from("algate.alg.admin.filters", "PROTOS"))
states = _quiet(_from("algate.alg.admin.filters", "STATES"))
datapaths = _quiet(_from("algate.alg.config.sections", "DATAPATHS"))
host_sorts = _quiet(_words("rate", "sessions", "ports", "new", "refused", "oldest"))
port_sorts = _quiet(_words("fill", "used", "free", "held_down", "reserved"))
views = _quiet(_words("sessions", "hosts", "ports", "drops", "events"))
servers = _quiet(_words("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib"))
transports = _quiet(_words("tcp", "udp"))
