"""Was an FTP dialogue translated correctly? Judged by what both links show, not by what any program claims.

The law of this file: pure, and independent of the gateway's own parser: most FTP clients repair or ignore a wrong
227, so a finished transfer proves little, and a judge that shares code with what it judges proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from algate.cli.lab.wire import Connection, Peer, Trace


class InsideEnd(StrEnum):
    """Which of client and server is inside."""

    CLIENT = "client"
    SERVER = "server"


class Mode(StrEnum):
    """How the data connection is announced (RFC 959 PORT, PASV; RFC 2428 EPRT, EPSV)."""

    PORT = "PORT"
    EPRT = "EPRT"
    PASV = "PASV"
    EPSV = "EPSV"

    @property
    def active(self) -> bool:
        """The client announces and the server connects."""
        return self in (Mode.PORT, Mode.EPRT)


@dataclass(frozen=True)
class Scene:
    """Who is where. `inside`: the private host, `public`: what the outside must see, `outside`: the peer. Between two
    families (NAT64) the inside knows the peer as `seen`. `private`: what mustn't be seen outside, "" if nothing is."""

    side: InsideEnd
    inside: str
    public: str
    outside: str
    private: str = "10.77.0.0/24"
    port: int = 21
    min_port: int = 1024
    seen: str = ""

    @property
    def peer(self) -> str:
        """The peer as the inside knows it."""
        return self.seen or self.outside

    @property
    def hidden(self) -> IPv4Network | IPv6Network:
        """What is `private`; with nothing that is, a network of no lab."""
        return ip_network(self.private or "192.0.2.255/32")


@dataclass(frozen=True)
class Announcement:
    """A line that announces a data connection; `ip` is None for a 229, which has none."""

    mode: Mode
    ip: str | None
    port: int
    line: str


@dataclass(frozen=True)
class TrialFinding:
    """One data connection with the lines that announced it, as both links show it."""

    mode: Mode
    inside_line: str
    outside_line: str
    inside_peer: Peer  # the inside host's end
    public_peer: Peer  # the same end as the outside sees it
    outside_peer: Peer
    public_port: int
    size: int  # payload bytes
    seconds: float


@dataclass
class WireVerdict:
    """`problems` is empty if everything was right."""

    findings: list[TrialFinding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.findings) and not self.problems


_COMMAND = re.compile(
    rb"(?i)^(PORT) +(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\s*$|^(EPRT) +\|[12]\|([\da-fA-F.:]+)\|(\d+)\|\s*$"
)
_REPLY = re.compile(rb"^227[ -].*?(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)|^229[ -].*\(\|\|\|(\d+)\|\)")
_ADDRESS = re.compile(rb"(?<![\d.,])(\d{1,3})([.,])(\d{1,3})\2(\d{1,3})\2(\d{1,3})(?!\d)")


def announcement(line: bytes, from_client: bool) -> Announcement | None:
    """The announcement in a control line, if there is one."""
    match = (_COMMAND if from_client else _REPLY).match(line)
    if match is None:
        return None
    parts = [part.decode() for part in match.groups(default=b"")]
    text = line.decode("ascii", "replace")
    if from_client and parts[7]:
        return Announcement(Mode.EPRT, str(ip_address(parts[8])), int(parts[9]), text)
    if from_client:
        return Announcement(Mode.PORT, ".".join(parts[1:5]), int(parts[5]) * 256 + int(parts[6]), text)
    if parts[6]:
        return Announcement(Mode.EPSV, None, int(parts[6]), text)
    return Announcement(Mode.PASV, ".".join(parts[0:4]), int(parts[4]) * 256 + int(parts[5]), text)


def split(stream: bytes, from_client: bool) -> tuple[list[Announcement], list[bytes]]:
    """The announcements in a stream, and all its other lines."""
    lines = stream.split(b"\r\n")
    found = [announcement(line, from_client) for line in lines]
    return [a for a in found if a], [line for line, a in zip(lines, found, strict=True) if a is None]


def private_text(stream: bytes, private: IPv4Network | IPv6Network) -> list[str]:
    """Addresses of the private network written out in a stream, with dots or commas."""
    found = []
    for match in _ADDRESS.finditer(stream):
        numbers = [int(match[i]) for i in (1, 3, 4, 5)]
        if max(numbers) < 256 and IPv4Address(bytes(numbers)) in private:
            found.append(match[0].decode())
    return found


