"""FTP sessions/s of an IPv6 client by NAT64, beside those of an IPv4 client: the same gateway, and servers that are
asked for the same.

The law of this file: as that of ftp.py. The server reads PASV or PORT either way (RFC 6384): of the one client EPSV and
its 227 are rewritten, or EPRT; of the other PASV and its 227 pass, or PORT is rewritten. Before each sample all helpers
come to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from algate.cli.bench.contenders import NAT64, TC, contender
from algate.cli.bench.driven import Drive
from algate.cli.bench.ftp import EACH, ENOUGH
from algate.cli.bench.ftp_helper import let_rest
from algate.cli.bench.ftp_servers import BenchServers, make_room
from algate.cli.bench.plan import ASKED, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.trial import NAT64_PREFIX

SERVERS = ("minimal", "vsftpd")


def sessions_figure(server: str, mode: str, clients: int) -> Figure:
    ways = f"NAT64 by {mode.upper()} and IPv4 by {ASKED[mode].upper()}"
    what = f"{ways}, {server}, {clients} client{'s' if clients > 1 else ''}"
    return Figure(f"ftp6.{server}.{mode}.{clients}", f"FTP sessions/s, {what}", "sessions/s", MORE)


@dataclass(frozen=True)
class FamilyStand:
    """A gateway in its own lab. `target`: the server as its clients have it."""

    name: str
    target: str
    drive: Drive
    servers: BenchServers
    gateway: LabGateway


class SixFtp:
    """Both stand at once and take turns sample by sample."""

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record, self._stack = plan, record, stack
        self._stands: list[FamilyStand] = []

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        yield "six: FTP", lambda: self._round(number)

    def _round(self, number: int) -> None:
        with ExitStack() as stack:
            stands = [self._stand(name, stack) for name in self.plan.turn((TC, NAT64), number)]
            for kind in SERVERS:
                if kind in self.plan.servers:
                    self._server(kind, stands, number)

    def _stand(self, name: str, stack: ExitStack) -> FamilyStand:
        lab = stack.enter_context(Lab(LabPlan(six=True)))
        for host in (lab.client, lab.server):
            make_room(host)
        four = lab.plan.servers[0]
        target = NAT64_PREFIX.replace("::/96", f"::{four}") if name == NAT64 else four
        drive, servers = Drive(lab), BenchServers(lab.server, lab.folder)
        return FamilyStand(name, target, drive, servers, stack.enter_context(contender(name, lab, None)))

    def _server(self, kind: str, stands: list[FamilyStand], number: int) -> None:
        with ExitStack() as stack:
            pairs = [(stand, stack.enter_context(stand.servers.start(kind))) for stand in stands]
            for clients in self.plan.clients:
                for mode, plain in ASKED.items():
                    for stand, server in pairs:
                        let_rest([one.gateway for one in stands])
                        figure, enough = sessions_figure(kind, mode, clients), max(ENOUGH, EACH * clients)
                        target, seconds = stand.target, self.plan.ftp_seconds
                        said = mode if stand.name == NAT64 else plain
                        driven = stand.drive.run(server, said, clients, seconds, enough, target=target)
                        if isinstance(driven, str):
                            self.record.refuse(figure, stand.name, driven)
                        else:
                            self.record.add(figure, stand.name, number, driven.count / driven.seconds)
