"""Sessions of IPv6 on their way to another layout or another host: with the addresses that their handles stand for."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from algate.alg.gateway import estate, estate6, estate_file
from algate.alg.gateway.estate import Raw
from algate.alg.gateway.tally import tally
from algate.bpf import abi, ticks
from algate.bpf.description import own
from algate.bpf.requests import port_row
from tests.unit.gateway.test_estate import NOW, entries, exported, taken

pytestmark = pytest.mark.unit
INSIDE, REMOTE, STRANGER, PREFIX = (
    IPv6Address(text) for text in ("2001:db8:1::5", "2001:db8:9::7", "2001:db8:9::8", "2001:db8:1::")
)  # fmt: skip
HANDLES = {IPv4Address("0.1.2.3"): INSIDE, IPv4Address("0.4.5.6"): REMOTE, IPv4Address("0.7.8.9"): STRANGER,
           IPv4Address("0.9.9.9"): PREFIX}  # fmt: skip
NUMBERS = [abi.ip_to_be32(one) for one in HANDLES]
ID = 5_000_000_000_000 & ~0xFF | 3
KEY = abi.SessionKey(
    inside_ip=NUMBERS[0], remote_ip=NUMBERS[1], inside_port=abi.be16(40000), remote_port=abi.be16(21), proto=6
)  # fmt: skip


def row(address: IPv6Address, host: int) -> bytes:
    word = int(abi.HandleState.LIVE) << 32 | (NOW - ticks.lasting(500)) % ticks.WRAP
    return bytes(abi.Interned(bytes=tuple(address.packed), word=word, host=host))


def holding() -> dict[str, Raw]:
    """A control session of a filter that counts hosts by /64, one expectation, and a handle that nobody needs."""
    session = abi.Session(
        id=ID, state=int(abi.SessionState.ESTABLISHED), alg=1, last_seen=NOW, port_index=abi.EXEMPT_ROW,
        flags=int(abi.SessionFlag.PEER),
    )  # fmt: skip
    to = abi.ExpectationKey(from_=NUMBERS[1], to=NUMBERS[0], to_port=abi.be16(5001), proto=6, dir=1)
    expectation = abi.Expectation(id=77, control_id=ID, control_key=KEY, state=1, inside_ip=NUMBERS[0], expires=NOW)
    hosts = [NUMBERS[3], *NUMBERS[1:]]
    return {
        "addresses6": {
            handle.packed: row(address, host)
            for (handle, address), host in zip(HANDLES.items(), hosts, strict=True)
        },
        "sessions": {bytes(KEY): bytes(session)},
        "tracks": {bytes(KEY): bytes(abi.Track(id=ID, isn=(1, 2), window_scale=(7, 255)))},
        "expectations": {bytes(to): bytes(expectation)},
        "allow_in": {bytes(abi.AdmissionKey(to=tuple(INSIDE.packed), port=abi.be16(21), proto=6)):
                     bytes(abi.Admission(id=4, flags=int(abi.AdmissionFlag.LIVE), hits=3))},
        "configs": {bytes(4): bytes(abi.Config(secret=99))},
    }  # fmt: skip


def check(maps: dict[str, Raw]) -> None:
    """All of it is there, as if somebody had just asked for the handles that are needed."""
    assert {name for name, some in maps.items() if some} == {*holding()} - {"configs"}
    needed = [one.packed for one in HANDLES if HANDLES[one] is not STRANGER]
    assert sorted(maps["addresses6"]) == sorted(needed)
    for handle, raw in maps["addresses6"].items():
        found = abi.Interned.unpack(raw)
        assert bytes(found.bytes) == HANDLES[IPv4Address(handle)].packed
        assert found.word >> 32 == abi.HandleState.LIVE and (ticks.now() - found.word) % ticks.WRAP < ticks.lasting(60)


def test_a_session_comes_with_the_handles_that_it_needs() -> None:
    found = taken(holding())
    assert found.left == 0
    check(found.maps)


def test_an_export_has_them_too() -> None:
    found = estate_file.read(exported(holding()))
    estate.settle(found)
    check(found.maps)


def test_what_is_counted_of_it() -> None:
    """Handles both ways, the host by its /64, the peers with and without the remote end."""
    counted = tally(taken(holding()).maps)
    assert {IPv6Address(key): IPv4Address(value) for key, value in counted["handles"].items()} == {
        address: handle for handle, address in HANDLES.items() if address is not STRANGER
    }
    assert list(counted["hosts"]) == [bytes(abi.MappingKey(inside_ip=NUMBERS[3]))]
    pools = {int.from_bytes(key, "little"): abi.Pool.unpack(value).used for key, value in counted["pools"].items()}
    assert pools == {abi.POOL_SESSIONS: 1, abi.POOL_HANDLES: 3}
    assert sorted(abi.PeerKey.unpack(key).remote_ip for key in counted["peers"]) == [0, NUMBERS[1]]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_session_without_an_address_stays_behind(lost: int) -> None:
    maps = holding()
    del maps["addresses6"][list(HANDLES)[lost].packed]
    found = taken(maps)
    assert found.left == 1 and not found.maps["sessions"] and not found.maps["addresses6"]


def test_a_gateway_without_ipv6_takes_none_of_it() -> None:
    found = estate.take(own(), entries(holding()))
    assert estate6.leave_out(found.maps) == 1
    estate.settle(found)
    assert not any(found.maps.values())


@pytest.mark.parametrize("host", [NUMBERS[0], abi.ip_to_be32(IPv4Address("10.0.0.5"))])
def test_a_forward_to_an_ipv6_host_keeps_binding_it_outward(host: int) -> None:
    """And its host's handle; to an IPv4 host there is no such entry."""
    row = port_row(0, 6, 21)
    owner = host | abi.be16(21) << 32 | int(abi.PortKind.FORWARD) << 48
    mapping = abi.MappingKey(inside_ip=host, inside_port=abi.be16(21), proto=6)
    maps = holding() | {
        "sessions": {}, "expectations": {}, "tracks": {},
        "ports": {row.to_bytes(4, "little"): bytes(abi.PortSlot(owner=owner, sessions=1))},
        "forwards": {bytes(4): bytes(abi.Forward(to_ip=host, flags=int(abi.ForwardFlag.USED)))},
        "mappings": {bytes(mapping): bytes(abi.Mapping(port_index=row))},
    }  # fmt: skip
    found = taken(maps).maps
    six = host == NUMBERS[0]
    assert len(found["mappings"]) == six
    assert set(found["addresses6"]) == ({one.packed for one in list(HANDLES)[:4:3]} if six else set())