def judge(scene: Scene, inside: Trace, outside: Trace, wanted: Mode | None = None) -> WireVerdict:
    """Compare both links. `wanted`: every announcement must be of that mode, which shows a client that fell back."""
    verdict = WireVerdict()
    complain = verdict.problems.append
    leaks = sorted(ip for ip in outside.addresses() if ip_address(ip) in scene.hidden)
    if leaks:
        complain(f"private address in an IP header outside: {', '.join(leaks)}")
    pairs = _control_pairs(scene, inside, outside, complain)
    unclaimed = outside.data(scene.port)
    unclaimed_inside = inside.data(scene.port)
    for within, without in pairs:
        announced = _compare_streams(scene, within, without, complain)
        for a, b in announced:
            if wanted is not None and a.mode != wanted:
                complain(f"{a.mode} was used, not {wanted}: {a.line}")
            finding = _data_connection(scene, a, b, unclaimed_inside, unclaimed, complain)
            if finding is not None:
                verdict.findings.append(finding)
    for connection in unclaimed:
        complain(f"nobody announced the connection {connection.client} to {connection.server}")
    if not verdict.findings and not verdict.problems:
        complain("no data connection was announced")
    return verdict


def _control_pairs(
    scene: Scene, inside: Trace, outside: Trace, complain: Callable[[str], None]
) -> list[tuple[Connection, Connection]]:
    within, without = inside.control(scene.port), outside.control(scene.port)
    if not without or len(within) != len(without):
        complain(f"{len(within)} control connections inside, {len(without)} outside")
    ends = (scene.public, scene.outside) if scene.side is InsideEnd.CLIENT else (scene.outside, scene.public)
    for connection in without:
        if (connection.client.ip, connection.server.ip) != ends:
            complain(f"control connection outside from {connection.client} to {connection.server}")
    return list(zip(within, without, strict=False))


def _compare_streams(
    scene: Scene, within: Connection, without: Connection, complain: Callable[[str], None]
) -> list[tuple[Announcement, Announcement]]:
    """Everything but the announcements must be equal; returns these as pairs (inside, outside)."""
    pairs: list[tuple[Announcement, Announcement]] = []
    for from_client in (True, False):
        a, b = (c.up.bytes() if from_client else c.down.bytes() if c.down else b"" for c in (within, without))
        (said, rest), (seen, other) = split(a, from_client), split(b, from_client)
        who = "client" if from_client else "server"
        if scene.seen:
            other = [b"EPSV" if line == b"PASV" else line for line in other]
        if rest != other:
            complain(f"what the {who} says differs between the links, not only in its announcements")
        if len(said) != len(seen):
            complain(f"the {who} made {len(said)} announcements inside, {len(seen)} outside")
        for leak in private_text(b, scene.hidden):
            complain(f"private address in the {who}'s text outside: {leak}")
        pairs += zip(said, seen, strict=False)
    return pairs


def _data_connection(
    scene: Scene,
    said: Announcement,
    seen: Announcement,
    inside: list[Connection],
    outside: list[Connection],
    complain: Callable[[str], None],
) -> TrialFinding | None:
    """The connection that an announcement led to, checked on both links and removed from the lists."""
    inward = seen.mode.active == (scene.side is InsideEnd.CLIENT)  # the inside host announces and accepts
    owner, private_owner = (scene.public, scene.inside) if inward else (scene.outside, scene.peer)
    if seen.ip not in (None, owner) or said.ip not in (None, private_owner):
        complain(f"wrong address: inside {said.line!r}, outside {seen.line!r}")
    if said.line != seen.line and not scene.seen and (not inward or scene.public == scene.inside):
        complain(f"changed needlessly: inside {said.line!r}, outside {seen.line!r}")
    if inward and seen.port < scene.min_port:
        complain(f"public port {seen.port} is below {scene.min_port}: {seen.line}")
    caller = scene.outside if inward else scene.public
    private_caller = scene.peer if inward else scene.inside
    found = _strike(outside, Peer(owner, seen.port), caller)
    twin = _strike(inside, Peer(private_owner, said.port), private_caller)
    if found is None or twin is None:
        missing = " and ".join(n for n, c in (("outside", found), ("inside", twin)) if c is None)
        complain(f"the announced port isn't the one that connects ({missing}): {seen.line}")
        return None
    for connection, where in ((found, "outside"), (twin, "inside")):
        if not connection.established or not connection.finished:
            complain(f"the data connection to {connection.server} {where} wasn't completed")
    if found.size != twin.size:
        complain(f"{twin.size} bytes of data inside, {found.size} outside")
    public, peer = (found.server, found.client) if inward else (found.client, found.server)
    private_peer = twin.server if inward else twin.client
    size, seconds = found.size, max(found.seconds, twin.seconds)
    return TrialFinding(seen.mode, said.line, seen.line, private_peer, public, peer, public.port, size, seconds)


def _strike(connections: list[Connection], server: Peer, caller: str) -> Connection | None:
    for index, connection in enumerate(connections):
        if connection.server == server and connection.client.ip == caller:
            return connections.pop(index)
    return None
