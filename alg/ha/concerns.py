"""Which sessions a list of effects is about: it waits for these, and for nobody else.

The law of this file: pure. Between lists of different sessions no order is promised, but one: what frees a port, or
writes down lines that records of any session may name, comes behind all that was there before, and so does a frame of
which nobody says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from algate.alg.engine import effects as fx

ANYBODY = frozenset[int]()
"""Of nobody in particular: it waits for all that is there, and nobody waits for it."""


def sessions(effects: Iterable[fx.Effect], known: int = 0) -> frozenset[int]:
    """Ids of the sessions that these effects, brought about by something of the session `known` (0: by a timer, or by
    several), change or speak of; ANYBODY."""
    found: set[int] = {known} if known else set()
    for effect in effects:
        if isinstance(effect, (fx.Inject, fx.ReleasePort, fx.PutLines)):
            if not known:
                return ANYBODY
        elif isinstance(effect, fx.PutAdjust):
            found.add(effect.record.session)
        elif isinstance(effect, (fx.PutExpectation, fx.KnownExpectation, fx.OpenExpectation)):
            found.add(effect.expectation.session)
        elif isinstance(effect, fx.DeleteExpectation):
            found.add(effect.expectation.session)
            if effect.heir is not None:
                found.add(effect.heir.session)
        elif isinstance(effect, fx.Admitted):
            found |= {effect.session, effect.data.session}
        else:
            found.add(effect.session)
    return frozenset(found)
