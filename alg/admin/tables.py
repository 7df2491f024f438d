"""The listings of other tables than that of sessions: small ones, judged row by row.

The law of this file: as in listings.py. What a kind of row has nothing for is refused, and who has it is named: a
filter that is passed over in silence would show everything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from algate.alg.admin import filters
from algate.alg.admin.choosing import seconds
from algate.alg.admin.listings import RowOrder
from algate.alg.admin.messages import PIECE, Rows
from algate.alg.admin.orders import LISTINGS, SESSIONS, RowWords
from algate.alg.admin.sorting import in_order
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import survey
from algate.alg.rows import GroupRow, Row, host_of

SPELLED = {"expires": "expires_in"}  # the field of a word


async def listed(verb: str, rows: Iterable[Row], args: dict[str, Any]) -> Any:
    """What of `rows` was asked for."""
    words = LISTINGS[verb]
    _refuse(args, words)
    order, chosen = RowOrder.parse(args, words.sorts, words.keys), filters.parse(args)
    if "age" in words.sorts and (least := seconds("age", args.get("age"))):
        rows = (row for row in rows if (getattr(row, "age", None) or 0.0) >= least)
    if not order:
        return Rows(chosen.pieces(rows, PIECE))
    rest, number, kept, counts = iter(rows), 0, list[Row](), Counter[str]()
    while some := list(islice(rest, PIECE)):
        matching = chosen.select(some)
        number += len(matching)
        if order.by:
            counts.update(_key(row, order.by) for row in matching)
        elif not order.count:
            kept += matching
        await asyncio.sleep(0)
    if order.count:
        return {"count": number}
    if order.by:
        summed = (GroupRow(name, number, 0, 0, 0, 0) for name, number in counts.items())
        return await in_order(summed, survey.group_order(""), not order.reverse, order.limit)
    if order.sort:
        field = SPELLED.get(order.sort, order.sort)
        return await in_order(kept, lambda row: getattr(row, field) or 0.0, not order.reverse, order.limit)
    return (kept[::-1] if order.reverse else kept)[: order.limit]


def _refuse(args: dict[str, Any], words: RowWords) -> None:
    """AlgateError (exit code 2) for what only sessions have."""
    if args.get("forward") is not None:
        raise AlgateError("--forward: only sessions come by a forward", USAGE)
    if args.get("idle") is not None:
        raise AlgateError("--idle: only sessions are idle", USAGE)
    if args.get("age") is not None and "age" not in words.sorts:
        raise AlgateError("--age: these rows have no age", USAGE)
    for name, known, all_of_them in (("by", words.keys, SESSIONS.keys), ("sort", words.sorts, SESSIONS.sorts)):
        word = args.get(name)
        if word in all_of_them and word not in known:
            raise AlgateError(f"--{name}: these rows have no {word}, only {', '.join(known)}; sessions do", USAGE)


def _key(row: Row, by: str) -> str:
    if by in ("host", "remote"):
        ends = filters.insides(row) if by == "host" else filters.outsides(row)
        return _host(ends[0] or "") or "none"
    return str(getattr(row, by, None) or "none")


def _host(end: str) -> str:
    """Without the port, of "ip:port", "[ip]:port" and an address alone."""
    return end if filters.address(end) else host_of(end)
