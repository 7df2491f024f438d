"""Real TCP of the lab's own stacks through the gateway: past narrow links, under a flood; and overlapping prefixes.

The law of this file: sockets of lab hosts move the bytes, in threads; ghosts make trouble; what arrived is compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass

from algate.cli.lab.lab import ip
from tests.compliance import packet as pk
from tests.compliance.bed import Row
from tests.compliance.mtu import mtu
from tests.compliance.packet import UDP, Ip
from tests.compliance.plan import WAN
from tests.compliance.talk import map_udp
from tests.compliance.verdict import MUST, need, requirement

IP_MTU = 14  # linux/in.h
PATIENCE = 25.0  # s for a transfer that takes a fraction of that
NARROW = 1280
FOREIGN = "10.77.250.1/16"  # an outside prefix that is the inside one


@dataclass
class Upload:
    """What a client sent, what the server got, and the path MTU that the client's stack had found at the end."""

    sent: str
    got: str
    mtu: int

    @property
    def whole(self) -> bool:
        return self.sent == self.got


async def upload(row: Row, port: int, size: int) -> Upload:
    """`size` bytes from the first client to the server. OSError if it takes longer than PATIENCE."""
    lab = row.bed.lab
    with lab.server.socket() as listener, lab.clients[0].socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((lab.plan.servers[0], port))
        listener.listen()
        for one in (listener, client):
            one.settimeout(PATIENCE)
        receiver = asyncio.create_task(asyncio.to_thread(_receive, listener))
        sent, path = await asyncio.to_thread(_send, client, (lab.plan.servers[0], port), size)
        return Upload(sent, await receiver, path)


def _send(client: socket.socket, to: tuple[str, int], size: int) -> tuple[str, int]:
    data = random.Random(size).randbytes(size)
    client.connect(to)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    client.recv(1)  # the server has it all
    return hashlib.sha256(data).hexdigest(), client.getsockopt(socket.IPPROTO_IP, IP_MTU)


def _receive(listener: socket.socket) -> str:
    digest = hashlib.sha256()
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        while data := connection.recv(1 << 16):
            digest.update(data)
    return digest.hexdigest()


@requirement("4787-13-tcp", MUST, "a real TCP stack finds the path MTU through the gateway and goes on", alone=True)
async def path_mtu(row: Row) -> None:
    for host, device in (("router", "eth1"), ("gw", WAN)):
        with mtu(row, host, device, NARROW):
            try:
                done = await upload(row, row.port(), 1 << 20)
            except OSError:
                need(False, f"an upload stalls when {host} {device} is narrow")
                raise
            finally:
                ip("route flush cache", row.bed.lab.clients[0].netns)
        need(done.whole, "the bytes arrive changed")
        need(done.mtu == NARROW, f"the client believes in {done.mtu} bytes past {host} {device}")


@requirement("4787-14a-bulk", MUST, "a flood of lone tails leaves a running TCP transfer alone", alone=True)
async def bulk_under_flood(row: Row) -> None:
    transfer = asyncio.create_task(upload(row, row.port(), 48 << 20))
    number = 0
    while not transfer.done() and number < 400_000:
        for _ in range(64):
            head = Ip(ident=number & 0xFFFF, offset=1480)
            row.lan2.raw(pk.ip(row.lan2.ip, row.a1.ip, UDP, bytes(32), head))
            row.a2.raw(pk.ip(row.a2.ip, row.public, UDP, bytes(32), head))
            number += 1
        await asyncio.sleep(0.001)
    with contextlib.suppress(OSError):
        done = await transfer
        need(done.whole, "the bytes arrive changed")
        need(number >= 64, "the transfer was over before the flood began")
        return
    need(False, "the transfer stalls")


@requirement("4787-7", MUST, "inside and outside prefixes that overlap are handled: refused in plain words", alone=True)
async def overlapping_prefixes(row: Row) -> str:
    """Nothing is translated while they overlap; afterwards all works as before."""
    netns = row.bed.lab.gw.netns
    ip(f"addr add {FOREIGN} dev {WAN} noprefixroute", netns)
    try:
        need(not row.kernel, "the address is taken without a word")
        need(await _says(row, lambda state: "overlap" in state), "the daemon does not say so")
    finally:
        ip(f"addr del {FOREIGN} dev {WAN}", netns)
    need(await _says(row, lambda state: state == "translating"), "it does not go on when the prefix is gone")
    await map_udp(row, row.lan1, row.port(), row.a1, 53)
    return "by refusing them"


async def _says(row: Row, right: Callable[[str], bool]) -> bool:
    for _ in range(100):
        if right(row.bed.station.ask("status")["state"]):
            return True
        await asyncio.sleep(0.05)
    return False
