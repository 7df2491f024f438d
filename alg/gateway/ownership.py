"""Whose programs are on a host's devices: known by what they are, not by what a file says of them.

The law of this file: it looks, and changes nothing. A program of algate's is known by its name; the gateway that it
belongs to, by the maps that it uses and the folder in which those are pinned.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from algate.alg.errors import AlgateError
from algate.alg.gateway import hooks, netlink, rtnetlink
from algate.alg.gateway.netlink import EGRESS, INGRESS
from algate.bpf import pins, syscall, tcx
from algate.bpf.keep import FOLDER

EGRESS_NAME, XDP_NAMES = "tc_wan_out", ("xdp_lan", "xdp_wan")
FRONT_NAMES = tuple(hooks.FRONT.values())


class Owner(Enum):
    """Of a program: this run directory's gateway, another one, none (its maps are pinned nowhere); nobody may look."""

    OWN = "own"
    OTHER = "other"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """A program of algate's on a device. `way`: as of hooks.Placed."""

    device: str
    index: int
    program: str
    way: str
    hook: int
    id: int
    owner: Owner


class Owners:
    """Says whose a program is, as things are now, seen from one run directory.

    Without CAP_SYS_ADMIN nobody may look at a program. It is ours then if no other gateway has pins."""

    def __init__(self, run_dir: Path) -> None:
        own = pins.folder(run_dir)
        self._own = _pinned(own)
        others = (
            [one for one in own.parent.glob("algate*") if one != own and one.is_dir()] if own.parent.is_dir() else []
        )
        self._others: set[int] = set().union(*map(_pinned, others))
        self._fronts = _fronts(own)

    def front(self, program: int) -> str:
        """The name of a program on a device's own ingress hook, "" if it isn't one of algate's. Without CAP_SYS_ADMIN
        our own are known by what is kept for the next start."""
        name = _name(program) or self._fronts.get(program, "")
        return name if name in FRONT_NAMES else ""

    def of(self, program: int) -> Owner:
        """By the maps that the program uses."""
        try:
            fd = tcx.by_id(program)
        except OSError:
            return Owner.UNKNOWN if self._others else Owner.OWN
        try:
            maps = set(syscall.prog_maps(fd))
        finally:
            os.close(fd)
        if maps & self._own:
            return Owner.OWN
        return Owner.OTHER if maps & self._others else Owner.NONE


def _pinned(folder: Path) -> set[int]:
    """Ids of the maps that are pinned in a folder and below, those apart that go with kept programs. Another gateway's
    may be purged meanwhile: a walk passes over a folder that has gone, where a glob raises."""
    found = set()
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names if Path(place).name != FOLDER):
            with contextlib.suppress(OSError):
                fd = syscall.obj_get(path)
                try:
                    found.add(syscall.map_info(fd).id)
                finally:
                    os.close(fd)
    return found


def _fronts(folder: Path) -> dict[int, str]:
    """Id -> name of the kept programs that stand in front of filters."""
    found = {}
    for path in (path for name in FRONT_NAMES for path in folder.glob(f"*/{FOLDER}/{name}")):
        with contextlib.suppress(OSError):
            fd = syscall.obj_get(path)
            try:
                found[syscall.prog_info(fd).id] = path.name
            finally:
                os.close(fd)
    return found


def search(owners: Owners, indices: Collection[int] | None = None) -> list[Found]:
    """The programs of algate's on these devices, or on all of this network namespace."""
    found = []
    for index, name in netlink.device_indices().items():
        if indices is None or index in indices:
            with contextlib.suppress(AlgateError):
                found += [Found(name, index, *words, owners.of(words[-1])) for words in _on(owners, name, index)]
    return found


def _on(owners: Owners, device: str, index: int) -> Iterator[tuple[str, str, int, int]]:
    """(program, way, hook, id) of each."""
    marked = False  # a filter carries our name for everybody to see
    for hook in (INGRESS, EGRESS):
        for _, name, number in rtnetlink.filters(index, hook):
            if name.startswith(netlink.FILTER_PREFIX):
                marked = True
                yield name.removeprefix(netlink.FILTER_PREFIX), "filter", hook, number
    for number in hooks.programs(index, INGRESS):
        if name := owners.front(number):
            yield name, "front", INGRESS, number
    for number in hooks.programs(index, EGRESS):
        if (_name(number) or (EGRESS_NAME if marked else "")) == EGRESS_NAME:
            yield EGRESS_NAME, "tcx", EGRESS, number
    number, _ = rtnetlink.xdp(device)
    if number and (name := _name(number)) in XDP_NAMES:
        yield name, "xdp", INGRESS, number


def _name(program: int) -> str:
    """The kernel's name of a program, "" if nobody may look (CAP_SYS_ADMIN)."""
    with contextlib.suppress(OSError):
        fd = tcx.by_id(program)
        try:
            return syscall.prog_info(fd).name
        finally:
            os.close(fd)
    return ""


def remove(one: Found) -> None:
    """Take it off its device."""
    if one.way in hooks.OWN_HOOKS:
        hooks.remove(one.index, one.hook, one.id)
    elif one.way == "xdp":
        number, generic = rtnetlink.xdp(one.device)
        if number == one.id:
            netlink.remove_xdp(one.index, generic)
    else:
        netlink.remove_filter(one.index, one.hook)
        netlink.remove_clsact(one.index)
