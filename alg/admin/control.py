"""The control socket, both ends: one JSON request line in, JSON lines out.

The law of this file: transport only. It knows the socket, limits and errors, and no verb. Nothing that a client sends
can raise in the daemon, hold it up, or make it grow: sizes, numbers and times are bounded.

A request is `{"verb": "...", "args": {...}}` and a newline, one a connection. Answers are `{"ok": true, "data": ...}`
(once, or again and again for a streaming verb, until either end closes) or `{"ok": false, "error": ..., "exit": n}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from algate.alg.errors import FAILED, MISSING, USAGE, AlgateError

REQUEST_MAX = 65536  # bytes of a request line
REQUEST_SECONDS = 5.0  # for a client to finish its request line
ANSWER_SECONDS = 10.0  # for a client to take what it is sent
CONNECTIONS_MAX = 64
PIECE = 256  # rows of a long answer encoded before other tasks get their turn
LIST_BEGINS = b'{"ok": true, "data": ['
READ = 1 << 18  # bytes of a long answer read at once
SOCKET_PATH_MAX = 100  # bytes; sun_path holds 108

Handler = Callable[[dict[str, Any]], Awaitable[Any] | AsyncIterator[Any]]
log = logging.getLogger(__name__)


class ControlError(AlgateError):
    """The daemon refused, or there is none."""


def socket_path(run_dir: Path) -> Path:
    """Where the daemon of a run directory listens."""
    return run_dir / "control.sock"


class Rows:
    """A handler's answer that is one long list, made piece by piece (pieces may be empty) while it is sent."""

    def __init__(self, pieces: Iterable[list[Any]]) -> None:
        self.pieces = pieces


