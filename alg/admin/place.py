"""The run directory of a running daemon: if somebody removes it, or what is in it, it is made anew.

The law of this file: lock, socket and state, nothing else. The lock on the pin folder (Daemon) keeps a second daemon
away meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from algate.alg.admin.answering import ControlServer
from algate.alg.daemon.contest import Contest
from algate.alg.daemon.losses import Losses
from algate.alg.errors import AlgateError
from algate.alg.gateway.claim import Claim
from algate.alg.gateway.host import Trouble, Weight
from algate.alg.gateway.state import State

log = logging.getLogger(__name__)
LOOK = 0.5  # s between looks: nobody tells of a file that goes
KIND = "run-dir"


class RunDirectory:
    """For one daemon. `judge`: called after each look."""

    def __init__(
        self, claim: Claim, server: ControlServer, state: State, losses: Losses, judge: Callable[[], None]
    ) -> None:
        self._claim, self._server, self._state, self._losses, self._judge = claim, server, state, losses, judge
        self._contest = Contest()

    async def keep(self) -> None:
        """Look and mend, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            if self._claim.lost() or self._server.lost() or self._state.lost():
                await self._mend()
            elif self._losses.amiss.pop(KIND, None) is not None:
                log.warning("well again: the run directory")
            self._judge()

    async def _mend(self) -> None:
        losses, where = self._losses, self._claim.run_dir
        if KIND not in losses.amiss:
            losses.taken[KIND] += 1
        if not self._contest.may(asyncio.get_running_loop().time()):
            text = f"{where} is taken again and again ({self._contest.times} times)"
            self._amiss(Trouble(KIND, text, "find out who does, and stop that", Weight.RISK))
            return
        try:
            if self._claim.lost():
                self._claim.renew()
            if self._state.lost():
                self._state.save()
            if self._server.lost():
                await self._server.renew()
        except AlgateError as error:
            self._amiss(Trouble(KIND, f"{where} can't be made anew: {error}", "see there", Weight.RISK))
            return
        losses.mended[KIND] += 1
        losses.amiss.pop(KIND, None)
        log.warning("%s: somebody took it, or something in it; made anew", where)

    def _amiss(self, trouble: Trouble) -> None:
        if self._losses.amiss.get(KIND) != trouble:
            log.warning("%s (%s)", trouble.text, trouble.fix)
        self._losses.amiss[KIND] = trouble
