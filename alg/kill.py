"""Ending sessions because an operator says so.

The law of this file: which sessions, in which order, and who is told. Deleting is the kernel's control program's
alone; what a control session leaves behind is taken back by the engine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from algate.alg import filters, listing
from algate.alg.errors import USAGE, AlgateError
from algate.alg.rows import EventRow, SessionRow, parse_id
from algate.bpf import abi

if TYPE_CHECKING:
    from algate.alg.service import Service


def kill(service: Service, args: dict[str, Any]) -> list[SessionRow]:
    """End the sessions that `ids` name and that match the filters; the rows of those that ended.

    `reset`: control sessions get RST at both ends (of others nobody knows the sequence numbers). `dry_run`: only tell.
    Its data connections outlive a control session; `related_to` ends those.
    """
    wanted, ids = filters.parse(args), _ids(args.get("ids"))
    if not wanted and not ids:
        raise AlgateError("which sessions? name ids, or give a filter such as --inside 10.0.0.5", USAGE)
    found = [
        (key, row)
        for key, row in listing.keyed_sessions(service.gateway, service.names)
        if (not ids or row.id in ids) and wanted.matches(row)
    ]
    missing = sorted(ids - {row.id for _, row in found})
    if missing and not found:
        raise AlgateError(f"no session {missing[0]}: see `algate sessions`")
    if args.get("dry_run"):
        return [row for _, row in found]
    return [row for key, row in found if _end(service, key, row, bool(args.get("reset")))]


def _ids(given: Any) -> set[str]:
    """Ids as format_id writes them."""
    words = given if isinstance(given, list) else []
    try:
        return {f"{parse_id(str(one)):016x}" for one in words}
    except ValueError:
        bad = next(str(one) for one in words if not _is_id(str(one)))
        raise AlgateError(f"{bad[:40]!a} is no session id: see `algate sessions`", USAGE) from None


def _is_id(text: str) -> bool:
    try:
        parse_id(text)
    except ValueError:
        return False
    return True


def _end(service: Service, key: bytes, row: SessionRow, reset: bool) -> bool:
    """Whether it was there to be ended."""
    number = int(row.id, 16)
    helper = service.helper
    watched = helper is not None and number in helper.engine
    if watched and reset and helper is not None:
        helper.kill(number)
        ended = True
    else:
        ended = service.control.keys(abi.ControlOp.KILL, [key]) == 1
        if watched and helper is not None:
            helper.ended(number)
    if ended:
        detail = f"{row.proto} {row.inside} {row.outside}"
        fields = {"session": row.id, "inside": row.inside, "outside": row.outside}
        service.events.add(
            EventRow(time.time(), "session-killed", row.id if watched else row.related_to, row.alg, detail,
                     "operator", fields)
        )  # fmt: skip
    return ended
