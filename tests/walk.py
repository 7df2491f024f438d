"""`python -m tests.walk`: the way of one line through the engine's modules, as a tree of rooms and a number of moves.

The law of this file: it watches and counts. A room is a module of alg/; a move is a call or a return that changes the
room. What isn't alg's own (the standard library, these tests) belongs to the room that called it, as does the making of
a value, and what a sink does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from types import FrameType

import algate.alg
from algate.alg.engine import effects as fx
from algate.alg.engine.sink import Sink
from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.model import Control, Conversation
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from tests.kernel_model import Packet
from tests.wire import Lab

ALG = Path(algate.alg.__path__[0]).resolve()
WIDTH = 110


class Room:
    """One stay in a module: `inner` are the stays in other modules that it calls for, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inner: list[Room] = []

    def __str__(self) -> str:
        return self.name + (f"({' '.join(map(str, self.inner))})" if self.inner else "")

    def names(self) -> list[str]:
        """Of this room and all inner ones, in order of entry."""
        return [self.name, *(name for room in self.inner for name in room.names())]

    @property
    def moves(self) -> int:
        """One into each inner room and one back."""
        return 2 * (len(self.names()) - 1)


def walk(work: Callable[[], object]) -> Room:
    """What `work` enters, seen from outside: its rooms are the `inner` of a room without a name."""
    outside = Room("")
    stack = [outside]  # of each Python frame that runs

    def follow(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            here, name = stack[-1], room_of(frame.f_code.co_filename)
            kinds = (Fixed, Sink) if frame.f_code.co_name == "__init__" else Sink
            if name and name != here.name and not isinstance(frame.f_locals.get("self"), kinds):
                here.inner.append(Room(name))
                here = here.inner[-1]
            stack.append(here)
        elif event == "return" and len(stack) > 1:
            stack.pop()

    sys.setprofile(follow)
    try:
        work()
    finally:
        sys.setprofile(None)
    return outside


def room_of(file: str) -> str:
    """`engine/flow.py` -> `flow`, a plug-in's own module with its package: `ftp.client`. Empty if not of alg/."""
    path = Path(file)
    if not path.is_absolute() or ALG not in path.resolve().parents:
        return ""
    package = path.parent.name
    return f"{package}.{path.stem}" if path.resolve().parents[1].name == "protocols" else path.stem


class Dialogue(Lab):
    """An FTP session of a client inside, logged in, with the timestamps that real ends send."""

    def __init__(self) -> None:
        super().__init__(stamps=True)
        self.say(1, b"220 hi\r\n")
        self.say(0, b"USER u\r\n")
        self.say(1, b"230 in\r\n")

    def _open(self, control: Control) -> Conversation | None:
        return PLUGIN.open(control, FtpPolicy())

    def say(self, direction: int, line: bytes) -> None:
        """An end says a line and it arrives."""
        self.launch(direction, self._next(direction, line))
        self.run()

    def watched(self, line: bytes) -> Room:
        """The engine's part, when the client says that line."""
        self.kernel.segment(fx.OUT, self._next(fx.OUT, line))
        (segment,) = self.punts
        return walk(lambda: self.engine.segment(segment, self.now)).inner[0]

    def _next(self, direction: int, line: bytes) -> Packet:
        end = self.ends[direction]
        end.stream += line
        return end.send(end.sent, len(line))


LINES = {
    "A PORT line, client inside": b"PORT 10,0,0,5,19,137\r\n",
    "A line that passes": b"SITE HELP\r\n",
}


def report() -> str:
    """The walks of LINES, as alg/engine/README.md shows them."""
    parts = []
    for title, line in LINES.items():
        room = Dialogue().watched(line)
        parts.append(f"{title}: {len(set(room.names()))} rooms, {room.moves} moves\n")
        parts.append(fill(str(room), WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(report())
