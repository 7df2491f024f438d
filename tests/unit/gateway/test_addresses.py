"""IPv6 addresses by handles: what tables have is shown as addresses, and what is said of addresses finds its rows."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, NamedTuple, cast

import pytest

from algate.alg.engine import effects as fx
from algate.alg.gateway.addresses import Addresses, is_handle
from algate.alg.gateway.records import Punt
from algate.alg.plugin.model import EndPoint
from algate.bpf import syscall

pytestmark = pytest.mark.unit
CLIENT, SERVER = IPv6Address("2001:db8:1::5"), IPv6Address("2001:db8:9::2")
HANDLES = {CLIENT: bytes((0, 1, 2, 3)), SERVER: bytes((0, 200, 0, 1))}
PREFIX = IPv6Network("64:ff9b::/96")
V4 = IPv4Address("198.51.100.2").packed


class Size(NamedTuple):
    size: int


class FakeTable:
    """One of the two tables: 16 bytes -> handle, or handle -> a row that begins with 16 bytes."""

    def __init__(self, fd: int, key: int, value: int) -> None:
        self.fd, self.key, self.value = fd, Size(key), Size(value)

    def chunks(self) -> list[tuple[bytes, bytes, int]]:
        rows = [(raw, address.packed + bytes(16)) for address, raw in HANDLES.items()]
        return [(b"".join(raw for raw, _ in rows), b"".join(row for _, row in rows), len(rows))]


class FakeGateway:
    addresses6 = FakeTable(1, 4, 32)
    handles = FakeTable(2, 16, 4)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    def lookup(fd: int, key: bytes, size: int) -> bytes | None:
        if fd == 2:
            return HANDLES.get(IPv6Address(key))
        found = next((address for address, raw in HANDLES.items() if raw == key), None)
        return None if found is None else found.packed + bytes(size - 16)

    monkeypatch.setattr(syscall, "lookup", lookup)
    return Addresses(cast(Any, FakeGateway()))


def number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def test_what_is_a_handle() -> None:
    assert is_handle(bytes((0, 0, 0, 1))) and is_handle(bytes((0, 255, 255, 255)))
    assert not any(map(is_handle, (bytes(4), V4, bytes((10, 0, 0, 0)), CLIENT.packed)))


def test_what_a_table_has_is_shown_as_an_address(known: Addresses) -> None:
    raw = HANDLES[CLIENT]
    assert known.packed(raw) == CLIENT.packed and known.packed(V4) == V4 and known.packed(bytes(4)) == bytes(4)
    assert (known.host(raw), known.host(V4)) == ("[2001:db8:1::5]", "198.51.100.2")
    assert (known.text(number(raw)), known.text(number(V4))) == ("2001:db8:1::5", "198.51.100.2")
    assert known.shown([number(raw), number(V4), 0]) == {number(raw): "[2001:db8:1::5]"}


def test_a_handle_that_is_gone_stays_what_it_is(known: Addresses) -> None:
    assert known.host(bytes((0, 9, 9, 9))) == "0.9.9.9"


def test_what_is_asked_of_addresses_finds_their_rows(known: Addresses) -> None:
    assert known.known(CLIENT) == HANDLES[CLIENT] and known.known(IPv4Address(V4)) == V4
    assert known.known(IPv6Address("2001:db8::dead")) is None
    assert known.within(IPv6Network("2001:db8:1::/48")) == {number(HANDLES[CLIENT])}
    assert known.within(IPv6Network("::/0")) == {number(raw) for raw in HANDLES.values()}


def test_a_handle_is_made_for_who_has_none(known: Addresses) -> None:
    fresh = IPv6Address("2001:db8::dead").packed
    with pytest.raises(OSError, match="no handle is left"):
        known.raw(fresh)
    maker = Addresses(cast(Any, FakeGateway()), lambda packed: bytes((0, 7, 7, 7)))
    assert maker.raw(fresh) == bytes((0, 7, 7, 7))
    assert maker.raw(CLIENT.packed) == HANDLES[CLIENT] and maker.raw(V4) == V4


def test_without_ipv6_every_address_is_ipv4s() -> None:
    bare = Addresses(cast(Any, object()))
    assert bare.host(V4) == "198.51.100.2" and bare.packed(bytes((0, 1, 2, 3))) == bytes((0, 1, 2, 3))
    assert bare.known(CLIENT) is None and list(bare.entries()) == [] and bare.within(PREFIX) == frozenset()
    assert bare.shown([number(bytes((0, 1, 2, 3)))]) == {}


@pytest.mark.parametrize(
    ("inside", "remote", "found"),
    [
        (HANDLES[CLIENT], HANDLES[SERVER], (CLIENT.packed, SERVER.packed)),
        (HANDLES[CLIENT], V4, (CLIENT.packed, b"")),
        (V4, V4, (b"", b"")),
    ],
)
def test_a_punt_tells_addresses_beside_the_handles(
    known: Addresses, inside: bytes, remote: bytes, found: tuple[bytes, bytes]
) -> None:
    info = fx.SessionInfo(7, fx.SessionKey(inside, 1, remote, 21), bytes(4), 0)
    segment = fx.Segment(info, 0, 1, b"", 0, 0, 0, 0, (0, 0))
    punt = Punt(0, 0, info, 0, 0, 0, b"", segment)
    told = known.of_punt(punt, PREFIX)
    assert (told.info.inside6, told.info.remote6) == found and told.info.key == info.key
    assert told.segment is not None and told.segment.info == told.info
    assert (told is punt) == (found == (b"", b""))


def test_an_expectation_goes_in_by_handles_and_comes_back_by_addresses(known: Addresses) -> None:
    inside, to = EndPoint(CLIENT, 5001), EndPoint(CLIENT, 5001)
    key = fx.SessionKey(HANDLES[CLIENT], 1, HANDLES[SERVER], 21)
    made = fx.Expectation(1, 7, key, 1, fx.IN, 6, SERVER.packed, to, inside, to, fx.EXPECT_OPEN, False, 5.0)
    packed = known.packable(made)
    assert (packed.from_ip, packed.to.ip.packed) == (HANDLES[SERVER], HANDLES[CLIENT])
    assert packed.inside is not None and packed.inside.ip.packed == HANDLES[CLIENT]
    assert known.expected(packed) == made
    out = made._replace(direction=fx.OUT, from_ip=CLIENT.packed, to=EndPoint(SERVER, 9), inside=None, reserved=None)
    assert known.packable(out) == out._replace(from_ip=HANDLES[CLIENT], to=known.packable(out).to)
    assert known.packable(out).to.ip.packed == HANDLES[SERVER]
    plain = made._replace(from_ip=V4, to=EndPoint(IPv4Address(V4), 9), inside=None, reserved=None)
    assert known.packable(plain) is plain and known.expected(plain) is plain
