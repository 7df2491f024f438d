"""RESP, whole and in pieces, and what is none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.ha.redis import RedisKeys
from algate.alg.ha.resp import BrokenError, CommandError, Reply, RespConnection, RespReader, pack
from algate.alg.ha.store import StoreError

from .engines import redis


def told(reply: Reply) -> bytes:
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(told, reply))


REPLIES = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=60), lambda one: st.lists(one, max_size=4), max_leaves=12
)


@given(st.lists(REPLIES, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_replies_come_whole_however_they_are_cut(replies: list[Reply], sizes: list[int]) -> None:
    data, reader, found, turn = b"".join(map(told, replies)), RespReader(), [], 0
    while data:
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[:size])
        data, turn = data[size:], turn + 1
    assert found == replies


def test_errors_and_what_isnt_there() -> None:
    found = RespReader().feed(b"-ERR no\r\n+OK\r\n$-1\r\n*-1\r\n")
    assert isinstance(found[0], CommandError) and str(found[0]) == "ERR no"
    assert found[1:] == [b"OK", b"", []]


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400\r\n", b":x\r\n", b"$3\r\nabcd\r\n", b"*-2\r\n", b"+" + bytes(5000),
                                   b"$999999999999\r\n", b"*1\r\n" * 20])  # fmt: skip
def test_what_is_no_resp_is_refused(noise: bytes) -> None:
    with pytest.raises(BrokenError):
        RespReader().feed(noise)


@given(st.binary(max_size=80))
def test_no_bytes_do_more_than_be_refused(noise: bytes) -> None:
    with contextlib.suppress(BrokenError):
        RespReader().feed(noise)


def test_commands_are_counted_strings() -> None:
    assert pack("SET", b"k\0", 12) == b"*3\r\n$3\r\nSET\r\n$2\r\nk\0\r\n$2\r\n12\r\n"


def certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    order = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=engine", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*order, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return key, cert


def test_tls_is_spoken_and_the_engine_must_be_who_it_says(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    files = ["--tls-key-file", str(key), "--tls-cert-file", str(cert), "--tls-ca-cert-file", str(cert)]

    async def play() -> None:
        with redis(tmp_path / "redis", *files, "--tls-auth-clients", "yes") as (where, _):
            known = ssl.create_default_context(cafile=str(cert))
            known.load_cert_chain(cert, key)
            register = RedisKeys(where._replace(tls=known))
            assert await register.compare_and_set("key", b"", b"1") and await register.read("key") == b"1"
            await register.close()
            with pytest.raises(StoreError, match="certificate"):
                await RedisKeys(where._replace(tls=ssl.create_default_context())).read("key")
            with pytest.raises(StoreError):
                await RedisKeys(where, seconds=0.5).read("key")

    asyncio.run(play())


class Wire:
    """Takes what is sent."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


def test_who_waits_for_a_reply_hears_of_it_with_its_bytes() -> None:
    """Not a turn of the loop later, which every rewritten command would wait for."""

    async def run() -> None:
        connection, heard = RespConnection(), list[Reply | StoreError]()
        connection._transport = Wire()  # type: ignore[assignment]
        for _ in range(2):
            connection.tell(pack("XADD"), heard.append, b"$3\r\n1-1\r\n")
        future = connection.send("XADD")
        connection.data_received(b"$3\r\n1-1\r\n")
        assert heard == [b"$3\r\n1-1\r\n"]
        connection.data_received(b"$3\r\n1-")
        connection.data_received(b"1\r\n-ERR no\r\n")
        assert heard[1:] == [b"1-1"]
        with pytest.raises(CommandError):
            await future
        connection.tell(pack("XADD"), heard.append, b"$3\r\n1-1\r\n")
        connection.end("it is closed")
        assert isinstance(heard[-1], StoreError)

    asyncio.run(run())
