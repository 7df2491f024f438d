"""What once waited for a timer takes about as long as through the kernel's NAT and FTP helper, in the same run.

Timed from captures on both links: from the client's SYN to the arrival of what waited at the other end. Ratios, since a
busy machine makes both slower; a timer of 50 or 200 ms is 20 to 100 times what a whole dialogue takes. That nothing
waits is tested without a clock, too: tests/netns/test_waits.py, tests/bpf/test_waits.py, tests/cases.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from algate.cli.bench.contenders import NFT, TC, contender
from algate.cli.bench.ftp_servers import make_room
from algate.cli.bench.spread import percentile
from algate.cli.lab.capture import Capture
from algate.cli.lab.lab import Lab
from algate.cli.lab.wire import ACK, RST, SYN, Peer, SeenSegment

pytestmark = pytest.mark.bench
SESSIONS = 30
MOST = 12.0  # times nft's: more on a busy machine than alone, where it is about 3
PATIENCE = 2.0  # s
BEHIND = (0.0, 0.0003, 0.001)  # s between a last reply and the FIN: before, while and after it waits for the helper
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
Seen = Callable[[SeenSegment], bool]


class Bench:
    """A gateway, one end's listener, and captures of both links."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.lab = stack.enter_context(Lab())
        for host in (self.lab.client, self.lab.server):
            make_room(host)
        stack.enter_context(contender(name, self.lab, None))
        self.inside = stack.enter_context(Capture(self.lab.client))
        self.outside = stack.enter_context(Capture(self.lab.server))
        self.listener = stack.enter_context(self.lab.server.socket())
        self.listener.bind((self.lab.plan.servers[0], 21))
        self.listener.listen(8)

    def took(self, act: Act) -> float:
        """Seconds from the client's SYN until what waited is seen at the other end."""
        self.inside.take(), self.outside.take()
        with Dialogue(self) as talk:
            capture, wanted = act(talk)
            inside, outside = self.inside.take(), self.outside.take()
        began = next(one.time for one in inside if one.outgoing and one.flags & SYN)
        there = inside if capture is self.inside else outside
        arrived = next((one.time for one in there if not one.outgoing and wanted(one)), None)
        assert arrived is not None, "what waited never came"
        return arrived - began


class Dialogue:
    """Both ends of a control session, logged in."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.client = bench.lab.client.socket()
        self.client.settimeout(PATIENCE)
        self.client.connect(bench.listener.getsockname())
        self.server, _ = bench.listener.accept()
        self.server.settimeout(PATIENCE)
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer(b"220 ready\r\n")
        for command, reply in ((b"USER lab\r\n", b"331 password\r\n"), (b"PASS lab\r\n", b"230 in\r\n")):
            self.ask(command)
            self.answer(reply)

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()

    def ask(self, line: bytes) -> bytes:
        self.client.sendall(line)
        return heard(self.server)

    def answer(self, line: bytes) -> bytes:
        self.server.sendall(line)
        return heard(self.client)


Act = Callable[[Dialogue], tuple[Capture, Seen]]
"""Says what is left to say, and on which link what waited is seen."""


def heard(end: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = end.recv(4096)
        assert more, f"ended after {data!r}"
        data += more
    return data


def last_reply(behind: float) -> Act:
    """A 221 with its FIN right behind it."""

    def act(talk: Dialogue) -> tuple[Capture, Seen]:
        talk.ask(b"QUIT\r\n")
        talk.server.sendall(b"221 bye\r\n")
        time.sleep(behind)
        talk.server.shutdown(socket.SHUT_WR)
        assert heard(talk.client) == b"221 bye\r\n"
        return talk.bench.inside, lambda one: one.payload.startswith(b"221")

    return act


def reset_after_end(talk: Dialogue) -> tuple[Capture, Seen]:
    """The client's FIN, and its RST behind it."""
    talk.client.shutdown(socket.SHUT_WR)
    assert talk.server.recv(1) == b""
    talk.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    talk.client.close()
    return talk.bench.outside, lambda one: bool(one.flags & RST)


def connects_first(talk: Dialogue) -> tuple[Capture, Seen]:
    """A server that connects upon PORT, and says 200 only afterwards."""
    lab = talk.bench.lab
    with lab.client.socket() as listener, lab.server.socket() as data:
        listener.bind((lab.client.address, 0))
        listener.listen(1)
        own = Peer(*listener.getsockname())
        named = talk.ask(f"PORT {own.ip.replace('.', ',')},{own.port >> 8},{own.port & 255}\r\n".encode())
        numbers = [int(word) for word in named.split()[1].split(b",")]
        data.settimeout(PATIENCE)
        data.connect((".".join(map(str, numbers[:4])), numbers[4] << 8 | numbers[5]))
        talk.answer(b"200 connected\r\n")
    return talk.bench.inside, lambda one: one.flags & (SYN | ACK) == SYN and one.dst == own


@pytest.fixture(scope="module")
def benches() -> Iterator[tuple[Bench, Bench]]:
    """nft's and algate's, both standing."""
    with ExitStack() as stack:
        yield Bench(NFT, stack), Bench(TC, stack)


CASES: dict[str, list[Act]] = {
    "221 with its FIN behind": [last_reply(BEHIND[number % len(BEHIND)]) for number in range(SESSIONS)],
    "RST after FIN": [reset_after_end] * SESSIONS,
    "server that connects first": [connects_first] * SESSIONS,
}


@pytest.mark.parametrize("case", CASES)
def test_it_takes_about_as_long_as_through_nft(benches: tuple[Bench, Bench], case: str) -> None:
    times: tuple[list[float], list[float]] = ([], [])
    for number, act in enumerate(CASES[case]):
        for bench, into in zip(benches, times, strict=True):
            seconds = bench.took(act)
            if number:  # algate learns in the first session that this server connects first
                into.append(seconds)
    theirs, mine = (sorted(one) for one in times)
    parts = {part: percentile(mine, part) / percentile(theirs, part) for part in (0.5, 0.9)}
    said = ", ".join(f"p{100 * part:g} {ratio:.2f} times nft's" for part, ratio in parts.items())
    print(f"{case}: {said} ({percentile(mine, 0.9) * 1000:.2f} ms to {percentile(theirs, 0.9) * 1000:.2f})")
    assert max(parts.values()) <= MOST, said
