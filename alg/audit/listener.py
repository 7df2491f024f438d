"""A small HTTP listener for a few known pages: /metrics and /health.

The law of this file: transport only. Nothing that a client sends or leaves unsent delays another one or makes the
daemon grow: requests, connections and times are bounded, and whoever has waited longest without a whole request makes
room. A request must name the listener by an address or a known name, since a page in somebody's browser may have its
own name lead here (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from algate.alg import threads

CONNECTIONS_MOST = 64
BACKLOG = 512
REQUEST_MOST = 8192  # bytes of a request's head
SECONDS = 5.0  # for a client to send its request, and as long again to read the answer
PIECE = 65536
STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 421: "Misdirected Request",
          431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request: `query` behind the path's question mark, `headers` by name in lower case."""

    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: int = 200
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Pages = Mapping[str, Callable[[PageRequest], Page]]


@dataclass(eq=False, slots=True)
class _Client:
    socket: socket.socket
    until: float  # CLOCK_MONOTONIC
    got: bytes = b""
    left: list[memoryview] = field(default_factory=list)
    answered: bool = False


class Listener:
    """One thread serves all clients. `names`: what a request's Host may say other than an address or localhost."""

    def __init__(self, address: str, port: int, pages: Pages, names: Collection[str] = ()) -> None:
        """OSError if the address can't be listened on."""
        self._pages = pages
        self.answer_to(names)
        self._clients: dict[_Client, None] = {}  # the longest connected first
        self._listening = socket.create_server((address, port), backlog=BACKLOG)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threads.start(self._serve, "metrics")

    def answer_to(self, names: Collection[str]) -> None:
        """Which names a request's Host may say from now on."""
        self._names = {"localhost", *(name.lower() for name in names)}

    def close(self) -> None:
        """Stop listening, and drop all clients."""
        self._wake.close()
        self._thread.join(timeout=2)

    def _serve(self) -> None:
        while True:
            for key, events in self._selector.select(0.5):
                if key.fileobj is self._woken:
                    self._end()
                    return
                if key.fileobj is self._listening:
                    self._accept()
                elif key.data in self._clients:
                    self._attend(key.data, events)
            now = time.monotonic()
            for client in [one for one in self._clients if one.until < now]:
                self._drop(client)

    def _end(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listening.close()
        self._woken.close()

    def _accept(self) -> None:
        """Take what has come. One too many takes the place of who has been longest without a whole request, or else of
        who reads slowest."""
        for _ in range(CONNECTIONS_MOST // 2):
            try:
                made, _ = self._listening.accept()
            except OSError:  # none left, or no descriptor free: the next turn will tell
                return
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
            if len(self._clients) >= CONNECTIONS_MOST:
                waiting = (one for one in self._clients if not one.answered)
                self._drop(next(waiting, next(iter(self._clients))))
            client = _Client(made, time.monotonic() + SECONDS)
            self._clients[client] = None
            self._selector.register(made, selectors.EVENT_READ, client)
            self._attend(client, selectors.EVENT_READ)  # its request has often come with it

    def _attend(self, client: _Client, events: int) -> None:
        try:
            if client.answered:
                self._send(client)
            elif events & selectors.EVENT_READ:
                self._receive(client)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        more = client.socket.recv(REQUEST_MOST + 1 - len(client.got))
        client.got += more
        head, ended, _ = client.got.partition(b"\r\n\r\n")
        if ended:
            try:
                page = self._answer(head)
            except ValueError:  # an address that can't be one
                page = Page(b"not an HTTP request\n", 400)
            self._reply(client, page)
        elif len(client.got) > REQUEST_MOST:
            self._reply(client, Page(b"the request is too long\n", 431))
        elif not more:
            self._drop(client)

    def _answer(self, head: bytes) -> Page:
        line, *rows = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Page(b"not an HTTP request\n", 400)
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        if not self._is_ours(headers.get("host"), words[2]):
            return Page(b"this host isn't called that: [metrics] names\n", 421)
        if words[0] not in ("GET", "HEAD"):
            return Page(b"only GET\n", 405, headers=(("Allow", "GET, HEAD"),))
        where = urlsplit(words[1])
        page = self._pages.get(where.path)
        if page is None:
            return Page("there are: {}\n".format(" ".join(sorted(self._pages))).encode(), 404)
        try:
            return page(PageRequest(where.query, headers))
        except Exception:
            log.exception("the page %s failed", where.path)
            return Page(b"failed: see the log\n", 500)

    def _is_ours(self, host: str | None, version: str) -> bool:
        """Whether the Host header names this listener; HTTP/1.0 needs none, and browsers send one always."""
        if host is None:
            return version == "HTTP/1.0"
        name = urlsplit(f"//{host}").hostname or ""
        if name in self._names or name.endswith(".localhost"):
            return True
        with contextlib.suppress(ValueError):
            ip_address(name)
            return True
        return False

    def _reply(self, client: _Client, page: Page) -> None:
        fields = (("Content-Type", page.kind), ("Content-Length", str(len(page.body))), ("Connection", "close"),
                  ("X-Content-Type-Options", "nosniff"), *page.headers)  # fmt: skip
        head = f"HTTP/1.1 {page.status} {STATUS[page.status]}\r\n" + "".join(f"{a}: {b}\r\n" for a, b in fields)
        body = b"" if client.got.startswith(b"HEAD ") else page.body
        client.left = [memoryview(head.encode() + b"\r\n"), memoryview(body)]
        client.answered, client.until = True, time.monotonic() + SECONDS
        self._selector.modify(client.socket, selectors.EVENT_WRITE, client)
        self._send(client)

    def _send(self, client: _Client) -> None:
        """One piece a turn, so that nobody waits for somebody else's long page."""
        sent = client.socket.send(client.left[0][:PIECE])
        client.left[0] = client.left[0][sent:]
        if not client.left[0]:
            client.left.pop(0)
        if not any(client.left):
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client, client) is client:
            return
        self._selector.unregister(client.socket)
        client.socket.close()
