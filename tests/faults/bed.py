"""One gateway between a client and a server, and what it says of itself while something is done to it.

The law of this file: it asks and times; each fault is in a test. NOTICE and MEND are what no machine, however busy, may
take longer; the figures themselves are in the table.
"""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from algate.alg.admin.messages import ControlError
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.faults.fault import Row
from tests.faults.traffic import Traffic
from tests.netns.talk import Echo, until

ECHO = 7007
CONTENT = bytes(range(256)) * 40
NOTICE = 5.0  # s; what is aimed at is 1
MEND = 20.0


class Bed:
    """A lab with servers and a running gateway."""

    def __init__(self, lab: Lab, gateway: AlgateGateway, server: FtpServer) -> None:
        self.lab, self.gateway, self.server = lab, gateway, server
        self._said = 0

    def mark(self) -> None:
        """From here on `repairs` counts."""
        self._said = len(self.gateway.log)

    def repairs(self, what: str) -> int:
        """How often the log says that this was put back."""
        return self.gateway.log[self._said :].count(f"{what}: somebody took it; put back")

    def renewed(self) -> int:
        """How often the log says that the run directory was made anew."""
        return self.gateway.log[self._said :].count("made anew")

    def stat(self, name: str) -> float:
        return float(self.gateway.ask("stats")[name])

    def cpu(self) -> float:
        """Seconds of processor time that the daemon has used."""
        assert self.gateway.process is not None
        words = Path(f"/proc/{self.gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def amiss(self) -> str:
        """What `status` finds amiss."""
        return "; ".join(one["detail"] for one in self.gateway.ask("status")["amiss"])

    @property
    def state(self) -> str:
        """As `status` says it."""
        with contextlib.suppress(ControlError):
            return str(self.gateway.ask("status")["state"])
        return "no daemon"

    @property
    def translating(self) -> bool:
        return self.state == "translating"

    def health(self) -> tuple[int, str]:
        """Status and text of /health."""

        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen("http://127.0.0.1:1025/health", timeout=5) as answer:
                    return answer.status, answer.read().decode().strip()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode().strip()

        return call_in(self.lab.gw.netns, ask)

    def traffic(self) -> Traffic:
        return Traffic(self.lab.client, self.lab.plan.servers[0], ECHO, self.server)


@contextlib.contextmanager
def made_bed(lab: Lab, gateway: AlgateGateway) -> Iterator[Bed]:
    """The servers and the gateway, until the end."""
    with Echo(lab.server, ECHO), gateway:
        server = start_server("vsftpd", lab.server)
        (server.pub / "file").write_bytes(CONTENT)
        yield Bed(lab, gateway, server)


class Incident:
    """A fault from its beginning to its end, as the row of the table has it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._since = time.monotonic()

    def inject(self, act: Callable[[], Any]) -> Any:
        """Do it; the clock runs from here. What it returned."""
        self._since = time.monotonic()
        return act()

    def noticed(self, seen: str, true: Callable[[], Any], seconds: float = NOTICE) -> Any:
        """Wait until the gateway has told it in the way that `seen` names."""
        answer = until(true, seconds)
        self.row.noticed, self.row.seen = time.monotonic() - self._since, seen
        return answer

    def mended(self, true: Callable[[], Any], seconds: float = MEND) -> None:
        """Wait until all is as before."""
        until(true, seconds)
        self.row.mended = time.monotonic() - self._since

    def spared(self, traffic: Traffic, fresh: bool = True) -> None:
        """Nothing may be lost: every session goes on, and every new one began, if there was a way (`fresh`)."""
        traffic.settle()
        self.row.lost = traffic.lost()
        assert not traffic.broken, f"{traffic.broken}: {self.row.lost}"
        assert not fresh or not traffic.fresh.unanswered, self.row.lost
