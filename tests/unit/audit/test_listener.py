"""The HTTP listener against clients that are slow, many, or led here by somebody else's page."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from algate.alg.audit import listener
from algate.alg.audit.listener import Listener, Page, PageRequest
from algate.alg.audit.metrics import Metrics
from algate.alg.errors import AlgateError
from algate.alg.plugin.model import EndPoint

pytestmark = pytest.mark.unit

AT_ONCE = 1.0  # s
LONG = bytes(8 << 20)  # more than a socket's buffers take


def failing(asked: PageRequest) -> Page:
    raise RuntimeError(asked.query)


@pytest.fixture
def served() -> Iterator[Listener]:
    pages = {
        "/health": lambda asked: Page(b"translating\n"),
        "/metrics": lambda asked: Page(LONG),
        "/fails": failing,
    }
    made = Listener("127.0.0.1", 0, pages, ["Gateway.example"])
    yield made
    made.close()


def connect(served: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=5)


def ask(served: Listener, request: bytes) -> bytes:
    with connect(served) as client:
        client.sendall(request)
        answer = b""
        while more := client.recv(65536):
            answer += more
        return answer


def get(path: str, host: str = "127.0.0.1:1025", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1025", "localhost:1025", "LOCALHOST", "[::1]:1025", "10.0.0.1", "gateway.EXAMPLE"]
)
def test_those_who_name_it_are_answered(served: Listener, host: str) -> None:
    answer = ask(served, get("/health", host))
    assert status(answer) == 200 and answer.endswith(b"\r\n\r\ntranslating\n")


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:1025", "127.0.0.1.attacker.example", "", "[", "@"]
)
def test_a_page_that_was_rebound_here_reads_nothing(served: Listener, host: str) -> None:
    """DNS rebinding: the browser believes that this is attacker.example, and says so."""
    for path in ("/metrics", "/health"):
        answer = ask(served, get(path, host))
        assert status(answer) in (400, 421) and b"translating" not in answer


def test_http_1_0_needs_no_host(served: Listener) -> None:
    assert status(ask(served, b"GET /health HTTP/1.0\r\n\r\n")) == 200
    assert status(ask(served, b"GET /health HTTP/1.1\r\n\r\n")) == 421


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/metrics/", "/health/../metrics", "//metrics", "/Metrics", "*"])
def test_known_paths_only(served: Listener, path: str) -> None:
    assert status(ask(served, get(path))) == 404


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"\x16\x03\x01\x00\xee\r\n\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"GET http://[/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000, 431),
    ],
)
def test_odd_requests(served: Listener, request_: bytes, code: int) -> None:
    assert status(ask(served, request_)) == code
    assert status(ask(served, get("/health"))) == 200


def test_a_page_that_fails_fails_alone(served: Listener) -> None:
    assert status(ask(served, get("/fails?secret"))) == 500
    assert status(ask(served, get("/health"))) == 200


def test_head_has_no_body(served: Listener) -> None:
    answer = ask(served, get("/health", method="HEAD"))
    assert status(answer) == 200 and answer.endswith(b"\r\n\r\n") and b"Content-Length: 12" in answer


def quick(served: Listener) -> None:
    began = time.monotonic()
    assert status(ask(served, get("/health"))) == 200
    assert time.monotonic() - began < AT_ONCE


def test_many_that_say_nothing(served: Listener) -> None:
    """Ten times as many as are served at once; the oldest make room."""
    with contextlib.ExitStack() as stack:
        for _ in range(10 * listener.CONNECTIONS_MOST):
            stack.enter_context(connect(served))
        quick(served)
        assert len(served._clients) <= listener.CONNECTIONS_MOST


def test_many_that_speak_slowly(served: Listener) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(served)) for _ in range(listener.CONNECTIONS_MOST)]
        for byte in b"GET /hea":
            for one in slow:
                with contextlib.suppress(OSError):  # it made room
                    one.sendall(bytes([byte]))
            quick(served)


def test_many_that_read_nothing(served: Listener) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2 * listener.CONNECTIONS_MOST):
            one = stack.enter_context(connect(served))
            with contextlib.suppress(OSError):
                one.sendall(get("/metrics"))
        for _ in range(5):
            quick(served)


def test_time_is_bounded(served: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SECONDS", 0.2)
    with connect(served) as silent:
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began < 3


def test_other_names_count_at_once(served: Listener) -> None:
    assert status(ask(served, get("/health", "other.example"))) == 421
    served.answer_to(["other.example"])
    assert status(ask(served, get("/health", "other.example"))) == 200
    assert status(ask(served, get("/health", "gateway.example"))) == 421


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_metrics_move_to_another_port_or_stay_where_they_are() -> None:
    """What a reload of [metrics] listen does."""
    metrics = Metrics(cast(Any, MagicMock()))
    first, second, taken = free_port(), free_port(), socket.create_server(("127.0.0.1", 0))
    local = IPv4Address("127.0.0.1")
    try:
        metrics.listen(EndPoint(local, first))
        metrics.listen(EndPoint(local, first), ["other.example"])
        assert listens(first)
        metrics.listen(EndPoint(local, second))
        assert listens(second) and not listens(first)
        with pytest.raises(AlgateError, match="listen to another port"):
            metrics.listen(EndPoint(local, taken.getsockname()[1]))
        assert listens(second)
        metrics.listen(None)
        assert not listens(second)
    finally:
        taken.close()
        metrics.close()
