"""Ending sessions on an operator's word.

The law of this file: which sessions, in which order, and who is told. Only the kernel's control program deletes;
the engine takes back what a control session leaves behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from algate.alg.admin import listings
from algate.alg.admin.messages import Rows
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import survey
from algate.alg.rows import EventRow, SessionRow, parse_id
from algate.bpf import abi


async def kill(running: Running, args: dict[str, Any]) -> Rows | list[SessionRow]:
    """End the sessions that `ids` name and that match the filters; give the rows of those that ended.

    `reset`: send RST to both ends of control sessions (nobody knows the sequence numbers of others). `dry_run`: only
    list them. Data connections outlive their control session; `related_to` ends those. A filter alone may match a
    million: they end while their rows are sent, and no more end once the asker is gone.
    """
    wanted, ids = listings.wanted(running, args), _ids(args.get("ids"))
    if not ids and wanted == survey.Wanted():
        raise AlgateError("which sessions? name ids, or give a filter such as --inside 10.0.0.5", USAGE)
    pieces = _pieces(running, wanted, ids, args)
    if not ids:
        return Rows(pieces)
    found: list[SessionRow] = []
    for piece in pieces:
        found += piece
        await asyncio.sleep(0)
    if not found:
        raise AlgateError(f"no session {min(ids)}: see `algate sessions`")
    return found


async def forwarded(running: Running, rows: frozenset[int]) -> int:
    """End the sessions that came by a forward of these rows of `ports`; how many there were."""
    ended = 0
    for some in _pieces(running, survey.Wanted(forwards=rows), set(), {}):
        ended += len(some)
        await asyncio.sleep(0)
    return ended


def _pieces(running: Running, wanted: survey.Wanted, ids: set[str], args: dict[str, Any]) -> Iterator[list[SessionRow]]:
    """Those that ended among each PIECE sessions."""
    reset, only_tell = bool(args.get("reset")), bool(args.get("dry_run"))
    for some in listings.keyed(running, wanted):
        meant = [one for one in some if not ids or one[1].id in ids]
        yield [row for key, row in meant if only_tell or _end(running, key, row, reset)]


def _ids(given: Any) -> set[str]:
    """Ids as written by format_id."""
    words = given if isinstance(given, list) else []
    try:
        return {f"{parse_id(str(one)):016x}" for one in words}
    except ValueError:
        bad = next(str(one) for one in words if not _is_id(str(one)))
        raise AlgateError(f"{bad[:40]!a} is not a session id: see `algate sessions`", USAGE) from None


def _is_id(text: str) -> bool:
    try:
        parse_id(text)
    except ValueError:
        return False
    return True


def _end(running: Running, key: bytes, row: SessionRow, reset: bool) -> bool:
    """End it; False if it was already gone."""
    number = int(row.id, 16)
    helper = running.helper
    watched = helper.watches(number)
    if watched and reset:
        helper.kill(number)
        ended = True
    else:
        ended = running.control.keys(abi.ControlOp.KILL, [key]) == 1
        if watched:
            helper.ended(number)
    if ended:
        detail = f"{row.proto} {row.inside} {row.outside}"
        fields = {"session": row.id, "inside": row.inside, "outside": row.outside}
        running.events.add(
            EventRow(time.time(), "session-killed", row.id if watched else row.related_to, row.alg, detail,
                     "operator", fields)
        )  # fmt: skip
    return ended
