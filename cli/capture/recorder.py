"""The capture itself: sockets, the daemon's stream and the file, until the session ends or enough was seen.

The law of this file: the only part with sockets, a clock and a thread. Nothing here can hold up the session: the kernel
drops what this process is too slow for, the daemon forgets what it doesn't read, and both say how much.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from algate.alg.audit.blanking import Secret
from algate.alg.audit.journal import escaped
from algate.alg.audit.pcapng import ETHERNET, RAW_IP, Interface, PcapngWriter
from algate.alg.errors import AlgateError
from algate.alg.gateway import namespace
from algate.cli.capture.sockets import End, PacketSocket
from algate.cli.capture.story import IN, OUT, PATIENCE, Story
from algate.client import Client

TURN = 0.1  # s between looks for frames that have waited long enough
LINGER = 1.0  # s that packets are still taken after the session's end: the last acknowledgement, repeated FINs
BYTES_MOST = 256 << 20  # of the file
PROTOS = {"tcp": 6, "udp": 17}


@dataclass
class CaptureLimits:
    """When to stop. `seconds` None: no limit."""

    seconds: float | None
    packets: int


@dataclass
class CaptureDone:
    """What came of it. `lost`: packets, and judgements of the daemon's, that nobody had time for; `why`: what ended
    it."""

    packets: int = 0
    lost: int = 0
    untold: int = 0
    why: str = ""


class Records:
    """The daemon's stream, read by its own thread. `head`: its first answer; AlgateError if it refuses."""

    def __init__(self, run_dir: Path, session: str) -> None:
        self._stream = Client(run_dir).told("capture", {"id": session})
        self.head: Mapping[str, Any] = next(self._stream)
        self._came: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        threading.Thread(target=self._read, name="records", daemon=True).start()

    def fileno(self) -> int:
        """Readable when something came."""
        return self._wake_read

    def take(self) -> Iterator[Mapping[str, Any] | None]:
        """What came; None: the daemon went away."""
        with contextlib.suppress(BlockingIOError):
            if select.select([self._wake_read], [], [], 0)[0]:
                os.read(self._wake_read, 4096)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._came.get_nowait()

    def _read(self) -> None:
        with contextlib.suppress(AlgateError):
            for one in self._stream:
                self._tell(one)
        self._tell(None)

    def _tell(self, one: Mapping[str, Any] | None) -> None:
        self._came.put(one)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")


def opened(head: Mapping[str, Any]) -> list[PacketSocket]:
    """A socket for each device of the gateway, the WAN last, in the gateway's own namespace. AlgateError."""
    proto, outside, seen = PROTOS[head["proto"]], end(head["outside"]), end(head["seen"])
    made: list[PacketSocket] = []
    try:
        with namespace.joined(int(head["pid"]), int(head["netns"])):
            for device in head["lan"]:
                made.append(PacketSocket(device, proto, end(head["inside"]), seen))
            made.append(PacketSocket(head["wan"], proto, end(head["mapped"]), outside))
    except OSError as error:
        for one in made:
            one.close()
        raise AlgateError(f"can't record packets: {error.strerror}") from None
    return made


def end(text: str) -> End:
    """An end point of a row."""
    host, _, port = text.rpartition(":")
    return ip_address(host.strip("[]")), int(port)


class Recorder:
    """One capture; `run` does it. `stop` may be called from a signal's handler."""

    def __init__(
        self, records: Records, sockets: list[PacketSocket], write: Callable[[bytes], object], secret: Secret,
        limits: CaptureLimits, version: str,
    ) -> None:  # fmt: skip
        head = records.head
        self.done = CaptureDone()
        self._records, self._sockets, self._limits, self._write = records, sockets, limits, write
        self._size = 0
        self._over = ""  # why the daemon's stream ended
        self._stopping = False
        self._until: float | None = None if limits.seconds is None else time.monotonic() + limits.seconds
        sides = tuple(at < len(sockets) - 1 for at in range(len(sockets)))
        client = OUT if head["client"] == "inside" else IN
        self._story = Story(sides, client, secret, head["begins"])
        self._file = PcapngWriter(
            self._put,
            [Interface(one.device, ("outside", "inside")[side], ETHERNET if one.ethernet else RAW_IP)
             for one, side in zip(sockets, sides, strict=True)],
            f"algate {version}",
            f"control session {head['id']} ({head['alg']}): {head['inside']} as {head['mapped']} and {head['outside']}",
        )  # fmt: skip

    def stop(self) -> None:
        """End it; what came is still written."""
        self._stopping = True

    def run(self) -> CaptureDone:
        """Record until something ends it."""
        poller = select.poll()
        for one in self._sockets:
            poller.register(one, select.POLLIN)
        poller.register(self._records, select.POLLIN)
        while not self.done.why:
            poller.poll(TURN * 1000)
            self._take()
            self._release(time.time_ns())
            self._judge()
        self._release(time.time_ns() + PATIENCE)
        self._finish()
        return self.done

    def _take(self) -> None:
        """What came from the devices and from the daemon."""
        for number, one in enumerate(self._sockets):
            for frame in one.take():
                self._story.frame(number, frame)
        for told in self._records.take():
            if told is None or "over" in told:
                self._over = self._over or ("the session is over" if told else "the daemon went away")
                self._until = min(self._until or time.monotonic() + LINGER, time.monotonic() + LINGER)
            else:
                self._story.record(told)
                self.done.untold = int(told["lost"])

    def _judge(self) -> None:
        """Whether it is enough."""
        done, limits = self.done, self._limits
        if self._stopping:
            done.why = "stopped"
        elif done.packets >= limits.packets:
            done.why = f"{limits.packets} packets"
        elif self._size >= BYTES_MOST:
            done.why = f"the file has {BYTES_MOST >> 20} MiB"
        elif self._until is not None and time.monotonic() >= self._until:
            done.why = self._over or f"{limits.seconds:g} s are over"

    def _release(self, now: int) -> None:
        """Write what has waited long enough."""
        for one in self._story.ready(now):
            if self.done.packets >= self._limits.packets:
                return
            comments = [escaped(text) for text in one.comments]
            self._file.packet(one.interface, one.at, one.data, one.outgoing, comments, one.size)
            self.done.packets += 1

    def _finish(self) -> None:
        """What was lost, and what happened last."""
        at, rest = time.time_ns(), [escaped(text) for text in self._story.rest()]
        for number, one in enumerate(self._sockets):
            one.count()
            self.done.lost += one.dropped
            last = number == len(self._sockets) - 1
            self._file.statistics(number, at, one.received, one.dropped, "; ".join(rest) if last else "")
            one.close()

    def _put(self, block: bytes) -> None:
        self._size += len(block)
        try:
            self._write(block)
        except BrokenPipeError:  # its reader has all it wanted
            raise
        except OSError as error:
            raise AlgateError(f"can't write the capture: {error.strerror}") from None
