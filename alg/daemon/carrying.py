"""A start over the pins of another version: its sessions go on, in maps of this version's layout.

The law of this file: when the old maps are read, and when they go. Until the new programs are attached the old ones
and their maps work on untouched, so a start that fails changes nothing. What begins between the copy and the
attaching, some tenths of a second, is lost.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from algate.alg.errors import AlgateError
from algate.alg.gateway import estate, estate6
from algate.bpf import abi, description, pins
from algate.bpf.loader import Gateway
from algate.bpf.packing import from_native
from algate.bpf.pinned import Pinned

log = logging.getLogger(__name__)


class CarryOver:
    """Of one start. AlgateError if what is there can't be read: before anything was touched."""

    def __init__(self, run_dir: Path) -> None:
        base = pins.folder(run_dir)
        self._own = base / abi.layout_hash()
        self._old = description.others(base)
        self._described = [description.readable(one, run_dir) for one in self._old]
        if self._old and self._own.is_dir():
            self._recover()

    @property
    def found(self) -> bool:
        """Whether another version's maps are there."""
        return bool(self._old)

    def _recover(self) -> None:
        """A start was interrupted: once its helper had begun to beat, the new maps are in use; before, the old."""
        with Pinned(self._own) as maps:
            try:
                beat = from_native(next(maps.items("heartbeat"))[1])
            except AlgateError:
                beat = 0
        if beat:
            self.finish()
        else:
            shutil.rmtree(self._own, ignore_errors=True)

    def carry(self, gateway: Gateway) -> None:
        """Copy what the old maps hold into the gateway's, which are empty. AlgateError if it doesn't fit."""
        for folder, described in zip(self._old, self._described, strict=True):
            with Pinned(folder, described) as maps:
                found = estate.take(described, maps.items)
                found.made = sum(maps.counters("counters")[abi.Counter.SESSIONS_NEW : abi.Counter.SESSIONS_NEW + 1])
            behind = 0 if gateway.six else estate6.leave_out(found.maps)
            if behind:
                log.warning("%d sessions of IPv6 stay behind: it isn't filtered any more", behind)
            estate.settle(found)
            try:
                estate.write(found, gateway.map_fd)
            except OSError as error:
                raise AlgateError(f"can't carry the sessions of {folder} over: {error.strerror or error}") from None
            log.warning(
                "carried %d sessions over from another version's maps%s", len(found.maps["sessions"]),
                f", {found.left} had lost their port" if found.left else "",
            )  # fmt: skip

    def finish(self) -> None:
        """The new programs are attached: the old maps go."""
        for folder in self._old:
            shutil.rmtree(folder, ignore_errors=True)
        self._old, self._described = [], []

    def give_up(self) -> None:
        """The start failed: the new maps go, the old ones stay."""
        if self._old:
            shutil.rmtree(self._own, ignore_errors=True)
