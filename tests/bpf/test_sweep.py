"""A sweep over the kernel's table: what is over goes, what is alive stays, and what nobody needs makes room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from algate.alg.gateway.gc import Batch, Sweep
from algate.alg.gateway.shares import crowding_hosts
from algate.bpf import abi
from algate.bpf.requests import ControlProgram
from algate.bpf.tables import Table
from tests.bpf.rig import SECOND, TCP, UDP, Rig, ticks

NEW, ESTABLISHED, ACTIVE = abi.SessionState.NEW, abi.SessionState.ESTABLISHED, abi.SessionState.ACTIVE
UNREPLIED, TIME_WAIT, RESET = abi.SessionState.UNREPLIED, abi.SessionState.TIME_WAIT, abi.SessionState.RESET
LIMIT = 4096  # sessions of the bench's gateway


def put(rig: Rig, number: int, proto: int, state: int, idle: float, **fields: int) -> abi.SessionKey:
    """A session without a port, idle for some seconds."""
    key = abi.SessionKey(inside_ip=10 | number << 8, remote_ip=7, inside_port=number & 0xFFFF, proto=proto)
    seen = (ticks() - int(idle * SECOND)) & 0xFFFF_FFFF
    value = abi.Session(id=number + 1, state=state, last_seen=seen, port_index=abi.EXEMPT_ROW)
    for name, one in fields.items():
        setattr(value, name, one)
    rig.gateway.sessions.put(key, value)
    return key


def sweep(rig: Rig) -> Sweep:
    made = Sweep(rig.gateway, ControlProgram(rig.gateway.fds["control"]))
    for _ in made.run():
        pass
    return made


def test_the_expired_go_and_the_rest_is_counted(rig: Rig) -> None:
    rig.configure()
    keys = {
        name: put(rig, number, *what)
        for number, (name, what) in enumerate(
            {
                "opening": (TCP, NEW, 239), "opened too long": (TCP, NEW, 241), "open": (TCP, ESTABLISHED, 7400),
                "open too long": (TCP, ESTABLISHED, 7500), "talk": (UDP, ACTIVE, 299), "silence": (UDP, ACTIVE, 301),
            }.items()
        )
    }  # fmt: skip
    done = sweep(rig)
    assert (done.seen, done.deleted, done.full, done.reclaimed) == (6, 3, False, 0)
    left = {name for name, key in keys.items() if rig.gateway.sessions.get(key)}
    assert left == {"opening", "open", "talk"}
    assert {state: number for state, number in done.by_state.items() if number} == {NEW: 1, ESTABLISHED: 1, ACTIVE: 1}


def test_families_are_told_apart(rig: Rig) -> None:
    """An address that begins with 0 stands for one of IPv6; what the sweep ends isn't counted."""
    keys, values = bytearray(), bytearray()
    for inside, remote in ((10, 7), (10, 0), (0, 7), (0, 7), (0, 0), (0, 0), (0, 0)):
        key = abi.SessionKey(inside_ip=inside | 9 << 16, remote_ip=remote | 9 << 16, proto=TCP)
        keys += bytes(key)
        values += bytes(abi.Session(state=ESTABLISHED))
    del keys[len(bytes(key)) : 2 * len(bytes(key))], values[: len(bytes(abi.Session()))]  # IPv4 to IPv6 there isn't
    batch = Batch(bytes(keys), bytes(values), ticks())
    assert batch.families(set()) == (1, 3, 2)
    assert batch.families({0, 1, 3}) == (0, 2, 1)


def test_a_parent_lives_as_long_as_its_child(rig: Rig) -> None:
    """FTP-73, F64-10: a control session is refreshed while one of its data connections is there, not by a dead one."""
    rig.configure()
    parent = put(rig, 1, TCP, ESTABLISHED, 7000, alg=1)
    orphan = put(rig, 2, TCP, ESTABLISHED, 7000, alg=1)
    put(rig, 3, TCP, ESTABLISHED, 0, flags=abi.SessionFlag.EXPECTED)
    put(rig, 4, TCP, ESTABLISHED, 8000, flags=abi.SessionFlag.EXPECTED)
    rig.gateway.relations.put_many([(4, 2), (5, 3)])
    done = sweep(rig)
    assert done.live_parents == {2} and set(done.control_ids) == {2, 3}
    idle = {
        key.inside_port: ((ticks() - rig.gateway.sessions[key].last_seen) & 0xFFFFFFFF) / SECOND
        for key in (parent, orphan)
    }
    assert idle[1] < 10 and idle[2] > 6000


