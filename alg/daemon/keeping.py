"""What others take from the gateway while it runs, and what goes wrong around it: noticed, put back if ours, told.

The law of this file: it puts back only what this gateway made, and each thing ever more rarely if somebody takes it
again and again. Looking is `survey`, which may run in a thread; all else happens in the loop.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from algate.alg.daemon.contest import Contest
from algate.alg.daemon.devices import Devices, Sight
from algate.alg.daemon.losses import Losses
from algate.alg.daemon.running import Running
from algate.alg.errors import AlgateError
from algate.alg.gateway import host, netlink
from algate.alg.gateway.datapath import FORWARDING, Datapath
from algate.alg.gateway.hooks import OWN_HOOKS, Placed
from algate.alg.gateway.host import Trouble, Weight

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """What one look saw: our programs that are gone, switches that are off, the TAP, and what is amiss around.
    `unsettled`: filters that something is to come in front of, or not any more."""

    gone: tuple[Placed, ...]
    off: tuple[str, ...]
    tap: bool
    troubles: tuple[Trouble, ...]
    way: int
    strict: frozenset[str]
    unsettled: tuple[Placed, ...] = ()


def survey(seen: Sight, former: Devices, datapath: Datapath, tap: str) -> Survey | None:
    """Look at the host. Never fails: None if it can't be looked at, which changes nothing."""
    now = seen.devices or former
    placed = tuple(datapath.placed.values())
    here = [one for one in placed if one.index in seen.others]
    try:
        link = netlink.find_device(tap)
        return Survey(
            tuple(one for one in here if not one.there()),
            tuple(one.name for one in (*now.lans, now.wan)
                  if one.index in seen.others and netlink.read_sysctl(one.name, FORWARDING) == "0"),
            link is not None and link.up,
            (*host.renamed((*former.lans, former.wan), seen.others),
             *(host.links(now.lans, now.wan) if seen.devices is not None else ())),
            host.way_out(),
            frozenset(host.strict((*now.lans, now.wan))),
            tuple(one for one in datapath.unsettled() if one.index in seen.others),
        )  # fmt: skip
    except AlgateError as error:
        log.warning("can't look at the host: %s", error)
        return None


