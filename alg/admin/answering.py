"""The control socket's answering end, in the daemon's loop.

The law of this file: transport only. It knows the socket, its limits and errors, and who asks, but no verb. Nothing a
client sends can raise in the daemon, delay it or make it grow: sizes, numbers and times are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from algate.alg.admin import control, messages
from algate.alg.admin.messages import ControlError
from algate.alg.errors import FAILED, USAGE, AlgateError

REQUEST_MAX = 65536  # bytes of a request line
REQUEST_SECONDS = 5.0  # for a client to finish its request line
ANSWER_SECONDS = 10.0  # for a client to read what it is sent
CONNECTIONS_MAX = 64
PEER = struct.Struct("iII")  # struct ucred: process, user, group
BACKLOG = 512  # connections that wait to be accepted: with a full queue connect() fails with EAGAIN at once

Handler = Callable[[dict[str, Any]], Awaitable[Any] | AsyncIterator[Any]]
Judge = Callable[[int, str, dict[str, Any]], None]
"""Refuses what the user of that number may not ask, by AlgateError."""
log = logging.getLogger(__name__)


class ControlServer:
    """A listening control socket; made by `serve`."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler], judge: Judge, group: int | None) -> None:
        self.path = path
        self.handlers = handlers
        self.group = group
        self._judge = judge
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[Any]] = set()  # conversations that have made their request
        self._silent: dict[asyncio.Task[Any], None] = {}  # conversations without a request so far, the oldest first
        self._listening: asyncio.Server | None = None
        self._file: os.stat_result | None = None  # of the socket

    async def start(self, listener: socket.socket) -> None:
        """Start answering on a bound socket."""
        self._listening = await asyncio.start_unix_server(
            self._accepted, sock=listener, limit=REQUEST_MAX, backlog=BACKLOG
        )
        self._file = os.stat(self.path)

    def lost(self) -> bool:
        """Whether somebody removed the socket's file, or put another in its place."""
        try:
            return self._file is None or not os.path.samestat(os.stat(self.path, follow_symlinks=False), self._file)
        except OSError:
            return True

    async def renew(self) -> None:
        """Listen on a new socket file; conversations on the old one go on. AlgateError if that fails."""
        former = self._listening
        with _told(self.path):
            await self.start(_listener(self.path, self.group))
        if former is not None:
            former.close()

    async def close(self) -> None:
        """Stop listening, end all conversations, remove the socket file."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        if self._listening is not None:
            self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run one task per conversation, so that close can end them all. One too many takes the place of who has been
        silent longest: nobody holds up `status` by asking nothing."""
        if len(self._silent) >= CONNECTIONS_MAX:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.cancel()
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._tasks.add(task)
        self._silent[task] = None
        task.add_done_callback(self._forget)

    def _served(self, task: asyncio.Task[Any] | None) -> bool:
        """Count a conversation that has made its request; False if there are too many."""
        assert task is not None
        self._silent.pop(task, None)
        if len(self._busy) >= CONNECTIONS_MAX:
            return False
        self._busy.add(task)
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._busy.discard(task)
        self._silent.pop(task, None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Read even what is refused: closing with bytes unread would show the client a reset instead of the answer.
            verb, args = await _read_request(reader)
            if not self._served(asyncio.current_task()):
                raise ControlError("too many clients at once: try again")
            if verb in self.handlers:
                self._judge(user(writer.get_extra_info("socket")), verb, args)
            await self._answer(verb, args, reader, writer)
        except AlgateError as error:
            await _send_error(writer, str(error), error.exit_code)
        except (ConnectionError, TimeoutError):
            pass  # the client went away, or isn't reading
        except asyncio.CancelledError:
            writer.transport.abort()  # the daemon is stopping and waits for no reader
            raise
        except Exception:
            log.exception("a control request failed")
            await _send_error(writer, "the daemon failed on this request: see its log", FAILED)
        finally:
            await _close(writer)

    async def _answer(
        self, verb: str, args: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        handler = self.handlers.get(verb)
        if handler is None:
            raise ControlError(f"the daemon has no verb {verb[:40]!a}: it may be a different version", USAGE)
        answer = handler(args)
        if not isinstance(answer, AsyncIterator):
            await _send_data(writer, await answer)
            return
        # A stream ends when the client closes, even while its handler is waiting for something to send.
        pump = asyncio.ensure_future(_pump(answer, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            pump.cancel()
            gone.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)


def user(connection: Any) -> int:
    """Number of the user at the other end of a connection, as the kernel has it from when it connected."""
    _, uid, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(uid)


async def serve(
    path: Path, handlers: Mapping[str, Handler], judge: Judge = lambda *_: None, group: int | None = None
) -> ControlServer:
    """Listen on `path` and answer with `handlers`, in the running loop; `close()` the result. The socket is the owner's
    alone (mode 0600), or also the group's (0660).

    A handler takes the request's args; it is a coroutine function, or an async generator function for a stream.
    It refuses by raising AlgateError. A dead daemon's socket is replaced; AlgateError if a live daemon is listening.
    """
    server = ControlServer(path, handlers, judge, group)
    with _told(path):
        await server.start(_listener(path, group))
    return server


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AlgateError(f"can't listen on {path}: {error.strerror}") from None


def _listener(path: Path, group: int | None) -> socket.socket:
    """A bound and listening socket. AlgateError if a live daemon is listening; OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with control.sun_path(path) as address:
            if _somebody_listens(address):
                raise AlgateError(f"already running on {path.parent}: stop it, or give another --run-dir")
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file never exists with a wider mode
            listener.bind(address)
            if group is not None:
                _share(address, group)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _share(address: str, group: int) -> None:
    """Let the group connect: the group first, so that the file is never open to another one. Without CAP_CHOWN it has
    the group only if the folder hands it on (setgid), and else stays the owner's."""
    with contextlib.suppress(PermissionError):
        if os.stat(address).st_gid != group:
            os.chown(address, -1, group)
        os.chmod(address, 0o660)


def _somebody_listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # a full queue or some other file: not ours to remove
        return True


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            line = await reader.readline()
    except TimeoutError:
        raise ControlError(f"no request within {REQUEST_SECONDS:g} s", USAGE) from None
    except ValueError:
        raise ControlError(f"the request is longer than {REQUEST_MAX} bytes", USAGE) from None
    return messages.read_request(line)


async def _pump(stream: AsyncIterator[Any], writer: asyncio.StreamWriter) -> None:
    try:
        async for item in stream:
            await _send_data(writer, item)
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()


async def _send_data(writer: asyncio.StreamWriter, data: Any) -> None:
    """Send one answer; other tasks get a turn between its pieces."""
    for piece in messages.answer(data):
        if piece:
            writer.write(piece)
            await _drain(writer)
        await asyncio.sleep(0)


async def _send_error(writer: asyncio.StreamWriter, message: str, exit_code: int) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(messages.refusal(message, exit_code))
        await _drain(writer)


async def _drain(writer: asyncio.StreamWriter) -> None:
    """Wait until the client has read most of it. wait_for isn't used: it can swallow a cancellation (Python 3.11)."""
    async with asyncio.timeout(ANSWER_SECONDS):
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close once the client has read everything, or after a while if it hasn't."""
    writer.close()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await writer.wait_closed()
    except (ConnectionError, TimeoutError):
        writer.transport.abort()