class ControlServer:
    """A listening control socket; made by `serve`."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self.handlers = handlers
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to answer on a bound socket."""
        self._listening = await asyncio.start_unix_server(self._accepted, sock=listener, limit=REQUEST_MAX)

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
        """One conversation a task, so that close can end them all."""
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            crowded = len(self._tasks) > CONNECTIONS_MAX
            # Read also what is refused: closed with bytes unread, the client would see a reset and not the answer.
            verb, args = await _read_request(reader)
            if crowded:
                raise ControlError("too many clients at once: try again")
            await self._answer(verb, args, reader, writer)
        except AlgateError as error:
            await _send_error(writer, str(error), error.exit_code)
        except (ConnectionError, TimeoutError):
            pass  # the client went away, or doesn't read
        except asyncio.CancelledError:
            writer.transport.abort()  # the daemon stops: it waits for no reader
            raise
        except Exception:
            log.exception("a control request failed")
            await _send_error(writer, "the daemon failed at this request: see its log", FAILED)
        finally:
            await _close(writer)

    async def _answer(
        self, verb: str, args: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        handler = self.handlers.get(verb)
        if handler is None:
            raise ControlError(f"the daemon knows no verb {verb[:40]!a}: it may be of another version", USAGE)
        answer = handler(args)
        if not isinstance(answer, AsyncIterator):
            await _send_data(writer, await answer)
            return
        # A stream ends when the client closes, even while its handler waits for something to tell.
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


async def serve(path: Path, handlers: Mapping[str, Handler]) -> ControlServer:
    """Listen on `path` (mode 0600) and answer with `handlers`, in the running loop; `close()` the result.

    A handler takes the request's args and is either a coroutine function or an async generator function (a stream).
    It refuses by raising AlgateError. The socket of a dead daemon is replaced; AlgateError if a live one listens.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _address(path) as address:
            if _somebody_listens(address):
                raise AlgateError(f"already running on {path.parent}: stop it, or give another --run-dir")
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file never exists with a wider mode
            listener.bind(address)
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)
        server = ControlServer(path, handlers)
        await server.start(listener)
    except OSError as error:
        listener.close()
        raise AlgateError(f"can't listen on {path}: {error.strerror}") from None
    except BaseException:
        listener.close()
        raise
    return server


def _somebody_listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # a full queue or a strange file: not ours to remove
        return True


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            line = await reader.readline()
    except TimeoutError:
        raise ControlError(f"no request within {REQUEST_SECONDS:g} s", USAGE) from None
    except ValueError:
        raise ControlError(f"the request is longer than {REQUEST_MAX} bytes", USAGE) from None
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the request is no JSON", USAGE) from None
    verb = request.get("verb") if isinstance(request, dict) else None
    args = request.get("args", {}) if isinstance(request, dict) else None
    if not isinstance(verb, str) or not isinstance(args, dict):
        raise ControlError('the request is not {"verb": "...", "args": {...}}', USAGE)
    return verb, args


async def _pump(stream: AsyncIterator[Any], writer: asyncio.StreamWriter) -> None:
    try:
        async for item in stream:
            await _send_data(writer, item)
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()


async def _send_data(writer: asyncio.StreamWriter, data: Any) -> None:
    """One line. A long list is encoded piece by piece, so that a million rows don't stop the daemon's loop."""
    if isinstance(data, list):
        whole = data
        data = Rows(whole[start : start + PIECE] for start in range(0, len(whole), PIECE))
    if not isinstance(data, Rows):
        writer.write(b'{"ok": true, "data": ' + _encode(data) + b"}\n")
        await _drain(writer)
        return
    writer.write(LIST_BEGINS)
    between = b""
    for piece in data.pieces:
        if piece:
            writer.write(between + _encode(piece)[1:-1])
            between = b", "
            await _drain(writer)
        await asyncio.sleep(0)
    writer.write(b"]}\n")
    await _drain(writer)


async def _send_error(writer: asyncio.StreamWriter, message: str, exit_code: int) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(_encode({"ok": False, "error": message, "exit": exit_code}) + b"\n")
        await _drain(writer)


async def _drain(writer: asyncio.StreamWriter) -> None:
    """Wait until the client has taken most of it. Not wait_for: that can swallow a cancellation (Python 3.11)."""
    async with asyncio.timeout(ANSWER_SECONDS):
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close once the client has taken everything, or after a while without it."""
    writer.close()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await writer.wait_closed()
    except (ConnectionError, TimeoutError):
        writer.transport.abort()


def _encode(data: Any) -> bytes:
    """ASCII JSON; rows and other records by their as_dict, sets of addresses and the like by their text."""
    return json.dumps(data, default=lambda one: one.as_dict() if hasattr(one, "as_dict") else str(one)).encode()


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A path that fits into sun_path: a long one goes by way of its folder's descriptor."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def request(run_dir: Path, verb: str, args: Mapping[str, Any] | None = None, seconds: float = 60.0) -> Any:
    """Ask the daemon of a run directory and return its data. ControlError: it refused, is not there or is too slow."""
    for data in _ask(run_dir, verb, args, seconds):
        return data
    raise ControlError(f"the daemon on {run_dir} ended without an answer")


def rows(run_dir: Path, verb: str, args: Mapping[str, Any] | None = None, seconds: float = 60.0) -> Iterator[Any]:
    """The items of an answer that is a list, one by one as they come. ControlError as in `request`."""
    with _asked(run_dir, verb, args, seconds) as connection:
        yield from _items(run_dir, connection)


def _items(run_dir: Path, connection: socket.socket) -> Iterator[Any]:
    """An item begins behind `before`; the list's end, or a line that tells of a failure, may stand there instead."""
    decoder, text, at = json.JSONDecoder(), "", 0
    before = first = LIST_BEGINS.decode()
    while True:
        begins = text.startswith(before, at)
        if text.startswith("]}\n", at + (len(before) if begins else 0)) and (begins or before != first):
            return
        if begins:
            with contextlib.suppress(json.JSONDecodeError):  # cut off: the rest is to come
                item, at = decoder.raw_decode(text, at + len(before))
                before = ", "
                yield item
                continue
        elif text.endswith("\n"):
            _unwrap(text[at:].encode())
        more = connection.recv(READ).decode("ascii", "replace")
        if not more:
            raise ControlError(f"the daemon on {run_dir} ended in the middle of its answer")
        text, at = text[at:] + more, 0


def stream(run_dir: Path, verb: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Ask for a stream and yield its data until the daemon ends it. ControlError as in `request`."""
    yield from _ask(run_dir, verb, args, None)


def _ask(run_dir: Path, verb: str, args: Mapping[str, Any] | None, seconds: float | None) -> Iterator[Any]:
    with _asked(run_dir, verb, args, seconds) as connection, connection.makefile("rb") as answers:
        for line in answers:
            yield _unwrap(line)


@contextlib.contextmanager
def _asked(run_dir: Path, verb: str, args: Mapping[str, Any] | None, seconds: float | None) -> Iterator[socket.socket]:
    """A connection on which the request was sent; what goes wrong while it is read is a ControlError."""
    with _connected(run_dir) as connection:
        connection.settimeout(seconds)
        try:
            connection.sendall(_encode({"verb": verb, "args": dict(args or {})}) + b"\n")
            yield connection
        except TimeoutError:
            raise ControlError(f"the daemon on {run_dir} didn't answer within {seconds:g} s") from None
        except ConnectionError:
            raise ControlError(f"the daemon on {run_dir} went away") from None


@contextlib.contextmanager
def _connected(run_dir: Path) -> Iterator[socket.socket]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _address(socket_path(run_dir)) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise ControlError(f"no daemon on {run_dir}: start it with `algate run`, or give --run-dir") from None
    except PermissionError:
        connection.close()
        raise ControlError(f"no permission for {socket_path(run_dir)}: run as root", MISSING) from None
    except OSError as error:
        connection.close()
        raise ControlError(f"can't reach the daemon on {run_dir}: {error.strerror}") from None
    with connection:
        yield connection


def _unwrap(line: bytes) -> Any:
    """The data of an answer line, or ControlError as it says."""
    try:
        answer = json.loads(line)
        if answer["ok"]:
            return answer["data"]
        message, code = str(answer["error"]), int(answer["exit"])
    except (ValueError, TypeError, KeyError):
        raise ControlError("the daemon's answer can't be understood: it may be of another version") from None
    raise ControlError(message, code)
