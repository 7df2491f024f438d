"""One host's sessions by the keys of the last sweep: all of them, or a walk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from algate.alg.admin import listings
from algate.alg.gateway import whereabouts
from algate.bpf import abi
from tests.many_sessions import ManySessions

HOST = "10.0.0.1"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> ManySessions:
    """A host with 5 sessions among others, swept."""
    made = ManySessions(monkeypatch)
    for number in range(1, 3001):
        made.add(number, HOST if number % 600 == 0 else f"10.0.{number % 7}.2")
    made.hosts = {HOST: abi.Host(sessions=5)}
    made.whereabouts.parts = [keys for keys, _, _ in made._sessions(64)]
    made.walks = 0
    return made


def ports(many: ManySessions, **args: Any) -> list[int]:
    answer = asyncio.run(listings.sessions(many.running, {"inside": HOST, **args}))
    return sorted(int(row.inside.rpartition(":")[2]) for piece in answer.pieces for row in piece)


def end(many: ManySessions, number: int) -> None:
    del many.rows[next(key for key in many.rows if abi.SessionKey.unpack(key).inside_port == abi.be16(number))]
    many.hosts[HOST].sessions -= 1


def test_no_walk_if_all_are_known(many: ManySessions) -> None:
    assert ports(many) == [600, 1200, 1800, 2400, 3000] and many.walks == 0
    assert ports(many, inside=f"{HOST}:1200") == [1200] and ports(many, limit=2, sort="age") and many.walks == 0
    assert asyncio.run(listings.sessions(many.running, {"inside": HOST, "count": True})) == {"count": 5}
    assert asyncio.run(listings.sessions(many.running, {"inside": HOST, "proto": "udp", "count": True})) == {"count": 0}
    end(many, 600)
    assert ports(many) == [1200, 1800, 2400, 3000] and many.walks == 0, "what ended meanwhile isn't missed"


def test_a_new_session_is_found_by_a_walk(many: ManySessions) -> None:
    many.add(7, HOST)
    many.hosts[HOST].sessions += 1
    assert ports(many) == [7, 600, 1200, 1800, 2400, 3000] and many.walks == 1
    end(many, 600)
    assert ports(many) == [7, 1200, 1800, 2400, 3000] and many.walks == 2, "as many as before, but others"


def test_nothing_is_believed_that_is_not_counted(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that shares the row of those for whom there was no room, one with too many, a session that is over."""
    many.hosts.clear()
    assert ports(many) == [600, 1200, 1800, 2400, 3000] and many.walks == 1
    many.hosts[HOST] = abi.Host(sessions=5)
    monkeypatch.setattr(whereabouts, "MOST", 4)
    assert len(ports(many)) == 5 and many.walks == 2
    monkeypatch.undo()


def test_an_address_elsewhere_in_the_keys_is_not_the_hosts() -> None:
    """As the remote end, in the ports, or over the border of two keys."""
    ip = abi.ip_to_be32(abi.be32_to_ip(0x0100000A))
    key = abi.SessionKey(inside_ip=ip, remote_ip=5, inside_port=1)
    others = [
        abi.SessionKey(inside_ip=9, remote_ip=ip),
        abi.SessionKey(inside_ip=9, inside_port=0x000A, remote_port=0x0100),
        abi.SessionKey(inside_ip=0x0100, proto=6),
    ]
    raw = b"".join(map(bytes, [*others, key, *others, key]))
    found = list(whereabouts.keys_of(raw, ip.to_bytes(4, "little")))
    assert found == [bytes(key)] * 2
