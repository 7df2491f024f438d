"""One trial: a client runs an errand through the gateway, both links are captured, the captures are judged.

The law of this file: it ties lab, servers, clients, captures and judge together for one side of the gateway; it draws
no table.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Self

from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import PortForward
from algate.cli.lab.host import Host
from algate.cli.lab.judge import InsideEnd, Mode, Scene, TrialFinding, judge
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import ClientRefusal, Errand, Operation, carry_out, order
from algate.cli.lab.wire import trace


class FtpWay(StrEnum):
    """How client and server meet: over IPv4, over IPv6 through the filter, or a client with IPv6 by NAT64."""

    FOUR = "IPv4"
    SIX = "IPv6"
    NAT64 = "NAT64"


NAT64_PREFIX = "2001:db8:64::/96"  # the well-known one is for global addresses alone


@dataclass(frozen=True)
class Result:
    """`refusal`: the client's own words if it can't do the errand; else `problems` is empty if everything was right."""

    findings: tuple[TrialFinding, ...]
    problems: tuple[str, ...]
    content_equal: bool
    refusal: str = ""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.refusal


def forwards(lab: Lab) -> tuple[PortForward, ...]:
    """What a gateway needs so that an FTP server inside can be reached."""
    return (PortForward(21, f"{lab.client.address}:21"),)


def digest(path: Path) -> str:
    """SHA-256 of a file; empty if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def scene_of(plan: LabPlan, side: InsideEnd, way: FtpWay) -> Scene:
    """Who is where."""
    if way is FtpWay.FOUR:
        return Scene(side, plan.clients[0], plan.public[0], plan.servers[0], plan.inside)
    inside = plan.clients6[0]
    if way is FtpWay.SIX:
        return Scene(side, inside, inside, plan.servers6[0], "")
    seen = str(IPv6Network(NAT64_PREFIX)[int(IPv4Address(plan.servers[0]))])
    return Scene(side, inside, plan.public[0], plan.servers[0], plan.inside6, seen=seen)


class TrialStage:
    """A server on one side and captures on both links, for any number of trials."""

    def __init__(self, lab: Lab, side: InsideEnd, server: str, way: FtpWay = FtpWay.FOUR) -> None:
        self.lab = lab
        self.side = side
        self.way = way
        self.scene = scene_of(lab.plan, side, way)
        self.server_host: Host = lab.server if side is InsideEnd.CLIENT else lab.client
        self.client_host: Host = lab.client if side is InsideEnd.CLIENT else lab.server
        self.target = self.scene.peer if side is InsideEnd.CLIENT else self.scene.public
        address = self.target if way is FtpWay.SIX else ""
        self.server: FtpServer = start_server(server, self.server_host, address=address)
        self.inside = Capture(lab.client)
        self.outside = Capture(lab.server, forbidden=(lab.plan.inside,))
        self._count = 0

    def close(self) -> None:
        self.inside.close()
        self.outside.close()
        self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def trial(self, client: str, mode: Mode, operation: Operation, content: bytes, seconds: float = 15) -> Result:
        """Run it and judge it. `content` is what is transferred; a listing must name the file that holds it."""
        self._count += 1
        name = f"f{self._count}.bin"
        remote, local = self.server.pub / name, self.lab.folder / f"local-{name}"
        source = local if operation is Operation.PUT else remote
        source.write_bytes(content)
        target = "pub" if operation is Operation.LIST else f"pub/{name}"
        errand = Errand(mode, operation, self.target, self.server.login, target, local, seconds=seconds)
        told = order(client, errand)
        self.inside.take(0.0)
        self.outside.take(0.0)
        outcome = carry_out(self.client_host, client, errand, told)
        if isinstance(told, ClientRefusal):
            return Result((), (), False, outcome.words)
        verdict = judge(self.scene, trace(self.inside.take()), trace(self.outside.take()), mode)
        equal = name in outcome.listing if operation is Operation.LIST else digest(remote) == digest(local) != ""
        problems = list(verdict.problems)
        if not outcome.ok:
            problems.insert(0, f"{client} failed with {outcome.code}: {outcome.words}")
        if not equal:
            problems.append("content differs")
        for path in (remote, local):
            path.unlink(missing_ok=True)
        return Result(tuple(verdict.findings), tuple(problems), equal)
