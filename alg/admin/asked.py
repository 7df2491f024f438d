"""What a screen of `top` asks for.

The law of this file: a request's args in, a frozen value out; nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from algate.alg.admin import filters, listings
from algate.alg.daemon.running import Running
from algate.alg.engine import effects as fx
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import ranking, records, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.wording import nearest, shown

INTERVAL_LEAST = 0.1
ROWS_MOST = 2000
EVENTS_MOST = 200


@dataclass(frozen=True, slots=True)
class TopRequest:
    """What a screen wants to be told. `view`: sessions, hosts or ports; any other gets neither of these.

    `words`: what must occur in a row; `keep`: packed keys of sessions whose rows are wanted in any case.
    """

    view: str = "sessions"
    interval: float = 1.0
    limit: int = 200
    events: int = EVENTS_MOST
    sort: str = "rate"
    reverse: bool = False
    wanted: survey.Wanted = field(default_factory=survey.Wanted)
    chosen: filters.Filter = field(default_factory=filters.Filter)
    words: tuple[str, ...] = ()
    keep: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, running: Running, args: Mapping[str, Any]) -> TopRequest:
        """From a request's args. AlgateError (exit code 2) names what is wrong."""
        view, sort = str(args.get("view") or "sessions"), str(args.get("sort") or "rate")
        if view == "sessions" and sort not in ranking.SORTS:
            close = nearest(sort, ranking.SORTS)
            raise AlgateError(f"--sort: {shown(sort)} is not a column; the nearest is {close}", USAGE)
        words = args.get("words")
        return cls(
            view=view,
            interval=max(INTERVAL_LEAST, _number(args.get("interval"), 1.0)),
            limit=min(ROWS_MOST, int(_number(args.get("limit"), 200))),
            events=min(EVENTS_MOST, int(_number(args.get("events"), EVENTS_MOST))),
            sort=sort,
            reverse=args.get("reverse") is True,
            wanted=listings.wanted(running, args) if view in ("sessions", "hosts") else survey.Wanted(),
            chosen=filters.parse(args),
            words=tuple(str(word).lower() for word in words) if isinstance(words, list) else (),
            keep=_keys(args.get("keep"), Addresses(running.gateway)),
        )


def _number(given: Any, default: float) -> float:
    return float(given) if isinstance(given, int | float) and 0 <= given < 1e6 else default


def _keys(given: Any, addresses: Addresses) -> tuple[bytes, ...]:
    """Packed keys of [proto, inside, outside]; what isn't that is left out."""
    made = []
    for one in given if isinstance(given, list) else ():
        try:
            name, *ends = one
            (inside, _, port), (outside, _, remote) = (str(end).rpartition(":") for end in ends)
            proto = survey.PROTO_NUMBERS[name]
            far = 0 if proto == survey.ICMP else int(remote)
            near, away = (addresses.known(ip_address(one.strip("[]"))) for one in (inside, outside))
            if near and away:
                made.append(records.pack_key(fx.SessionKey(near, int(port), away, far, proto)))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return tuple(made)
