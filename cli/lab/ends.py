"""Both ends of many conversations, as separate programs: ROLE ADDRESS PORT; orders on stdin, answers on stdout, JSON.

The law of this file: standard library only, run as a script. It talks and counts; what a figure means, its caller says.
Roles: `far` repeats what comes by TCP, `reflect` by UDP; `plain` and `polite` serve one connection at a time; `idle`,
`bulk`, `ping`, `control` and `exchange` are the near end of sessions of that kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

WAIT = 10.0  # s for an answer, repetitions of TCP's included
AT_ONCE = 64  # connections that are made at the same time
PIECE, PACE = 512, 0.1  # bytes of a bulk connection, and s between two pieces
FIRST = b"from far"
POLITE = 26  # bytes of each reply of a `polite` server
PING, AHEAD = 0.002, -15  # s between two pings, and the priority of who pings: its own waits aren't to be seen
BUSY = 0.001  # s between two commands of all control sessions, in the mean: the helper seldom rests
Order = dict[str, Any]


# -- the far end -------------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Repeats what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def far(address: str, port: int) -> None:
    """TCP on `port`, and on the next one who speaks first when told to."""
    loop = asyncio.get_running_loop()
    speakers: list[Echo] = []

    def speaker() -> Echo:
        speakers.append(Echo())
        return speakers[-1]

    await loop.create_server(Echo, address, port, backlog=4096)
    await loop.create_server(speaker, address, port + 1, backlog=4096)
    say({"ready": True})
    async with orders() as reader:
        while await reader.readline():
            for one in speakers:
                one.transport.write(FIRST)
            say({})


def plain(address: str, port: int) -> None:
    """Repeats what comes over one TCP connection after the other, with nothing in between: the measure of a network."""
    for near in accepted(address, port):
        while data := near.recv(65536):
            near.sendall(data)


def polite(address: str, port: int) -> None:
    """An FTP server that agrees to everything at once, does nothing, and says when a line came, in ns."""
    for near in accepted(address, port):
        near.sendall(b"220 here\r\n")
        while near.recv(65536):
            near.sendall(b"200 %020d\r\n" % time.clock_gettime_ns(time.CLOCK_MONOTONIC))


def reflect(address: str, port: int) -> None:
    """Repeats datagrams, ahead of all that only has to come in the end."""
    os.nice(AHEAD)
    with socket.socket(type=socket.SOCK_DGRAM) as here:
        here.bind((address, port))
        say({"ready": True})
        while True:
            here.sendto(*here.recvfrom(65536))


def accepted(address: str, port: int) -> Iterator[socket.socket]:
    """One connection after the other."""
    with socket.create_server((address, port)) as listener:
        say({"ready": True})
        while True:
            near, _ = listener.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with near:
                yield near


# -- the near end ------------------------------------------------------------------------------------------------------


class NearEnds:
    """One kind of conversations. `orders` by name; each returns what is answered."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self.streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.room = asyncio.Semaphore(AT_ONCE)

    async def open(self, _: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection(self.address, self.port, limit=1 << 16)

    async def connect(self, number: int) -> Order:
        """Open so many; `made`: when each was, by CLOCK_MONOTONIC."""
        made = []

        async def one(place: int) -> None:
            async with self.room:
                self.streams.append(await self.open(place))
                made.append(time.monotonic())

        await asyncio.gather(*(one(place) for place in range(number)))
        return {"made": sorted(made)}

    async def check(self, turn: int) -> Order:
        """How many still carry data in both directions: the far end speaks first."""

        async def one(place: int) -> bool:
            return await asks(*self.streams[place], b"%8d%8d" % (turn, place), FIRST)

        return {"working": sum(await asyncio.gather(*(one(place) for place in range(len(self.streams)))))}


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes, first: bytes = b"") -> bool:
    """Whether it comes back, after what the other end says by itself."""
    try:
        async with asyncio.timeout(WAIT):
            if await reader.readexactly(len(first)) != first:
                return False
            writer.write(word)
            return await reader.readexactly(len(word)) == word
    except (OSError, EOFError, TimeoutError):
        return False