def test_a_full_table_loses_the_oldest_without_an_answer(rig: Rig) -> None:
    """At most a quarter of the table; neither live sessions nor brand-new SYNs."""
    rig.configure()
    live = [put(rig, number, TCP, ESTABLISHED, 100) for number in range(2700)]
    old = [put(rig, 3000 + number, TCP, NEW, 60) for number in range(700)]
    young = [put(rig, 5000 + number, TCP, NEW, 1) for number in range(600)]
    fresh = [put(rig, 7000 + number, TCP, NEW, -5) for number in range(50)]  # not older in this test's time
    done = sweep(rig)
    assert done.full and done.reclaimed == LIMIT // 4

    def there(keys: list[abi.SessionKey]) -> int:
        return sum(rig.gateway.sessions.get(key) is not None for key in keys)

    assert there(live) == len(live) and there(fresh) == len(fresh)
    assert there(old) + there(young) == 1300 - LIMIT // 4
    assert there(old) == 0


def test_what_is_over_makes_room_too(rig: Rig) -> None:
    """The last ACK of a connection may have to be repeated; a new connection matters more."""
    rig.configure()
    for number in range(2000):
        put(rig, number, TCP, ESTABLISHED, 100)
    closed = [put(rig, 3000 + number, TCP, (TIME_WAIT, RESET)[number % 2], 30) for number in range(600)]
    closing = [put(rig, 4000 + number, TCP, abi.SessionState.CLOSING, 30) for number in range(700)]
    just = [put(rig, 5000 + number, TCP, TIME_WAIT, -5) for number in range(500)]
    done = sweep(rig)
    assert done.full and done.reclaimed == len(closed) and not any(rig.gateway.sessions.get(key) for key in closed)
    assert all(rig.gateway.sessions.get(key) for key in (*closing, *just))


