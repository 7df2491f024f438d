"""What the filters of a listing mean, for each kind of row."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from algate.alg.admin import filters
from algate.alg.errors import AlgateError
from algate.alg.rows import EventRow, Row
from tests.fake_daemon import CONTROL, EVENTS, EXPECTATIONS, FORWARDS, MAPPINGS, SESSIONS


def ids(rows: tuple[Row, ...], **args: str | None) -> list[str]:
    """The last two digits of the ids that pass."""
    return [getattr(row, "id")[-2:] for row in filters.parse(args).select(rows)]  # noqa: B009


@pytest.mark.parametrize(
    ("args", "passing"),
    [
        ({}, ["a1", "a2", "b1", "c1", "d1"]),
        ({"proto": None, "limit": 5}, ["a1", "a2", "b1", "c1", "d1"]),
        ({"proto": "udp,icmp"}, ["b1", "c1"]),
        ({"proto": "TCP", "state": "established"}, ["a1", "a2"]),
        ({"inside": "10.0.0.2"}, ["a1", "a2"]),
        ({"inside": "10.0.0.2/31"}, ["a1", "a2", "b1"]),
        ({"inside": "10.0.0.2:40001"}, ["a1"]),
        ({"inside": "10.0.0.0/8:77"}, ["c1"]),
        ({"inside": "::1"}, []),
        ({"outside": ":443,:53"}, ["b1", "d1"]),
        ({"outside": "*:443"}, ["d1"]),
        ({"alg": "ftp"}, ["a1"]),
        ({"alg": "none", "proto": "udp"}, ["b1"]),
        ({"related_to": CONTROL}, ["a2"]),
        ({"related_to": "A1"}, ["a2"]),
        ({"related_to": "ff"}, []),
    ],
)
def test_sessions(args: dict[str, str], passing: list[str]) -> None:
    assert ids(SESSIONS, **args) == passing


@pytest.mark.parametrize(
    ("args", "passing"),
    [
        ({"state": "pending"}, ["e2"]),
        ({"related_to": CONTROL}, ["e1", "e2"]),
        ({"inside": "10.0.0.2"}, ["e1", "e2"]),
        ({"inside": "10.0.0.2:50001"}, ["e1"]),
        ({"outside": "198.51.100.2:51235"}, ["e2"]),
        ({"outside": "198.51.100.0/24"}, ["e1", "e2"]),
    ],
)
def test_expectations(args: dict[str, str], passing: list[str]) -> None:
    assert ids(EXPECTATIONS, **args) == passing


@pytest.mark.parametrize(
    ("rows", "args", "count"),
    [
        (MAPPINGS, {"outside": "203.0.113.1:40001"}, 1),
        (MAPPINGS, {"inside": "10.0.0.3"}, 0),
        (MAPPINGS, {"state": "established"}, 0),
        (FORWARDS, {"inside": "10.0.0.0/24:21", "alg": "ftp"}, 1),
        (FORWARDS, {"outside": "203.0.113.9"}, 1),  # open to everybody, so to this one too
        ((replace(FORWARDS[0], from_=("192.0.2.0/24",)),), {"outside": "203.0.113.9"}, 0),
        ((replace(FORWARDS[0], from_=("203.0.113.0/24",)),), {"outside": "203.0.113.9"}, 1),
        (EVENTS, {"related_to": CONTROL, "alg": "ftp"}, 2),
        (EVENTS, {"related_to": "1"}, 0),
    ],
)
def test_other_rows(rows: tuple[Row, ...], args: dict[str, str], count: int) -> None:
    assert len(filters.parse(args).select(rows)) == count


def test_a_line_that_a_peer_shaped_is_no_problem() -> None:
    row = EventRow(0.0, "x", "\x00", None, "10.0.0.1:99999999999")
    assert filters.parse({"inside": "10.0.0.0/8"}).select([row]) == []
    assert not filters.Place(IPv4Network("10.0.0.0/8")).holds("10.0.0.1:x:y")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"proto": "tpc"}, "--proto: 'tpc' is not one of tcp, udp, icmp; the nearest is tcp"),
        ({"state": "etsablished"}, "the nearest is established"),
        ({"inside": "10.0.0.0/33"}, "--inside: '10.0.0.0/33' is not a network"),
        ({"outside": "nowhere"}, "--outside: 'nowhere' is not a network"),
        ({"inside": "10.0.0.5:99999"}, "--inside: '10.0.0.5:99999' has a port beyond 65535"),
        ({"inside": "[2001:db8:1::5]:99999"}, "has a port beyond 65535"),
        ({"outside": ":65536"}, "--outside: ':65536' has a port beyond 65535"),
        ({"inside": "[2001:db8:1::5"}, "is not a network"),
        ({"inside": "2001:db8:1::5]"}, "is not a network"),
        (
            {"inside": "2001:db8:1::5%eth0"},
            "is not a network: write it like 10.0.0.0/24, 10.0.0.5:21, [2001:db8::5]:21 or :21",
        ),
        ({"related_to": "a b"}, "--related-to: 'a b' is not a list of words"),
        ({"alg": 3}, "--alg: 3 is not a list of words"),
        ({"alg": ""}, "--alg: '' is not a list of words"),
        ({"proto": "\x1b[31m"}, "'\\x1b[31m'"),
    ],
)
def test_a_bad_filter_is_told(args: dict[str, object], said: str) -> None:
    with pytest.raises(AlgateError) as caught:
        filters.parse(args)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_typed_line() -> None:
    chosen, words = filters.parse_text("proto=tcp related-to=a1 Foo state=new state=reset")
    assert (chosen.proto, chosen.related_to, words) == (("tcp",), (CONTROL,), ("foo",))
    assert chosen.state == ("new", "reset")
    with pytest.raises(AlgateError, match="no filter 'prot': the nearest is proto"):
        filters.parse_text("prot=tcp")
