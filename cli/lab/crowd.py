"""Conversations through a pair of gateways, whose ends are programs of their own (ends.py).

The law of this file: processes and orders; an end that fails is a LabError with what it said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from algate.cli.lab.host import PATIENCE, Host, LabError

SCRIPT = Path(__file__).with_name("ends.py")
PORT, IDLE = 7107, 7108  # of the far end


class EndProgram:
    """One program of ends.py in a host's namespace, ready when made. `order` and `answer` may be apart."""

    def __init__(self, host: Host, role: str, address: str, port: int = PORT) -> None:
        self.role = role
        log = host.folder / f"{host.name}-ends-{role}.log"
        with log.open("w") as sink:
            self.process = subprocess.Popen(
                host.command([sys.executable, str(SCRIPT), role, address, str(port)]),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True, start_new_session=True,
            )  # fmt: skip
        self._log = log
        self.answer()

    def order(self, name: str, number: int = 0, *more: float | str) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, number, *more]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of it. LabError if that is an error."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": self._log.read_text(errors="replace")[-300:]}
        if "error" in told:
            raise LabError(f"{self.role}: {told['error']}")
        return told

    def do(self, name: str, number: int = 0, *more: float | str) -> dict[str, Any]:
        """Both."""
        self.order(name, number, *more)
        return self.answer()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10 * PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Crowd:
    """Near ends at the client, by role, and the far end of all at the server. A context manager."""

    def __init__(self, client: Host, server: Host, address: str) -> None:
        self.client, self.server, self.address = client, server, address
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._far = self.end(self.server, "far", PORT)
        self.end(self.server, "reflect", PORT)
        return self

    def end(self, host: Host, role: str, port: int = PORT) -> EndProgram:
        """A program of that role, until the crowd ends."""
        made = EndProgram(host, role, self.address, port)
        self._stack.callback(made.close)
        return made

    def near(self, role: str, port: int = PORT) -> EndProgram:
        """One at the client."""
        return self.end(self.client, role, port)

    def working(self, turn: int, *idle: EndProgram) -> int:
        """How many of these idle ones go on, the far end speaking first."""
        for one in idle:
            one.order("check", turn)
        self._far.do("speak")
        return sum(int(one.answer()["working"]) for one in idle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
