"""A daemon that is there and doesn't answer: what is known of it all the same, from the kernel's tables and /proc.

The law of this file: it reads, changes nothing and waits for nobody. What can't be read (no privilege, no pins, another
version's) is None: the question comes when things are bad.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from algate.alg.admin import control
from algate.alg.answers import SilentAnswer
from algate.alg.errors import AlgateError
from algate.alg.gateway.state import State
from algate.bpf import abi, pins, ticks
from algate.bpf.packing import from_native
from algate.bpf.pinned import Pinned

FIX = "its log says more; `systemctl restart algate`, or end it and start `algate run`: sessions go on"
STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for the disk", "R": "busy", "S": "waiting"}


@dataclass(frozen=True)
class Pulse:
    """What the kernel knows: `age` in s of the helper's last sign of life (None: none, or it said that it ends),
    whether that is recent enough, sessions, and `fail` for control sessions."""

    age: float | None
    alive: bool
    sessions: int
    fail: str


def pulse(run_dir: Path) -> Pulse | None:
    """From the pinned tables of this version; None if they can't be read."""
    with contextlib.suppress(AlgateError, OSError, StopIteration):
        folder = _folder(run_dir)
        if folder is None:
            return None
        with Pinned(folder) as maps:
            beat = from_native(next(maps.items("heartbeat"))[1])
            config = abi.Config.unpack(next(maps.items("configs"))[1])
            counted = maps.counters("counters")
        passed = ticks.count() - beat
        made, ended = counted[abi.Counter.SESSIONS_NEW], counted[abi.Counter.SESSIONS_ENDED]
        return Pulse(
            max(0, passed) * ticks.SECONDS if beat else None, bool(beat) and passed < config.helper_timeout,
            max(0, made - ended), "open" if config.flags & abi.ConfigFlag.FAIL_OPEN else "closed",
        )  # fmt: skip
    return None


def _folder(run_dir: Path) -> Path | None:
    return pins.folder(run_dir) / abi.layout_hash() if pins.exists(run_dir) else None


def listener(run_dir: Path) -> int | None:
    """Process id of the daemon, from its socket: the kernel answers that."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(control.SOON)
        with control.sun_path(control.socket_path(run_dir)) as address:
            probe.connect(address)
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid or None
    return None


def doing(pid: int | None) -> str | None:
    """In a word, what the process does."""
    with contextlib.suppress(OSError, IndexError):
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return STATES.get(letter, letter)
    return None


def known(run_dir: Path) -> SilentAnswer:
    """The object of `algate status` for a daemon that doesn't answer. `state` never says "translating"."""
    pid, seen = listener(run_dir), pulse(run_dir)
    state = None
    with contextlib.suppress(AlgateError, OSError):
        state = State.load(run_dir)
    devices = list(state.devices.values()) if state else []
    return {
        "state": "the daemon doesn't answer", "pid": pid, "process": doing(pid), "uptime": _uptime(pid),
        "run_dir": str(run_dir),
        "lan": [one.name for one in devices if one.role == "lan"],
        "wan": next((one.name for one in devices if one.role == "wan"), None),
        "heartbeat_age": seen.age if seen else None, "helper_alive": seen.alive if seen else None,
        "sessions": seen.sessions if seen else None, "fail": seen.fail if seen else None,
    }  # fmt: skip


def _uptime(pid: int | None) -> float | None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return ticks.count() * ticks.SECONDS - began / os.sysconf("SC_CLK_TCK")
    return None


def hung(run_dir: Path) -> str:
    """Why a daemon that hasn't answered for some seconds won't; "": it is alive and may yet, or nothing is known."""
    found = known(run_dir)
    if found["helper_alive"] is False or str(found["process"]).startswith(STATES["T"]):
        return f"{sentence(found)} ({FIX})"
    return ""


def sentence(found: SilentAnswer) -> str:
    """`known` as a line for people."""
    who = f"the daemon on {found['run_dir']}" + (f" (pid {found['pid']})" if found["pid"] else "")
    words = [f"{who} doesn't answer" + (f" and is {found['process']}" if found["process"] else "")]
    age, fail = found["heartbeat_age"], found["fail"]
    if found["helper_alive"]:
        words.append(f"it gave a sign of life {age:.1f} s ago: try again")
    elif fail is not None:
        last = f"its last sign of life is {age:.1f} s old" if age is not None else "it gave no sign of life"
        wait = "wait" if fail == "closed" else "pass unread"
        count = found["sessions"]
        on = f"{count} sessions go on" if count != 1 else "1 session goes on"
        words.append(f"{last}; {on} in the kernel, control sessions {wait}")
    else:
        words.append("the kernel's tables can't be read here")
    return "; ".join(words)
