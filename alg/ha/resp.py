"""The words of Redis and Valkey (RESP2) over one connection: commands out, replies in, in the same order.

The law of this file: it knows no command. A command is sent at once and answered by a call or a future, so that many
may be under way; a reply that is an error is an exception of its own future. Bytes that are no RESP end the connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from .store import Listened, SlowError, StoreError
from .wire import NOTHING, Wire

Reply = int | bytes | list["Reply"]
MOST = 512 << 20  # bytes of one string: the engine's own limit
ITEMS = 1 << 20  # of one list
DEEP = 8  # lists in lists
LINE = 4096  # bytes of a line


class CommandError(StoreError):
    """The engine answered a command with an error."""

    reason = "refused"


Then = Callable[[Reply | StoreError], None]
"""Gets the reply to a command, or why there is none."""


class StoreAddress(NamedTuple):
    """Where an engine is, and who asks. `user` and `password` empty: nobody in particular."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def counted(*some: bytes | str | int) -> bytes:
    """Words of a command as bytes."""
    parts: list[bytes] = []
    for word in some:
        raw = word if isinstance(word, bytes) else str(word).encode()
        parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(parts)


def pack(*some: bytes | str | int) -> bytes:
    """A command as bytes."""
    return b"*%d\r\n" % len(some) + counted(*some)


class BrokenError(ValueError):
    """What came is no RESP."""


class RespReader:
    """Bytes in, whole replies out."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._least = 0  # no reply can be whole with fewer bytes

    @property
    def began(self) -> bool:
        """Whether a part of a reply is here already."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[Reply | CommandError]:
        """Take more bytes; the replies that are whole by now. BrokenError if they are no RESP."""
        self._data += data
        found: list[Reply | CommandError] = []
        at = 0
        while len(self._data) >= max(self._least, at + 1) and (one := self._reply(at, 0)) is not None:
            found.append(one[0])
            at = one[1]
            self._least = 0
        del self._data[:at]
        self._least = max(0, self._least - at)
        return found

    def _reply(self, at: int, deep: int) -> tuple[Reply | CommandError, int] | None:
        """The reply that begins there, and its end; None: it isn't whole."""
        end = self._data.find(b"\r\n", at, at + LINE)
        if end < 0:
            if len(self._data) - at >= LINE:
                raise BrokenError("a line is too long")
            return None
        kind, rest = bytes(self._data[at : at + 1]), bytes(self._data[at + 1 : end])
        if kind == b"+":
            return rest, end + 2
        if kind == b"-":
            return CommandError(rest.decode("ascii", "replace")), end + 2
        number = _number(rest)
        if kind == b":":
            return number, end + 2
        if number == -1 and kind in (b"$", b"*"):  # the engine's word for "none"
            return b"" if kind == b"$" else [], end + 2
        if kind == b"$" and 0 <= number <= MOST:
            return self._string(end + 2, number)
        if kind == b"*" and 0 <= number <= ITEMS and deep < DEEP:
            return self._list(end + 2, number, deep)
        raise BrokenError(f"{kind + rest[:20]!a} begins no reply")

    def _string(self, at: int, size: int) -> tuple[bytes, int] | None:
        end = at + size
        if len(self._data) < end + 2:
            self._least = end + 2
            return None
        if self._data[end : end + 2] != b"\r\n":
            raise BrokenError("a string has another length")
        return bytes(self._data[at:end]), end + 2

    def _list(self, at: int, number: int, deep: int) -> tuple[list[Reply], int] | None:
        items: list[Reply] = []
        for _ in range(number):
            one = self._reply(at, deep + 1)
            if one is None:
                return None
            item, at = one
            items.append(str(item).encode() if isinstance(item, CommandError) else item)
        return items, at


def _number(raw: bytes) -> int:
    if not raw.lstrip(b"-").isdigit() or len(raw) > 20:
        raise BrokenError(f"{raw[:20]!a} is no number")
    return int(raw)


