"""What `explain` looks up: the sessions that a subject means, and their family, without a row for anybody else."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Network
from typing import Any

import pytest

from algate.alg.admin import host_inquiry, inquiry
from algate.alg.admin.explain import Explanation
from algate.alg.config.load import Config
from algate.alg.gateway import listing
from algate.alg.rows import SessionRow
from algate.bpf import abi
from tests.many_sessions import ManySessions

EXPECTED = int(abi.SessionFlag.EXPECTED)


def looked_up(many: ManySessions, words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], set[str], int]:
    """(inside ports of the sessions that are meant, of those related, rows that were made)."""
    seen: list[Any] = []
    made: list[bytes] = []
    row = listing.SessionRows.row

    def ask(*given: Any) -> Explanation:
        seen.append(given)
        return Explanation("", "", ())

    def one(self: listing.SessionRows, key: bytes, value: Any) -> SessionRow:
        made.append(key)
        return row(self, key, value)

    monkeypatch.setattr(inquiry, "ask", ask)
    monkeypatch.setattr(listing.SessionRows, "row", one)
    asyncio.run(inquiry.inquire(many.running, Config(), "translating", {"subject": words}, host_inquiry.inquire))
    found, related = seen[0][-2:]
    return (
        {one.inside.rpartition(":")[2] for one in found},
        {one.inside.rpartition(":")[2] for one in related},
        len(made),
    )


def test_subjects_and_families(monkeypatch: pytest.MonkeyPatch) -> None:
    many = ManySessions(monkeypatch)
    for number in range(100, 5000):
        many.add(number)
    many.add(1, "10.0.0.9", remote_port=21, alg=1, public_ip=abi.ip_to_be32(abi.be32_to_ip(0x0100000B)), port_index=7)
    many.add(2, "10.0.0.9", flags=EXPECTED)
    many.add(3, "10.0.0.9", flags=EXPECTED)
    for child in (2, 3):
        many.parents[many.id(child)] = many.id(1)
    for words, meant, related, most in (
        (["10.0.0.9:1"], {"1"}, {"2", "3"}, 5),
        (["tcp", "10.0.0.9:2", "198.51.100.1:80"], {"2"}, {"1", "2", "3"}, 5000),
        (["11.0.0.1:7"], {"1"}, {"2", "3"}, 5),
        ([f"{many.id(3):016x}"], {"3"}, {"1", "2", "3"}, 5),
        (["10.0.0.9:99"], set(), set(), 5),
    ):
        found, family, made = looked_up(many, words, monkeypatch)
        assert (found, family) == (meant, related) and made <= most, words


@pytest.mark.parametrize(
    ("prefix", "shown"),  # RFC 6052 section 2.4
    [
        ("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"), ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"), ("64:ff9b::/96", "64:ff9b::c000:221"),
    ],
)  # fmt: skip
def test_what_nat64_shows_of_a_host_means_that_host(prefix: str, shown: str) -> None:
    of = IPv6Network(prefix)
    assert inquiry.outside(inquiry.parse([shown]), of).host == "192.0.2.33"
    ends = inquiry.outside(inquiry.parse(["[2001:db8:1::5]:40000", f"[{shown}]:21"]), of).ends
    assert ends == ("[2001:db8:1::5]:40000", "192.0.2.33:21")
    assert inquiry.outside(inquiry.parse([f"[{shown}]:21"]), None).ends == (f"[{shown}]:21",)
    assert inquiry.outside(inquiry.parse(["a1" * 8]), of) == inquiry.parse(["a1" * 8])


def test_an_address_that_stands_for_no_ipv4_host_is_left_alone() -> None:
    for one in ("2001:db8:122:344:c0:2:2100:1", "2001:db8:122:344:1c0:2:2100:0"):
        assert inquiry.outside(inquiry.parse([one]), IPv6Network("2001:db8:122:344::/64")).host == one