class Keeping:
    """For one running gateway."""

    def __init__(self, running: Running, datapath: Datapath, losses: Losses) -> None:
        self._running = running
        self._datapath = datapath
        self._losses = losses
        self._contests: dict[str, Contest] = defaultdict(Contest)
        self._led_out = False  # the default route has led by the WAN
        self._strict: frozenset[str] | None = None  # rp_filter as it was at first

    def keep(self, seen: Sight, found: Survey | None) -> bool:
        """Put back what is ours, and note what is amiss. Whether all is well."""
        if found is None:
            return False
        before, fds = dict(self._losses.amiss), self._running.gateway.fds
        for one in found.gone:
            if one in self._datapath.placed.values() and not one.there():
                self._put_back(one)
        self._settle(found.unsettled, fds)
        for name in found.off:
            self._mend("forwarding", f"forwarding on {name}", partial(netlink.write_sysctl, name, FORWARDING, "1"))
        if not found.tap:
            self._mend("tap", "the helper's device", self._new_tap)
        self._note(seen, found)
        self._clear(found)
        self._tell(before)
        return self._losses.worst() is None

    def keep_hooks(self) -> None:
        """Put back what somebody took off the devices' own hooks: nobody tells of that."""
        placed = tuple(self._datapath.placed.values())
        gone = [one for one in placed if one.way in OWN_HOOKS and not one.there()]
        if gone:
            before, here = dict(self._losses.amiss), netlink.device_indices()
            for one in gone:
                if one.index in here:
                    self._put_back(one)
            self._tell(before)

    def _put_back(self, one: Placed) -> None:
        """Without what stands in front of a filter that filter does it all, only dearer."""
        act = partial(self._datapath.put_back, one, self._running.gateway.fds)
        weight = Weight.TOLD if one.way == "front" else Weight.STOPS
        self._mend("xdp" if one.way == "xdp" else "filter", str(one), act, weight)

    def _settle(self, filters: tuple[Placed, ...], fds: Mapping[str, int]) -> None:
        for one in filters:
            try:
                front = self._datapath.settle(one, fds)
            except AlgateError as error:
                log.warning("%s: %s", one.device, error)
            else:
                why = "nobody's filters come first any more" if front else "somebody's filters come first"
                log.info("%s: established packets are taken %s the filter: %s", one.device,
                         "in front of" if front else "by", why)  # fmt: skip

    def keep_pins(self) -> bool:
        """Pin again what somebody unpinned; whether that was necessary and done."""
        before, done = dict(self._losses.amiss), False
        if self._running.gateway.unpinned():
            done = self._mend("pins", "pins", self._running.gateway.pin_again, Weight.RISK)
        else:
            self._losses.amiss.pop("pins", None)
        self._tell(before)
        return done

    def _new_tap(self) -> None:
        tap = self._running.helper.tap
        tap.renew()
        self._datapath.attach_tap(tap.name, tap.index, self._running.gateway.fds)

    def _mend(self, kind: str, what: str, act: Callable[[], None], weight: Weight = Weight.STOPS) -> bool:
        """Put it back if it is time to; else, or if that fails, it is amiss. Whether it was put back."""
        contest, losses, now = self._contests[what], self._losses, time.monotonic()
        if what not in losses.amiss:
            losses.taken[kind] += 1
        if not contest.may(now):
            text = f"{what}: somebody takes it again and again ({contest.times} times)"
            losses.amiss[what] = Trouble(kind, text, "find out who does, and stop that", weight)
            return False
        try:
            act()
        except (AlgateError, OSError) as error:
            losses.amiss[what] = Trouble(kind, f"{what} is gone, and can't be put back: {error}", "see there", weight)
            return False
        losses.mended[kind] += 1
        losses.amiss.pop(what, None)
        pause = contest.left(now)
        again = f" (for the {contest.times}th time: from now on not before {pause:g} s are over)" if pause else ""
        log.warning("%s: somebody took it; put back%s", what, again)
        return True

    def _note(self, seen: Sight, found: Survey) -> None:
        """What isn't ours to mend."""
        wan = self._running.devices.wan
        self._led_out = self._led_out or found.way == wan.index
        if self._strict is None:
            self._strict = found.strict
        now = [*found.troubles]
        if self._led_out and seen.devices is not None and seen.devices.addresses and wan.up:
            now += host.default_route(wan, found.way, seen.others)
        now += host.became_strict(set(found.strict - self._strict), found.way, wan)
        texts = {one.text for one in now}
        for key in [key for key, one in self._losses.amiss.items() if key == one.text and key not in texts]:
            del self._losses.amiss[key]
        for one in now:
            if one.text not in self._losses.amiss:
                self._losses.taken[one.kind] += 1
            self._losses.amiss[one.text] = one

    def _clear(self, found: Survey) -> None:
        """What was in dispute and is there after all."""
        gone = {str(one) for one in found.gone} | {f"forwarding on {name}" for name in found.off}
        for key, one in list(self._losses.amiss.items()):
            if one.kind in ("filter", "xdp", "forwarding") and key not in gone:
                del self._losses.amiss[key]
        if found.tap:
            self._losses.amiss.pop("the helper's device", None)

    def _tell(self, before: dict[str, Trouble]) -> None:
        """Log what is newly amiss, and what is so no more."""
        for key, one in self._losses.amiss.items():
            if before.get(key, one).text != one.text or key not in before:
                log.warning("%s (%s)", one.text, one.fix)
        for key, one in before.items():
            if key not in self._losses.amiss:
                log.warning("well again: %s", one.text)
