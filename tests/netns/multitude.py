"""Many FTP control sessions that each offer a port, as a program: server PORT, or client HOST PORT SESSIONS INSIDE.

The law of this file: only the standard library. The client prints "ready" once every PORT was answered, reads how the
first and the second half are to end (quit, close, reset, stay), does that, prints "ended", and waits for stdin's end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

ANSWERS = {"USER": b"331 password", "PASS": b"230 in", "PORT": b"200 noted", "QUIT": b"221 bye"}
AT_ONCE = 50
FIRST_PORT = 20000


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One session: polite answers, and it closes when its client does."""
    try:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            verb = line.split()[0].decode().upper()
            writer.write(ANSWERS.get(verb, b"500 what") + b"\r\n")
            if verb == "QUIT":
                break
        writer.close()
        await writer.wait_closed()
    except OSError:
        writer.close()


async def server(port: int) -> None:
    """Until it is killed."""
    made = await asyncio.start_server(serve, "0.0.0.0", port, backlog=1024)
    print("ready", flush=True)
    await made.serve_forever()


class Session:
    """One client."""

    def __init__(self, number: int, inside: str) -> None:
        self.offer = f"{inside.replace('.', ',')},{(FIRST_PORT + number) >> 8},{(FIRST_PORT + number) & 255}"

    async def open(self, host: str, port: int, gate: asyncio.Semaphore) -> None:
        """Log in, and offer a port."""
        async with gate:
            self.reader, self.writer = await asyncio.open_connection(host, port)
            await self._expect(b"220")
            for line, code in (("USER a", b"331"), ("PASS b", b"230"), (f"PORT {self.offer}", b"200")):
                self.writer.write(line.encode() + b"\r\n")
                await self._expect(code)

    async def _expect(self, code: bytes) -> None:
        line = await asyncio.wait_for(self.reader.readline(), 60)
        if not line.startswith(code):
            raise ValueError(f"{line!r} instead of {code!r}")

    async def end(self, how: str) -> None:
        """In that way."""
        if how == "stay":
            return
        if how == "quit":
            self.writer.write(b"QUIT\r\n")
            await self._expect(b"221")
        if how == "reset":
            own: socket.socket = self.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


async def client(host: str, port: int, sessions: int, inside: str) -> None:
    """All of them."""
    made = [Session(number, inside) for number in range(sessions)]
    gate = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(one.open(host, port, gate) for one in made))
    print("ready", flush=True)
    ways = (await asyncio.to_thread(sys.stdin.readline)).split()
    half = sessions // 2
    await asyncio.gather(*(one.end(ways[number >= half]) for number, one in enumerate(made)))
    print("ended", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(server(int(sys.argv[2])))
    else:
        asyncio.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