def test_a_host_near_its_share_makes_room_before_it_is_refused(rig: Rig) -> None:
    """A host that opens and closes connections all the time, as a crawler or a busy FTP client does, goes on."""
    half = abi.SHARE_WHOLE // 2
    rig.configure(share_own=half, share_free=half)
    closed = [put(rig, number * 256 + 5, TCP, TIME_WAIT, 30) for number in range(4)]
    for number in range(96):
        key = abi.SessionKey(inside_ip=closed[0].inside_ip, remote_ip=1000 + number, proto=TCP)
        rig.gateway.sessions.put(key, rig.gateway.sessions[closed[0]])
    other = put(rig, 6, TCP, TIME_WAIT, 30)
    busy, calm = (abi.MappingKey(inside_ip=key.inside_ip) for key in (closed[0], other))
    rig.gateway.hosts.put(calm, abi.Host(sessions=70))
    for has, room in ((1800, 0), (2000, 100 // 4)):  # half of the table is 2048
        rig.gateway.hosts.put(busy, abi.Host(sessions=has))
        rig.gateway.pools.put(abi.POOL_SESSIONS, abi.Pool(used=has + 70))
        assert bool(crowding_hosts(rig.gateway)) == bool(room)
        assert sweep(rig).reclaimed == room and rig.gateway.sessions.get(other)


def test_the_share_of_ports_is_looked_at_by_protocol(rig: Rig) -> None:
    half = abi.SHARE_WHOLE // 2
    rig.configure(share_own=half, share_free=half, port_first=1024, port_last=1024 + 999)
    key = abi.MappingKey(inside_ip=77)
    rig.gateway.pools.put(1, abi.Pool(used=480))
    rig.gateway.hosts.put(key, abi.Host(held=(480, 0, 0, 0)))
    assert crowding_hosts(rig.gateway) == set(), "of TCP, of which nothing is in use"
    rig.gateway.hosts.put(key, abi.Host(held=(0, 480, 0, 0)))
    assert crowding_hosts(rig.gateway) == {77}
    rig.configure(share_own=half, share_free=half, port_first=1024, port_last=1024 + 255)
    assert crowding_hosts(rig.gateway) == set(), "so few ports have no share"


def test_a_full_table_of_live_sessions_keeps_them(rig: Rig) -> None:
    rig.configure()
    for number in range(4000):
        put(rig, number, UDP, ACTIVE, 10)
    done = sweep(rig)
    assert done.full and done.reclaimed == 0 and done.seen == 4000


@pytest.mark.parametrize(("state", "seen", "walks"), [(ACTIVE, 10, 1), (UNREPLIED, 0, 2), (UNREPLIED, 100, 3)])
def test_a_full_table_is_walked_as_often_as_it_may_bring_something(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, state: int, seen: int, walks: int
) -> None:
    """A daemon with a million answered sessions spent two thirds of its sweeps on looking for others."""
    rig.configure()
    for number in range(4000):
        put(rig, number, UDP, state, seen)
    chunks, began = Table.chunks, []

    def counted(table: Table[Any, Any], *size: int) -> Iterator[tuple[bytes, bytes, int]]:
        began.extend([1] if table is rig.gateway.sessions else [])
        return chunks(table, *size)

    monkeypatch.setattr(Table, "chunks", counted)
    assert sweep(rig).full and len(began) == walks


def test_the_flooding_host_pays(rig: Rig) -> None:
    """Unanswered sessions go from who has most of them, though others' are older; answered ones of UDP stay."""
    rig.configure()
    flood = [put(rig, number * 256 + 5, UDP, UNREPLIED, 5) for number in range(3000)]
    for key in flood:
        value = rig.gateway.sessions[key]
        rig.gateway.sessions.delete(key)
        key.inside_ip, key.remote_ip, key.inside_port = 99, key.inside_ip, 1
        rig.gateway.sessions.put(key, value)
    others = [put(rig, number * 256 + 7, UDP, UNREPLIED, 200) for number in range(700)]
    young = [put(rig, number * 256 + 9, UDP, UNREPLIED, 0.5) for number in range(100)]
    live = [put(rig, number * 256 + 11, UDP, ACTIVE, 200) for number in range(100)]
    done = sweep(rig)
    assert done.full and done.reclaimed == LIMIT // 4
    left = sum(1 for key, _ in rig.gateway.sessions.items() if key.inside_ip == 99)
    assert left == 3000 - LIMIT // 4
    assert all(rig.gateway.sessions.get(key) for key in (*others, *young, *live))


def test_a_refused_host_makes_room_of_its_own(rig: Rig) -> None:
    rig.configure()
    own = [put(rig, 5, TCP, NEW, 60)]
    for number in range(99):
        key = abi.SessionKey(inside_ip=own[0].inside_ip, remote_ip=1000 + number, proto=TCP)
        rig.gateway.sessions.put(key, rig.gateway.sessions[own[0]])
        own.append(key)
    other = put(rig, 6, TCP, NEW, 60)
    made = Sweep(rig.gateway, ControlProgram(rig.gateway.fds["control"]), {own[0].inside_ip})
    for _ in made.run():
        pass
    assert made.reclaimed == 25 and rig.gateway.sessions.get(other)


def test_scarce_ports_are_enough(rig: Rig) -> None:
    """A block of ports that is nearly taken, in a table with room."""
    rig.configure(port_first=1024, port_last=1024 + 399)
    sessions = [put(rig, number * 256 + 5, TCP, NEW, 60, port_index=1024 + number) for number in range(380)]
    rig.gateway.pools.put(0, abi.Pool(used=380))
    done = sweep(rig)
    assert not done.full and done.reclaimed == 100
    assert sum(rig.gateway.sessions.get(key) is None for key in sessions) == 100
