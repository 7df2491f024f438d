"""Addresses as text and bytes, found by their identity: right whatever came and went before."""

from __future__ import annotations

import gc
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.plugin import spelled

pytestmark = pytest.mark.unit


@given(st.lists(st.ip_addresses(), max_size=20))
def test_each_is_spelled_as_python_does(many: list[IPv4Address | IPv6Address]) -> None:
    for ip in many * 2:
        assert (spelled.written(ip), spelled.packed(ip)) == (str(ip), ip.packed)
        assert spelled.joined(ip, 21) == (f"[{ip}]:21" if ip.version == 6 else f"{ip}:21")


def test_an_address_at_the_place_of_one_that_went_is_itself() -> None:
    for number in range(3 * spelled.MOST):
        ip = IPv4Address(number)
        assert spelled.written(ip) == str(ip)
        if number % 1000 == 0:
            gc.collect()
    assert len(spelled._spelled) <= spelled.MOST and len(spelled._by_bytes) <= spelled.MOST


def test_many_values_of_one_address_take_the_room_of_one() -> None:
    first = ip_address("192.0.2.7")
    spelled.written(first)
    before = len(spelled._spelled)
    assert {spelled.written(ip_address("192.0.2.7")) for _ in range(100)} == {"192.0.2.7"}
    assert len(spelled._spelled) == before


def test_a_zone_is_not_lost() -> None:
    assert [spelled.written(ip_address(one)) for one in ("fe80::1", "fe80::1%a", "fe80::1")] == [
        "fe80::1", "fe80::1%a", "fe80::1",
    ]  # fmt: skip
