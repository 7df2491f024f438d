"""The control socket: where it is, and how to ask the daemon behind it.

The law of this file: the asking end only; it knows no verb. Whatever goes wrong is a ControlError, for operators.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from algate.alg.admin import messages
from algate.alg.admin.messages import PACKED_BEGINS, ControlError
from algate.alg.errors import MISSING
from algate.alg.gateway.claim import group_name, readers

SOON = 2.0  # s that a short answer may take; the loop of a healthy daemon is never busy for that long
LOOK = 0.5  # s between two looks at a daemon that hasn't answered by then
READ = 1 << 18  # bytes of a long answer read at a time
SOCKET_PATH_MAX = 100  # bytes; sun_path holds 108

Hung = Callable[[], str]
"""Why the daemon won't answer, as far as can be known from outside; "": it may yet."""

__all__ = ["ControlError", "SilentError", "request", "rows", "socket_path", "stream", "sun_path"]


class SilentError(ControlError):
    """There is a daemon, and it doesn't answer in time: it hangs, or has too much to do."""


def socket_path(run_dir: Path) -> Path:
    """Where the daemon of a run directory listens."""
    return run_dir / "control.sock"


@contextlib.contextmanager
def sun_path(path: Path) -> Iterator[str]:
    """A path that fits into sun_path: a long one goes through its folder's descriptor."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def request(
    run_dir: Path, verb: str, args: Mapping[str, Any] | None = None, seconds: float = 60.0, hung: Hung | None = None
) -> Any:
    """Ask the daemon of a run directory and return its data. ControlError if it refuses, isn't there or is too slow."""
    for data in _ask(run_dir, verb, args, seconds, hung):
        return data
    raise ControlError(f"the daemon on {run_dir} ended without an answer")


def rows(
    run_dir: Path, verb: str, args: Mapping[str, Any] | None = None, seconds: float = 60.0, hung: Hung | None = None
) -> Iterator[Any]:
    """The items of an answer that is a list, one by one as they arrive. ControlError as in `request`."""
    with _asked(run_dir, verb, args, seconds, hung) as connection:
        yield from messages.read_items(lambda: _more(run_dir, connection))


def packed(
    run_dir: Path, verb: str, args: Mapping[str, Any], seconds: float = 60.0, hung: Hung | None = None
) -> Iterator[Any]:
    """An answer asked for as packed: first its head (a dict), then (what is said of a part, its bytes) again and again.
    From a daemon that doesn't know that, None, then the items of a list. ControlError as in `request`."""
    with _asked(run_dir, verb, {**args, "packed": True}, seconds, hung) as connection:
        answers = cast(io.BufferedReader, connection.makefile("rb", buffering=READ))
        begins = answers.read(len(PACKED_BEGINS))
        if begins != PACKED_BEGINS:
            yield None
            first = iter((begins,))
            yield from messages.read_items(
                lambda: next(first, b"") or answers.read1(READ) or _more(run_dir, connection)
            )
            return
        yield messages.read_packed(begins + answers.readline())
        while (about := messages.read_packed(answers.readline())).get("bytes"):
            raw = answers.read(about["bytes"])
            if len(raw) < about["bytes"]:
                raise ControlError(f"the daemon on {run_dir} ended in the middle of its answer")
            yield about, raw


def _more(run_dir: Path, connection: socket.socket) -> bytes:
    got = connection.recv(READ)
    if not got:
        raise ControlError(f"the daemon on {run_dir} ended in the middle of its answer")
    return got


def stream(run_dir: Path, verb: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Ask for a stream and yield its data until the daemon ends it. ControlError as in `request`."""
    yield from _ask(run_dir, verb, args, None)


def _ask(
    run_dir: Path, verb: str, args: Mapping[str, Any] | None, seconds: float | None, hung: Hung | None = None
) -> Iterator[Any]:
    with _asked(run_dir, verb, args, seconds, hung) as connection, connection.makefile("rb") as answers:
        for line in answers:
            yield messages.read_answer(line)


@contextlib.contextmanager
def _asked(
    run_dir: Path, verb: str, args: Mapping[str, Any] | None, seconds: float | None, hung: Hung | None = None
) -> Iterator[socket.socket]:
    """A connection with the request sent; whatever goes wrong while it is read is a ControlError."""
    with _connected(run_dir, verb, seconds) as connection:
        connection.settimeout(seconds)
        try:
            connection.sendall(messages.request(verb, args or {}))
            if hung is not None and seconds is not None:
                _begins(connection, seconds, hung)
            yield connection
        except TimeoutError:
            raise SilentError(f"the daemon on {run_dir} didn't answer within {seconds:g} s") from None
        except ConnectionError:
            raise ControlError(f"the daemon on {run_dir} went away") from None


def _begins(connection: socket.socket, seconds: float, hung: Hung) -> None:
    """Return once an answer begins to come. SilentError as soon as nobody will answer; TimeoutError after `seconds`."""
    waiting, end, turn = select.poll(), time.monotonic() + seconds, min(SOON, seconds)
    waiting.register(connection, select.POLLIN)
    while not waiting.poll(turn * 1000):
        if time.monotonic() >= end:
            raise TimeoutError
        if why := hung():
            raise SilentError(why)
        turn = LOOK


@contextlib.contextmanager
def _connected(run_dir: Path, verb: str, seconds: float | None) -> Iterator[socket.socket]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    if seconds is not None:  # connect() waits while a daemon that hangs has a full queue
        room = struct.pack("ll", *divmod(int(seconds * 1e6), 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, room)
    try:
        with sun_path(socket_path(run_dir)) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise ControlError(f"no daemon on {run_dir}: start it with `algate run`, or give --run-dir") from None
    except PermissionError:
        connection.close()
        raise ControlError(f"no permission for {socket_path(run_dir)}: {_who_may(verb)}", MISSING) from None
    except BlockingIOError:
        connection.close()
        raise SilentError(f"the daemon on {run_dir} has more to answer than it can") from None
    except OSError as error:
        connection.close()
        raise ControlError(f"can't reach the daemon on {run_dir}: {error.strerror}") from None
    with connection:
        yield connection


def _who_may(verb: str) -> str:
    root, group = f"run it as root (sudo algate {verb.replace('-', ' ')} ...)", group_name()
    if not group:
        return root
    there = f"or to read as a member of the group {group}"
    return f"{root}, {there}" + ("" if readers() is not None else ", which this host hasn't got")
