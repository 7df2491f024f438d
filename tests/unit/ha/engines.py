"""Engines of its own for a test: redis-server on a free port of the loopback, told everything by its command line."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from algate.alg.ha.resp import StoreAddress

CONF = Path(__file__).resolve().parents[3] / "deploy/ha/redis.conf"
USER, PASSWORD = "gw-a", "sesame open"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port


@contextlib.contextmanager
def redis(folder: Path, *more: str) -> Iterator[tuple[StoreAddress, subprocess.Popen[bytes]]]:
    """A server that only USER may use, with the rights of deploy/ha/redis.conf, until the end of the block."""
    program = shutil.which("redis-server")
    assert program, "redis-server is missing: deploy/dev.sh setup test"
    port = free_port()
    folder.mkdir(exist_ok=True)
    shipped = re.search(r"(?m)^user algate on >\S+ (.*)$", CONF.read_text())
    assert shipped, f"{CONF} has no user for algate"
    (folder / "users.acl").write_text(f"user default off\nuser {USER} on #{_sha(PASSWORD)} {shipped[1]}\n")
    listens = ["--tls-port", str(port), "--port", "0"] if "--tls-cert-file" in more else ["--port", str(port)]
    command = [program, *listens, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder),
               "--aclfile", str(folder / "users.acl"), "--daemonize", "no", *more]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        wait_for(server, port)
        yield StoreAddress("127.0.0.1", port, USER, PASSWORD), server
    finally:
        server.kill()
        server.wait()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    """Until it listens."""
    for _ in range(400):
        assert server.poll() is None, f"{server.args!r} ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise AssertionError(f"{server.args!r} doesn't listen")
