"""Faults in algate itself and in plug-ins: the traceback goes to the log, so that they can be fixed.

The law of this file: only the log. The same fault at the same place is shown once per minute, with a count of the
rest: whoever can cause it can cause it often.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator

from algate.alg.plugin.scrub import scrubbed

log = logging.getLogger(__name__)
AGAIN_SECONDS = 60.0
PLACES_MOST = 1024

Place = tuple[type[Exception], str, int]


class Faults:
    """Shows tracebacks; `silent` counts, by place, those not shown since the last one."""

    def __init__(self) -> None:
        self._shown: dict[Place, float] = {}
        self.silent: dict[Place, int] = {}

    def note(self, session: int, error: Exception) -> None:
        """Note one more fault, in a control session."""
        place, moment = _place(error), time.monotonic()
        if moment - self._shown.get(place, -AGAIN_SECONDS) < AGAIN_SECONDS:
            self.silent[place] = self.silent.get(place, 0) + 1
            return
        if len(self._shown) >= PLACES_MOST:
            self._shown.clear()
        self._shown[place] = moment
        before = self.silent.pop(place, 0)
        more = f" ({before} more of these since the last)" if before else ""
        log.error(
            "algate failed on control session %016x, not its plug-in%s:\n%s",
            session,
            more,
            "\n".join(_traceback(error)),
        )


def _place(error: Exception) -> Place:
    """Where the error was raised."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return (type(error), at.tb_frame.f_code.co_filename, at.tb_lineno) if at else (type(error), "", 0)


def _chained(error: BaseException) -> Iterator[str]:
    """As traceback.format_exception, with what the messages quote left out."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _chained(before)
        yield "which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}: {scrubbed(str(error))}\n"


def _traceback(error: Exception) -> Iterator[str]:
    """The lines, each after a bar and without anything that a terminal acts on: a message may hold hostile text, or
    quote a password."""
    for line in "".join(_chained(error)).splitlines():
        yield "  | " + "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
