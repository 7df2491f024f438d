"""Taking a gateway off its devices, whether or not its daemon is alive, its run directory or its pins are still there.

The law of this file: it undoes what the state file names, then looks for what is left: programs are known by what they
are. It never says "down" while something of this gateway's is left, and touches nothing of another one's.
"""

from __future__ import annotations

import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from algate.alg.admin import control
from algate.alg.errors import DONE, FAILED, MISSING, AlgateError
from algate.alg.gateway import namespace, ownership
from algate.alg.gateway.claim import refuse_unsafe
from algate.alg.gateway.datapath import Datapath
from algate.alg.gateway.ownership import Found, Owner, Owners
from algate.alg.gateway.state import NewerStateError, State
from algate.bpf import pins

DEFAULT = Path("/run/algate")
LOST_SECONDS = 5.0  # in which a living daemon makes a lost run directory anew


def down(run_dir: Path, purge: bool) -> int:
    """`algate down`, with a daemon or without one."""
    namespace.require_root("algate down")
    refuse_unsafe(run_dir)
    was = _was_up(run_dir)
    _ask(run_dir, purge)
    with namespace.claimed(run_dir) if run_dir.is_dir() else contextlib.nullcontext():
        state = _state(run_dir)
        was = was or bool(state.devices)
        with namespace.entered(state.netns):
            Datapath(state, "auto").detach()
            taken, others = _search(Owners(run_dir), here=True)
        if not state.netns and pins.exists(run_dir):
            taken += _search_elsewhere(run_dir)
        if purge:
            pins.remove(run_dir)
    return _say(run_dir, was or bool(taken), others)


def _state(run_dir: Path) -> State:
    """What the run directory says of the devices. If that can't be read, the search finds what it would have named; but
    not what only a newer version knows."""
    try:
        return State.load(run_dir)
    except NewerStateError:
        raise
    except AlgateError as error:
        print(f"algate: {error}", file=sys.stderr)
        return State(run_dir / "state.json")


def _was_up(run_dir: Path) -> bool:
    return control.socket_path(run_dir).exists() or pins.exists(run_dir)


def _ask(run_dir: Path, purge: bool) -> None:
    """Have the daemon itself do it. One whose run directory was lost makes it anew in a moment."""
    until = time.monotonic() + LOST_SECONDS
    while True:
        try:
            control.request(run_dir, "down", {"purge": purge})
            return
        except control.ControlError as error:
            if error.exit_code == MISSING:
                raise
            if not pins.held(run_dir) or control.socket_path(run_dir).exists():
                return
            if time.monotonic() > until:
                raise AlgateError(
                    f"a daemon holds the pins of {run_dir} and doesn't answer: end it, then run this again"
                ) from None
        time.sleep(0.1)


def _search(owners: Owners, here: bool) -> tuple[list[Found], list[Found]]:
    """Take off what is left of this gateway in the present network namespace; what was taken off, and what isn't ours.
    `here`: also what belongs to no gateway any more, since its maps are pinned nowhere."""
    mine = (Owner.OWN, Owner.NONE) if here else (Owner.OWN,)
    found = ownership.search(owners)
    taken = [one for one in found if one.owner in mine]
    for one in taken:
        ownership.remove(one)
        whose = "its maps are pinned nowhere" if one.owner is Owner.NONE else "no state named it"
        print(f"algate: took {one.program} off {one.device} ({whose})", file=sys.stderr)
    left = [one for one in ownership.search(owners) if one.owner in (*mine, Owner.UNKNOWN)]
    if left:
        names = ", ".join(f"{one.program} on {one.device}" for one in left)
        raise AlgateError(f"not down: {names} can't be taken off; try as root with all capabilities")
    return taken, [one for one in found if one.owner is Owner.OTHER]


def _search_elsewhere(run_dir: Path) -> list[Found]:
    """Without a state nobody says in which network namespace it was: look into all that have a name. In a thread:
    whoever ends all processes of a namespace must not take this one for one of them."""

    def look(inode: int) -> list[Found]:
        with contextlib.suppress(OSError), namespace.entered(inode):
            return _search(Owners(run_dir), here=False)[0]
        return []

    with ThreadPoolExecutor(1) as thread:
        there = [inode for inode, _ in list(namespace.named()) if inode != namespace.current()]
        return [one for inode in there for one in thread.submit(look, inode).result()]


def _say(run_dir: Path, was: bool, others: list[Found]) -> int:
    """Nothing up is well (a second `down`), but in a directory that isn't there, other than the usual one, which a
    boot empties: that name was mistyped."""
    if was:
        print(f"algate: down on {run_dir}", file=sys.stderr)
        return DONE
    wrong = not run_dir.is_dir() and run_dir.absolute() != DEFAULT
    print(f"algate: nothing was up on {run_dir}" + (": there is no such directory" if wrong else ""), file=sys.stderr)
    if others:
        names = ", ".join(dict.fromkeys(one.device for one in others))
        print(f"algate: another gateway is up on {names}: which --run-dir has it?", file=sys.stderr)
    return FAILED if wrong else DONE
