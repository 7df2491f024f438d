"""Whether a name server makes addresses for NAT64."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address, IPv6Network

import pytest

from algate.alg.admin import dns64

pytestmark = pytest.mark.unit
PREFIX = IPv6Network("64:ff9b::/96")
MADE = IPv6Address("64:ff9b::c000:aa")
HEAD = bytes(2) + struct.pack("!HHHHH", 0x8180, 1, 2, 0, 0) + dns64.NAME + struct.pack("!HH", 28, 1)


def record(name: bytes, kind: int, body: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 60, len(body)) + body


@pytest.mark.parametrize("name", [b"\xc0\x0c", dns64.NAME, b"\x01a\xc0\x0c"])
def test_an_answer_is_read(name: bytes) -> None:
    whole = HEAD + record(name, 5, b"\xc0\x0c") + record(name, 28, MADE.packed)
    assert list(dns64.read(whole)) == [MADE]
    for size in range(len(whole)):
        assert list(dns64.read(whole[:size])) == []


def test_what_it_means() -> None:
    def ask(server: str) -> list[IPv6Address] | None:
        return {"a": [MADE], "b": [IPv6Address("2001:db8::1")], "c": []}.get(server)

    assert dns64.judged(None, ["a"]).ok
    assert dns64.judged(PREFIX, ["c", "a"], ask).detail == f"a makes addresses of {PREFIX}"
    odd = dns64.judged(PREFIX, ["b"], ask)
    assert not odd.ok and str(PREFIX) in odd.fix
    none = dns64.judged(PREFIX, ["c"], ask)
    assert none.ok and none.detail.startswith("no DNS64 among c:") and none.fix
    mute = dns64.judged(PREFIX, ["c", "d"], ask)
    assert mute.ok and mute.detail.startswith("no DNS64 among c, d (d: no answer): ")


def test_one_that_is_silent_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a port of the test's own: where a name server listens on every address, none of port 53 is silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        monkeypatch.setattr(dns64, "PORT", mute.getsockname()[1])
        monkeypatch.setattr(dns64, "SECONDS", 0.1)
        assert dns64.addresses("127.0.0.1") is None
        assert mute.recv(512)[12:].startswith(dns64.NAME)


def test_name_servers_of_the_file() -> None:
    text = "# x\nnameserver 192.0.2.1\noptions a\nnameserver 2001:db8::1\nnameserver\n"
    assert dns64.servers(text) == ["192.0.2.1", "2001:db8::1"]
