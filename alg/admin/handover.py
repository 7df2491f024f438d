"""A hot upgrade: a new daemon gets ready while the old one serves, and takes its place in a moment.

The law of this file: who does what, in which order, on either side. Until the new one asks for its place it has
changed nothing, so one that can't get ready costs nothing. What a daemon does to get ready or to give way is the
service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from algate.alg.admin import control
from algate.alg.daemon.notify import notify
from algate.alg.daemon.service import Daemon
from algate.alg.errors import FAILED, AlgateError
from algate.alg.gateway.claim import Claim

OPTION = "--replace"  # of `algate run`
LOG = "ALGATE_LOG_FD"  # the descriptor to log to once it has taken over; until then the old daemon reads what it says
PREPARING = 300.0  # s to compile and load
CHILD_LOOK = 0.02  # s between looks whether it has ended
CLAIMING = 10.0  # s for the old daemon to let go; it takes some ms
CLAIM_LOOK = 0.001
REST = 65536  # bytes that a new daemon says at a time


class Handover:
    """The old daemon's side: answers two verbs, of the operator and of the new daemon."""

    def __init__(self, service: Daemon) -> None:
        self._service = service
        self._child: subprocess.Popen[bytes] | None = None
        self._given = asyncio.Event()
        self._said = b""

    async def upgrade(self, _: dict[str, Any]) -> dict[str, Any]:
        """Start what is installed now with this daemon's own command line; answer when it takes over. AlgateError
        with its last line and its exit code if it can't: then this daemon serves on."""
        if self._service.pairing is not None and self._service.running is None:
            raise AlgateError("this node stands by, so nothing is lost with a restart: `systemctl restart algate`")
        self._service.need_running()
        if self._child is not None:
            raise AlgateError(f"an upgrade is under way (pid {self._child.pid})")
        said, into = os.pipe()
        try:
            self._start(into)
        except OSError as error:
            os.close(said)
            raise AlgateError(f"can't start {sys.executable}: {error.strerror}") from None
        finally:
            os.close(into)
        try:
            return await self._watch(said)
        finally:
            os.close(said)

    def _start(self, into: int) -> None:
        log = os.dup(2)
        try:
            words = [one for one in sys.orig_argv[1:] if one != OPTION]
            self._said = b""
            env = {**os.environ, LOG: str(log)}
            env.pop("WATCHDOG_PID", None)  # systemd will watch that one
            self._child = subprocess.Popen([sys.executable, *words, OPTION], stderr=into, pass_fds=(log,), env=env)
        finally:
            os.close(log)

    async def _watch(self, said: int) -> dict[str, Any]:
        """Until it takes over or ends; what it says goes into this daemon's log."""
        child = self._child
        assert child is not None
        os.set_blocking(said, False)
        loop, end = asyncio.get_running_loop(), time.monotonic() + PREPARING
        loop.add_reader(said, self._hear, said)
        try:
            while child.poll() is None and time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHILD_LOOK):
                        await self._given.wait()
                if self._given.is_set():  # it may have been while the time ran out
                    return {"pid": child.pid}
            self._hear(said)
        finally:
            loop.remove_reader(said)
        self.close()
        self._child = None
        self._service.resume()
        raise AlgateError(self._reason(child), child.returncode if child.returncode > 0 else FAILED)

    def _hear(self, said: int) -> None:
        try:
            text = os.read(said, REST)
        except BlockingIOError:
            return
        if not text:
            asyncio.get_running_loop().remove_reader(said)
        with contextlib.suppress(OSError):
            os.write(2, text)
        self._said = (self._said + text)[-REST:]

    def _reason(self, child: subprocess.Popen[bytes]) -> str:
        lines = [one.strip() for one in self._said.decode(errors="replace").splitlines() if one.strip()]
        last = lines[-1].removeprefix("algate: ") if lines else f"it ended with status {child.returncode}"
        return f"no upgrade, the running daemon serves on: {last}"

    async def give_way(self, args: dict[str, Any]) -> dict[str, Any]:
        """A prepared daemon asks for this one's place. It has it when the run directory's lock is free."""
        pid = args.get("pid")
        own = self._child is not None and self._child.pid == pid
        if not own and os.environ.get("NOTIFY_SOCKET"):
            raise AlgateError("the daemon belongs to systemd, which must know who follows it: `algate upgrade`")
        since = self._service.give_way()
        if own:
            notify(f"MAINPID={pid}")  # from now on systemd waits for that one, and listens to it
        self._given.set()
        return {"since": since}

    def close(self) -> None:
        """This daemon ends: a new one that isn't ready yet does too."""
        if self._child is not None and not self._given.is_set() and self._child.poll() is None:
            self._child.terminate()
            self._child.wait()


async def take(service: Daemon) -> Claim:
    """The new daemon's side: get ready, then take the run directory from the daemon that has it. AlgateError if that
    can't be; before the old one was asked, nothing has changed."""
    await service.prepare()
    answer = control.request(service.run_dir, "give-way", {"pid": os.getpid()}, CLAIMING)
    log = os.environ.pop(LOG, "")
    if log.isdigit():
        os.dup2(int(log), 2)
        os.close(int(log))
    claim = _claimed(service.run_dir)
    service.inherit(float(answer["since"]))
    return claim


def _claimed(run_dir: Path) -> Claim:
    end = time.monotonic() + CLAIMING
    while True:
        try:
            return Claim(run_dir)
        except AlgateError:
            if time.monotonic() > end:
                raise
        time.sleep(CLAIM_LOOK)
