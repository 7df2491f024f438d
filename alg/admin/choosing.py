"""Which sessions a request means, in the terms of raw batches: `--proto tcp --inside 10.0.0.0/24 --forward any`.

The law of this file: args in, a survey.Wanted out; what can't be meant is an error that names what could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv6Network
from typing import Any

from algate.alg.admin import filters
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import listing, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.wording import nearest, shown
from algate.bpf import ticks


def wanted(running: Running, args: Mapping[str, Any]) -> survey.Wanted:
    """The filters of a request, for raw sessions. AlgateError (exit code 2) for a plug-in that isn't installed."""
    chosen = filters.parse(args)
    numbers = {name: number for number, name in running.names.items()} | {"none": 0}
    for name in chosen.alg:
        if name not in numbers:
            close = nearest(name, numbers)
            raise AlgateError(f"--alg: no plug-in {shown(name)} is installed; the nearest is {close}", USAGE)
    least = {name: seconds(name, args.get(name)) for name in ("idle", "age")}
    return survey.Wanted(
        protos=tuple(survey.PROTO_NUMBERS[name] for name in chosen.proto),
        states=_states(chosen.state),
        algs=tuple(numbers[name] for name in chosen.alg),
        ids=_children(running, chosen.related_to) if chosen.related_to else None,
        insides=places(chosen.inside, running),
        outsides=places(chosen.outside, running),
        forwards=_forwarded(running, args.get("forward")),
        least_idle=ticks.lasting(least["idle"]) if least["idle"] else 0,
        least_age=round(least["age"] * 1e9),
    )


def _forwarded(running: Running, given: Any) -> frozenset[int] | None:
    """Rows of `ports` of the forwards that are named, "tcp/8080", "8080" or "any"; None: no filter. AlgateError (exit
    code 2) for one that isn't there."""
    if given is None:
        return None
    cells = running.forwards.cells()
    found: set[int] = set()
    for word in str(given).split(","):
        meant = [rows for name, rows in cells if word in (name, name.partition("/")[2], "any")]
        if not meant and word != "any":
            close = f"the nearest is {nearest(word, [name for name, _ in cells])}" if cells else "there are none"
            raise AlgateError(f"--forward: no forward {shown(word)}: {close}; see `algate forward list`", USAGE)
        found.update(row for rows in meant for row in rows)
    return frozenset(found)


def _children(running: Running, parents: Iterable[str]) -> frozenset[int]:
    """Ids of the sessions that these control sessions expected."""
    meant = {int(one, 16) for one in parents if _is_hex(one)}
    return frozenset(child for child, parent in listing.parents(running.gateway).items() if parent in meant)


def _states(words: Iterable[str]) -> tuple[int, ...]:
    """Expectations have states of their own, which no session is in."""
    words = tuple(words)
    return tuple(survey.STATE_NUMBERS[one] for one in words if one in survey.STATE_NUMBERS) or ((-1,) if words else ())


def places(given: Iterable[filters.Place], running: Running) -> tuple[survey.RawPlace, ...]:
    """End points in the terms of a table; of an IPv6 network the handles of its addresses."""
    return tuple(
        replace(survey.RawPlace.of(None, one.port), among=Addresses(running.gateway).within(one.network))
        if isinstance(one.network, IPv6Network)
        else survey.RawPlace.of(one.network, one.port)
        for one in given
    )


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def seconds(name: str, given: Any) -> float:
    """Of --idle or --age, 0 if it isn't given. AlgateError (exit code 2) if it can't be one."""
    if given is None:
        return 0.0
    if not isinstance(given, int | float) or not 0 <= given <= 1e9:
        raise AlgateError(f"--{name}: {shown(given)} is not a number of seconds", USAGE)
    return float(given)
