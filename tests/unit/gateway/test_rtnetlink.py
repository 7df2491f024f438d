"""rtnetlink's messages as bytes, and what this host says of devices that each one has."""

from __future__ import annotations

import socket
import struct

from algate.alg.gateway import netlink, rtnetlink


def message(kind: int, body: bytes) -> bytes:
    size = 16 + len(body)
    return struct.pack("=IHHII", size, kind, 0, 1, 0) + body + bytes(-size % 4)


def test_messages_of_one_datagram() -> None:
    data = message(16, b"abcde") + message(20, b"") + message(3, b"1234")
    assert list(rtnetlink.messages(data)) == [(16, b"abcde"), (20, b""), (3, b"1234")]


def test_whatever_the_bytes_it_ends() -> None:
    for junk in (b"", bytes(15), bytes(64), b"\xff" * 64, struct.pack("=IHHII", 10, 16, 0, 0, 0)):
        list(rtnetlink.messages(junk))
        rtnetlink.attributes(junk)


def test_attributes_without_their_flags() -> None:
    data = struct.pack("=HH", 7, 3) + b"lo\0\0" + struct.pack("=HH", 8, 18 | 0x8000) + b"nest"
    assert rtnetlink.attributes(data) == {3: b"lo\0", 18: b"nest"}


def test_the_loopback_device() -> None:
    found = netlink.find_device("lo")
    assert found is not None
    assert (found.name, found.index, found.bare) == ("lo", socket.if_nametoindex("lo"), False)
    assert found.mtu > 0
    assert netlink.device_indices()[found.index] == "lo" and "lo" in netlink.device_names()


def test_a_device_that_there_is_not() -> None:
    for name in ("nonesuch", "a-name-that-is-too-long", "", "a\0b"):
        assert netlink.find_device(name) is None
    assert rtnetlink.addresses(0x7FFFFFFF) == []


def test_a_change_is_heard_once() -> None:
    """A network namespace of its own would need root; that nothing changed is what can be seen without."""
    changes = rtnetlink.Changes()
    try:
        changes.drain()
        assert changes.drain() is False
    finally:
        changes.close()