class BulkEnds(NearEnds):
    """Connections that carry a piece in both directions all the time, compared byte by byte."""

    async def begin(self, _: int) -> Order:
        """Start."""
        self.on = True
        self.tasks = [asyncio.ensure_future(self.carry(place, *ends)) for place, ends in enumerate(self.streams)]
        return {}

    async def carry(self, place: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Bytes that came back as they were sent; -1: something else came, or nothing."""
        source, carried = random.Random(place), 0
        await asyncio.sleep(PACE * source.random())
        while self.on:
            if not await asks(reader, writer, source.randbytes(PIECE)):
                return -1
            carried += PIECE
            await asyncio.sleep(PACE)
        return carried

    async def end(self, _: int) -> Order:
        """Stop: how many were whole to the end."""
        self.on = False
        found = await asyncio.gather(*self.tasks)
        return {"whole": sum(one >= 0 for one in found), "bytes": sum(one for one in found if one > 0)}


class ControlEnds(NearEnds):
    """FTP control sessions that send one PORT after the other. `user`: of the server."""

    async def open(self, place: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await super().open()
        await reader.readline()
        await say_to(reader, writer, "USER anonymous")
        await say_to(reader, writer, "PASS lab@example.org")
        if not (await say_to(reader, writer, port_line(writer, 40_000 + place))).startswith("200"):
            raise OSError("a PORT was refused")
        return reader, writer

    async def begin(self, seed: int) -> Order:
        """Start."""
        self.on = True
        self.tasks = [asyncio.ensure_future(self.talk(random.Random(f"{seed} {place}"), *ends))
                      for place, ends in enumerate(self.streams)]  # fmt: skip
        return {}

    async def talk(self, source: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Order:
        """Commands until the end, and then one more of each kind."""
        told: Order = {"under_way": 0, "next": False, "slowest": 0.0, "said": ""}
        try:
            while self.on:
                await asyncio.sleep(2 * BUSY * len(self.streams) * source.random())
                asked = time.monotonic()
                line = port_line(writer, source.randrange(1024, 65536))
                answer = await say_to(reader, writer, line)
                if not answer.startswith("200"):
                    return told | {"said": answer}
                told["slowest"] = max(told["slowest"], time.monotonic() - asked)
            told["under_way"] = 1
            answers = [await say_to(reader, writer, line) for line in ("NOOP", port_line(writer, 50_000))]
            told["next"] = all(one.startswith("200") for one in answers)
            told["said"] = answers[-1]
        except (OSError, EOFError, TimeoutError) as error:
            told["said"] = str(error) or type(error).__name__
        return told

    async def end(self, _: int) -> Order:
        """Stop: of how many the command under way was answered, and of how many the next ones."""
        self.on = False
        found = await asyncio.gather(*self.tasks)
        return {"answered": sum(one["under_way"] for one in found), "next": sum(one["next"] for one in found),
                "slowest": max((one["slowest"] for one in found), default=0.0),
                "said": sorted({one["said"].strip() for one in found})}  # fmt: skip


def port_line(writer: asyncio.StreamWriter, port: int) -> str:
    """A PORT with the session's own address."""
    return f"PORT {writer.get_extra_info('sockname')[0].replace('.', ',')},{port >> 8},{port & 255}"


async def say_to(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> str:
    """A command's reply. OSError, EOFError or TimeoutError if there is none."""
    async with asyncio.timeout(WAIT):
        writer.write(line.encode() + b"\r\n")
        answer = await reader.readline()
    if not answer:
        raise EOFError
    return answer.decode("latin-1")


class PingEnds(NearEnds):
    """Asks by UDP all the time, in a thread of its own."""

    async def begin(self, _: int) -> Order:
        """Start."""
        self.on = True
        os.nice(AHEAD - os.nice(0))
        self.sent, self.came, self.gap, self.when = 0, set[int](), 0.0, 0.0
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()
        return {}

    def ask(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as near:
            near.connect((self.address, self.port))
            near.setblocking(False)
            last, due = 0.0, time.monotonic()
            ending = None
            while ending is None or time.monotonic() < ending:
                if self.on and time.monotonic() >= due:
                    due = max(due + PING, time.monotonic() - 5 * PING)
                    self.send(near)
                if not self.on and ending is None:
                    ending = time.monotonic() + 0.5
                if select.select([near], [], [], max(0.0, min(PING, due - time.monotonic())) if self.on else 0.05)[0]:
                    last = self.hear(near, last)

    def send(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a device that was just taken down
            near.send(b"%d" % self.sent)
        self.sent += 1

    def hear(self, near: socket.socket, last: float) -> float:
        try:
            self.came.add(int(near.recv(100)))
        except OSError:
            return last
        now = time.monotonic()
        if self.on and last and now - last > self.gap:
            self.gap, self.when = now - last, now
        return now

    async def end(self, _: int) -> Order:
        """Stop: how many came back, and the longest time without one, in s."""
        self.on = False
        await asyncio.to_thread(self.thread.join)
        return {"sent": self.sent, "lost": self.sent - len(self.came), "gap": self.gap, "when": self.when}


class ExchangeEnds(NearEnds):
    """One conversation at a time; each order: how long so many exchanges took, in s, one after the other."""

    async def echo(self, number: int, pause: float = 0) -> Order:
        """Of 1 KB, at most every `pause` s."""
        with socket.create_connection((self.address, self.port), WAIT) as near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            times = list[float]()
            for _ in range(number):
                times.append(took(near, b"x" * 1024, 1024))
                if pause:
                    time.sleep(max(0, pause - times[-1]))
            return {"took": times}

    async def commands(self, number: int) -> Order:
        """Until a PORT has come to a `polite` server, by the clock that both share."""
        with socket.create_connection((self.address, self.port), WAIT) as near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near.recv(1024)
            took(near, b"USER anonymous\r\n", POLITE)
            own = near.getsockname()[0].replace(".", ",")
            lines = (f"PORT {own},{port >> 8},{port & 255}\r\n".encode() for port in range(2000, 2000 + number))
            began = time.perf_counter()
            times = [one_way(near, line) for line in lines]
            return {"took": times, "apart": (time.perf_counter() - began) / number}


def one_way(near: socket.socket, word: bytes) -> float:
    """s until a line has come."""
    began, said = time.clock_gettime_ns(time.CLOCK_MONOTONIC), b""
    near.sendall(word)
    while len(said) < POLITE:
        said += near.recv(POLITE)
    return (int(said[4:]) - began) / 1e9


def took(near: socket.socket, word: bytes, size: int) -> float:
    """s until an answer of so many bytes has come."""
    began = time.perf_counter()
    near.sendall(word)
    while size > 0:
        data = near.recv(size)
        if not data:
            raise EOFError("the other end closed")
        size -= len(data)
    return time.perf_counter() - began


# -- orders ------------------------------------------------------------------------------------------------------------

ROLES: dict[str, Callable[[str, int], NearEnds]] = {
    "idle": NearEnds, "bulk": BulkEnds, "control": ControlEnds, "ping": PingEnds, "exchange": ExchangeEnds,
}  # fmt: skip
SERVERS = {"plain": plain, "polite": polite, "reflect": reflect}


def say(answer: Order) -> None:
    """To who gave the order."""
    print(json.dumps(answer), flush=True)


@contextlib.asynccontextmanager
async def orders() -> AsyncIterator[asyncio.StreamReader]:
    """Standard input, as it comes."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        yield reader
    finally:
        transport.close()


async def near(role: str, address: str, port: int) -> None:
    """Do what is asked for until the orders end."""
    ends = ROLES[role](address, port)
    say({"ready": True})
    async with orders() as reader:
        while line := await reader.readline():
            name, *numbers = json.loads(line)
            try:
                say(await getattr(ends, name)(*numbers))
            except (OSError, EOFError, TimeoutError) as error:
                say({"error": f"{role} {name}: {str(error) or type(error).__name__}"})


def main(argv: list[str]) -> None:
    role, address, port = argv[0], argv[1], int(argv[2])
    if role in SERVERS:
        SERVERS[role](address, port)
    else:
        asyncio.run(far(address, port) if role == "far" else near(role, address, port))


if __name__ == "__main__":
    main(sys.argv[1:])