class RespConnection(asyncio.Protocol):
    """One connection. `tell` and `send` never wait; a future's exception is CommandError, or StoreError once it is
    lost."""

    def __init__(self) -> None:
        self._reader = RespReader()
        self._waiting: deque[tuple[bytes, Then]] = deque()
        self._transport: asyncio.Transport | Wire | None = None
        self._over: StoreError | None = None

    def begin(self, wire: Wire) -> None:
        """Speak over this one, without asyncio's own: for what isn't ciphered."""
        self._transport = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio says."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """As asyncio says."""
        if self._waiting and data == self._waiting[0][0] and not self._reader.began:
            self._waiting.popleft()[1](data)
            return
        try:
            replies = self._reader.feed(data)
        except BrokenError as error:
            self.end(f"it doesn't speak the protocol of Redis: {error}")
            return
        for reply in replies:
            if not self._waiting:
                self.end("it said something that nobody asked for")
                return
            self._waiting.popleft()[1](reply)

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio says."""
        self.end(str(error) if error else "it closed the connection")

    @property
    def lost(self) -> bool:
        """Nothing can be sent any more."""
        return self._over is not None

    def end(self, why: str) -> None:
        """Close at once; whatever waits hears why."""
        if self._over is None:
            self._over = StoreError(why)
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            self._waiting.popleft()[1](StoreError(str(self._over)))

    def tell(self, command: bytes, then: Then, expected: bytes = b"") -> None:
        """Send a packed command. `then` is called with the reply's bytes, and not a turn of the loop later; with
        `expected` itself, if the reply is these bytes and comes by itself."""
        if self._over is not None or self._transport is None:
            then(StoreError(str(self._over or "it isn't connected")))
            return
        self._waiting.append((expected, then))
        self._transport.write(command)

    def send(self, *words: bytes | str | int) -> asyncio.Future[Reply]:
        """Send a command; its reply is to come."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.tell(pack(*words), partial(_settle, future))
        return future

    def listen(self, seconds: float, others: Sequence[int]) -> Listened:
        """Take replies that come within this time without a turn of the loop, as Wire says."""
        return self._transport.listen(seconds, others) if isinstance(self._transport, Wire) else NOTHING

    async def ask(self, *words: bytes | str | int, seconds: float) -> Reply:
        """Send a command and wait for its reply. StoreError if that takes longer: the connection is then at an end,
        since a late reply would be taken for another's."""
        future = self.send(*words)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            self.end(f"it didn't answer within {seconds:g} s")
            raise SlowError(str(self._over)) from None


def _settle(future: asyncio.Future[Reply], reply: Reply | StoreError) -> None:
    if future.done():
        return
    if isinstance(reply, StoreError):
        future.set_exception(reply)
        future.exception()  # nobody has to ask for it
    else:
        future.set_result(reply)


async def connect(where: StoreAddress, seconds: float) -> RespConnection:
    """A connection that knows who asks. StoreError, with the engine's place, if there is none in that time."""
    try:
        async with asyncio.timeout(seconds):
            made = await _connected(where)
    except TimeoutError:
        raise StoreError(f"{where}: it can't be reached within {seconds:g} s") from None
    except OSError as error:  # ssl.SSLError is one
        raise StoreError(f"{where}: {error.strerror or error}") from None
    try:
        if where.password:
            await made.ask("AUTH", where.user or "default", where.password, seconds=seconds)
    except StoreError as error:
        made.end("it was refused")
        raise StoreError(f"{where}: {error}") from None
    return made


async def _connected(where: StoreAddress) -> RespConnection:
    if where.tls is not None:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            RespConnection, where.host, where.port, ssl=where.tls, server_hostname=where.host
        )
        return made
    plain = RespConnection()
    plain.begin(Wire(await _dialled(where.host, where.port), plain.data_received, plain.connection_lost))
    return plain


async def _dialled(host: str, port: int) -> socket.socket:
    """Connected to an address. OSError if nobody is there."""
    near = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    near.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(near, (host, port))
    except BaseException:
        near.close()
        raise
    return near
