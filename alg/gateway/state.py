"""What this gateway made or changed on the host, written down beforehand, so that any later process can undo it.

The law of this file: one JSON file in the run directory. It does nothing to the host.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from algate.alg.errors import AlgateError

# Of this version; raised with a field that whoever takes the gateway down must know. 0: before this was said.
READER = 1
KNOWN = ("reader", "netns", "devices", "switches")


class NewerStateError(AlgateError):
    """What a newer version wrote down is more than this one can undo."""


@dataclass
class DeviceState:
    """One device: its role, whether its clsact is ours, its XDP mode ("", "generic", "native"), the former switch, the
    ids of the programs on its own hooks: at egress, and in front of the ingress filter (0: none). `more`: fields that
    this version doesn't know."""

    name: str
    index: int
    role: str
    clsact: bool = False
    xdp: str = ""
    forwarding: str | None = None
    tcx: int = 0
    front: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, data: dict[str, Any]) -> DeviceState:
        """TypeError if a field that has to be there isn't."""
        known = [one.name for one in fields(cls) if one.name != "more"]
        more = {name: value for name, value in data.items() if name not in known}
        return cls(**{name: data[name] for name in known if name in data}, more=more)

    def written(self) -> dict[str, Any]:
        """What `read` reads."""
        found = asdict(self)
        del found["more"]
        return self.more | found


@dataclass
class State:
    """`devices` by name; `netns`: the inode of their network namespace; `switches`: what others of the host were
    before, by path; `more`: fields that this version doesn't know. Call `save` after each change."""

    path: Path
    netns: int = 0
    devices: dict[str, DeviceState] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, run_dir: Path) -> State:
        """The state left by an earlier run; empty if there is none. AlgateError if the file is damaged.

        A field that this version doesn't know is a newer version's, and no damage: it is passed over, and written back
        as it was, so that the newer one finds it again. Where that isn't safe, since whoever takes the gateway down has
        something more to undo, the file says so: `reader` is the least READER of the versions that may go on with it.
        An older one changes nothing then (NewerStateError)."""
        path = run_dir / "state.json"
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            if data.get("reader", 0) > READER:
                raise NewerStateError(
                    f"{path} is of a newer version of algate, which may have changed more than this one can undo:"
                    " `algate down` with that version first (or remove the file, and what it alone names stays)"
                )
            devices = {name: DeviceState.read(one) for name, one in data["devices"].items()}
            more = {name: value for name, value in data.items() if name not in KNOWN}
            return cls(path, data["netns"], devices, dict(data.get("switches", {})), more)
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AlgateError(f"{path} is damaged: `algate down` goes without it, then start again") from None

    def save(self) -> None:
        """Replace the whole file, so that a crash or a full disk leaves either the old or the new one. AlgateError if
        it can't be written."""
        self.netns = os.stat("/proc/self/ns/net").st_ino
        devices = {name: one.written() for name, one in self.devices.items()}
        data = self.more | {"reader": READER, "netns": self.netns, "devices": devices}
        data |= {"switches": self.switches} if self.switches else {}
        fresh = self.path.with_suffix(".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump(data, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise AlgateError(f"can't write {self.path}: {error.strerror}; what it said before stays") from None

    def lost(self) -> bool:
        """Whether there is something to undo, and no file that says so."""
        return bool(self.devices) and not self.path.exists()

    def forget(self) -> None:
        """Remove the file: nothing is left to undo."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
