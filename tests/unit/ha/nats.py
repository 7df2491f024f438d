"""The store on NATS JetStream with one replica: a second engine, so that the interface isn't Redis's by another name.

The law of this file: for the conformance test alone. Operators get no value from a second engine: what Redis lacks NATS
with one replica lacks too, and with three of them its compare-and-set let two win (HA.md). A record's id is its
position, and each names the one before it, so whoever doesn't know the last record is refused. The marker that a
snapshot leaves keeps the last position when all records have gone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from algate.alg.ha.store import START, FencedError, Position, StoreError, StoreRecord

from .engines import free_port, wait_for

SECONDS = 5.0
HEAD = b"NATS/1.0"
AT = "Algate-Position"
EMPTY = ("404", "408")  # a pull's: there is nothing, or nothing came in time
WINDOW = 120_000_000_000  # ns: the server's own choice, written out so that a stream can be made twice
Headers = dict[str, str]


class NatsMessage(NamedTuple):
    """`status`: of a message of the server's own."""

    reply: str
    headers: Headers
    status: str
    data: bytes


@contextlib.contextmanager
def nats(folder: Path) -> Iterator[int]:
    """A server with JetStream until the end of the block; its port."""
    program = shutil.which("nats-server")
    assert program, "nats-server is missing: deploy/dev.sh setup test"
    port = free_port()
    command = [program, "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        wait_for(server, port)
        yield port
    finally:
        server.kill()
        server.wait()


def _headers(raw: bytes) -> tuple[Headers, str]:
    first, *lines = raw.decode().split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return {name: value.strip() for name, _, value in pairs}, first.removeprefix("NATS/1.0").strip()[:3]


class NatsLink:
    """A connection: requests, and the messages of a pull."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = count(1)
        self._boxes: dict[int, asyncio.Queue[NatsMessage]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, if it isn't connected."""
        if self._writer is None:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            await reader.readline()  # INFO
            said = json.dumps({"verbose": False, "headers": True, "lang": "test", "version": "1"})
            self._writer.write(b"CONNECT %s\r\n" % said.encode())
            self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            words = line.decode().split()
            if words[0] == "PING":
                assert self._writer is not None
                self._writer.write(b"PONG\r\n")
            elif words[0] in ("MSG", "HMSG"):
                head, size = (int(words[-2]) if words[0] == "HMSG" else 0), int(words[-1])
                raw = await reader.readexactly(size + 2)
                headers, status = _headers(raw[:head]) if head else ({}, "")
                reply = words[3] if len(words) == (6 if head else 5) else ""
                if int(words[2]) in self._boxes:  # what a pull brings keeps its own subject
                    self._boxes[int(words[2])].put_nowait(NatsMessage(reply, headers, status, raw[head:-2]))

    def send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Publish at once; the box into which answers come."""
        assert self._writer is not None, "it isn't connected"
        box = next(self._numbers)
        self._boxes[box] = asyncio.Queue()
        head = b"".join(b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in (headers or {}).items())
        head = HEAD + b"\r\n" + head + b"\r\n"
        inbox = f"box.{id(self)}.{box}"
        words = f"SUB {inbox} {box}\r\nHPUB {subject} {inbox} {len(head)} {len(head) + len(data)}\r\n"
        self._writer.write(words.encode() + head + data + b"\r\n")
        return box

    async def answer(self, box: int, seconds: float = SECONDS) -> NatsMessage:
        """The next one of a box. StoreError if none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._boxes[box].get()
        except TimeoutError:
            raise StoreError(f"it didn't answer within {seconds:g} s") from None

    async def ask(self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """A request and its answer, which is JSON; {"error": ...} too."""
        await self.open()
        box = self.send(subject, data, headers)
        try:
            return json.loads((await self.answer(box)).data)
        finally:
            self.forget(box)

    def forget(self, box: int) -> None:
        """Whatever comes there from now on nobody waits for."""
        self._boxes.pop(box, None)
        if self._writer is not None:
            self._writer.write(b"UNSUB %d\r\n" % box)

    async def stream(self, name: str, subjects: list[str], **more: Any) -> None:
        """Make a stream, if there is none. StoreError if there is another one of that name."""
        wanted = {"name": name, "subjects": subjects, "storage": "memory", "num_replicas": 1,
                  "duplicate_window": WINDOW, **more}  # fmt: skip
        self.checked(await self.ask(f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode()))

    @staticmethod
    def checked(answer: Any) -> Any:
        """The answer. StoreError if it is a refusal."""
        if "error" in answer:
            raise StoreError(str(answer["error"].get("description")))
        return answer

    def close(self) -> None:
        """End it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reading is not None:
            self._reading.cancel()


class NatsLog:
    """A stream of two subjects: records, and the marker."""

    def __init__(self, port: int, name: str) -> None:
        self._name = name
        self._link = NatsLink(port)
        self._end, self._last_id = START, ""
        self._sent: list[int] = []
        self._failed: StoreError | None = None
        self._pull, self._read = "", START  # a consumer, and what it has read

    async def opened(self) -> None:
        """Connect, and see where the log ends."""
        await self._link.stream(self._name, [f"{self._name}.r", f"{self._name}.end"])
        await self.last()

    def _put(self, subject: str, own: str, position: Position, data: bytes) -> int:
        before = {"Nats-Expected-Last-Msg-Id": self._last_id} if self._last_id else {"Nats-Expected-Last-Sequence": "0"}
        self._last_id, self._end = own, position
        return self._link.send(subject, data, {**before, "Nats-Msg-Id": own, AT: str(position)})

    def append(self, position: Position, data: bytes) -> None:
        """As StoreLog says."""
        if self._failed is None and position <= self._end:
            self._failed = FencedError(f"it has {self._end}, which isn't before {position}")
        if self._failed is None:
            self._sent.append(self._put(f"{self._name}.r", str(position), position, data))

    async def commit(self) -> None:
        """As StoreLog says."""
        while self._sent and self._failed is None:
            await self._settle(self._sent.pop(0))
        if self._failed is not None:
            raise self._failed

    async def _settle(self, box: int) -> None:
        answer = json.loads((await self._link.answer(box)).data)
        self._link.forget(box)
        if "error" in answer or answer.get("duplicate"):
            self._failed = FencedError(str(answer.get("error", "it has that record already")))

    async def _consumer(self) -> str:
        """One that begins with the first record there is."""
        config = {"deliver_policy": "all", "ack_policy": "none", "filter_subject": f"{self._name}.r",
                  "inactive_threshold": 60_000_000_000}  # fmt: skip
        wanted = json.dumps({"stream_name": self._name, "config": config}).encode()
        made = self._link.checked(await self._link.ask(f"$JS.API.CONSUMER.CREATE.{self._name}", wanted))
        return str(made["name"])

    async def _next(self, most: int, wait: float) -> list[tuple[int, StoreRecord]]:
        """What the consumer has: number in the stream, and record."""
        wanted: dict[str, Any] = {"batch": 1, "expires": int(wait * 1e9)} if wait else {"batch": most, "no_wait": True}
        box = self._link.send(f"$JS.API.CONSUMER.MSG.NEXT.{self._name}.{self._pull}", json.dumps(wanted).encode())
        found: list[tuple[int, StoreRecord]] = []
        while len(found) < wanted["batch"]:
            one = await self._link.answer(box, SECONDS + wait)
            if one.status in EMPTY:
                break
            epoch, _, seq = one.headers[AT].partition("-")
            self._read = Position(int(epoch), int(seq))
            found.append((int(one.reply.split(".")[5]), StoreRecord(self._read, one.data)))
        self._link.forget(box)
        return found

    async def _from(self, after: Position, most: int, wait: float) -> list[tuple[int, StoreRecord]]:
        await self._link.open()
        if not self._pull or self._read > after:
            self._pull, self._read = await self._consumer(), START
        while True:
            some = await self._next(most, 0)
            if not some and wait:
                some = await self._next(1, wait)
            if not some or (behind := [one for one in some if one[1].position > after]):
                return behind if some else []

    async def tail(self, after: Position, wait: float = 0.0, most: int = 64) -> list[StoreRecord]:
        """As StoreLog says."""
        return [one for _, one in await self._from(after, most, wait)]

    async def last(self) -> Position:
        """As StoreLog says."""
        wanted = json.dumps({"last_by_subj": f"{self._name}.*"}).encode()
        told = await self._link.ask(f"$JS.API.STREAM.MSG.GET.{self._name}", wanted)
        if "error" in told:
            return START
        headers, _ = _headers(base64.b64decode(told["message"]["hdrs"]))
        epoch, _, seq = headers[AT].partition("-")
        self._end, self._last_id = Position(int(epoch), int(seq)), headers["Nats-Msg-Id"]
        return self._end

    async def snapshot(self, begins: Position) -> None:
        """As StoreLog says."""
        await self.commit()
        await self._settle(self._put(f"{self._name}.end", f"{self._end} till {begins}", self._end, b""))
        kept = await self._from(Position(begins.epoch, begins.seq - 1), 1, 0)
        wanted = {"filter": f"{self._name}.r", **({"seq": kept[0][0]} if kept else {})}
        self._link.checked(await self._link.ask(f"$JS.API.STREAM.PURGE.{self._name}", json.dumps(wanted).encode()))
        self._pull = ""

    async def close(self) -> None:
        """As StoreLog says."""
        self._link.close()


class NatsKeys:
    """A bucket of NATS's key-value store: the last message of a subject each. What moves is a revision, so a value is
    compared here, and its revision there."""

    def __init__(self, port: int) -> None:
        self._link = NatsLink(port)

    async def _now(self, key: str) -> tuple[bytes, int]:
        await self._link.stream("KV_algate", ["$KV.algate.>"], max_msgs_per_subject=1)
        wanted = json.dumps({"last_by_subj": f"$KV.algate.{key}"}).encode()
        told = await self._link.ask("$JS.API.STREAM.MSG.GET.KV_algate", wanted)
        if "error" in told:
            return b"", 0
        return base64.b64decode(told["message"].get("data", "")), int(told["message"]["seq"])

    async def read(self, key: str) -> bytes:
        """As StoreKeys says."""
        return (await self._now(key))[0]

    async def compare_and_set(self, key: str, expected: bytes, new: bytes) -> bool:
        """As StoreKeys says."""
        value, revision = await self._now(key)
        if value != expected:
            return False
        told = await self._link.ask(
            f"$KV.algate.{key}", new, {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        )  # fmt: skip
        return "error" not in told

    async def close(self) -> None:
        """As StoreKeys says."""
        self._link.close()
