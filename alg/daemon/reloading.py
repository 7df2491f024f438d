"""A new configuration for a running daemon: looked at, applied, confirmed, or undone by itself.

The law of this file: which configuration is in force, and when the former one comes back. What applying one means is
the service's. It waits for nothing: the clock is the loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from algate.alg.answers import ReloadAnswer, UnconfirmedAnswer
from algate.alg.audit.fills import Reloaded
from algate.alg.config.changes import NEVER, Change, changes
from algate.alg.config.load import Config
from algate.alg.errors import AlgateError

log = logging.getLogger(__name__)


class Reloading:
    """For one daemon. `read`: what the file says now; `apply`: puts a configuration in force, or raises AlgateError.
    `last`: when that last went well, and whether the last try did."""

    def __init__(
        self, current: Callable[[], Config], read: Callable[[], Config], apply: Callable[[Config], None]
    ) -> None:
        self._current, self._read, self._apply = current, read, apply
        self._former: Config | None = None  # comes back unless somebody confirms
        self._timer: asyncio.TimerHandle | None = None
        self.last = Reloaded(time.time(), True)

    def reload(self, dry_run: bool = False, seconds: float | None = None) -> ReloadAnswer:
        """Read the configuration again and apply what can change while running; if that fails, nothing has changed.

        `dry_run`: only say what would change. `seconds`: undo it after that time, unless it is confirmed.
        """
        if not dry_run:
            self.last = self.last._replace(well=False)  # unless it gets to the end
        former, fresh = self._current(), self._read()
        found = changes(former, fresh)
        if dry_run:
            return self._answer(found, dry_run=True)
        for one in found:
            if one.when == NEVER:
                raise AlgateError(f"{one}; nothing was changed")
        if self._timer is not None and seconds is None:
            left = self._timer.when() - asyncio.get_running_loop().time()
            raise AlgateError(
                f"the reload before isn't confirmed: `algate reload --confirm`, or it is undone in {left:.0f} s"
            )
        self._put(fresh, former)
        self.last = Reloaded(time.time(), True)
        if seconds is not None:
            self._undo_in(seconds, former)
        log.info("configuration read again: %s", "; ".join(map(str, found)) or "nothing changed")
        return self._answer(found)

    def _put(self, fresh: Config, former: Config) -> None:
        try:
            self._apply(fresh)
        except AlgateError:
            with contextlib.suppress(AlgateError):
                self._apply(former)
            raise

    def confirm(self) -> ReloadAnswer:
        """What was applied stays. AlgateError if nothing waits for that."""
        if self._timer is None or self._former is None:
            raise AlgateError("there is nothing to confirm: no `algate reload --for SECONDS` is under way")
        found = changes(self._former, self._current())
        self.end()
        log.info("the configuration is confirmed")
        return self._answer(found)

    def end(self) -> None:
        """Nothing is undone any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._former = None

    def _undo_in(self, seconds: float, former: Config) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._former = self._former or former
        self._timer = asyncio.get_running_loop().call_later(seconds, self._undo, seconds)

    def _undo(self, seconds: float) -> None:
        former, now = self._former, self._current()
        self.end()
        assert former is not None
        try:
            self._put(former, now)
        except AlgateError as error:
            log.error("not confirmed within %g s, and the former configuration can't be in force: %s", seconds, error)
            return
        told = "not confirmed within %g s: the former configuration is in force again; %s still has the other"
        log.warning(told, seconds, now.path)

    def need_settled(self) -> None:
        """AlgateError while a reload waits to be confirmed: what is done now would outlive its undoing, or be lost."""
        if (waiting := self.unconfirmed()) is not None:
            left = f"it is undone in {waiting['left']:.0f} s"
            raise AlgateError(f"a reload isn't confirmed yet: `algate reload --confirm` first, or wait: {left}")

    def unconfirmed(self) -> UnconfirmedAnswer | None:
        """What will be undone, and in how many seconds."""
        if self._timer is None or self._former is None:
            return None
        left = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
        return {"left": left, "changed": [one.key for one in changes(self._former, self._current())]}

    def _answer(self, found: Sequence[Change], dry_run: bool = False) -> ReloadAnswer:
        return {
            "changed": [one.key for one in found],
            "changes": [{"key": one.key, "was": one.was, "now": one.now, "when": one.when} for one in found],
            "dry_run": dry_run, "unconfirmed": self.unconfirmed(),
        }  # fmt: skip
