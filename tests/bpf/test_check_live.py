"""`check --live` on the kernel's own tables: nothing in what packets make, and each kind of damage that is planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import moving
from algate.alg.gateway import estate, estate_file, reading
from algate.alg.gateway.invariants import judge
from algate.alg.gateway.picture import Broken
from algate.alg.helper.takeover import release_unclaimed
from algate.bpf import abi, syscall, ticks
from algate.bpf.abi import ConfigFlag, ControlOp, ExpectationState, PortKind, SessionState
from algate.bpf.description import own
from algate.bpf.pinned import Pinned
from algate.bpf.requests import ControlProgram, owner, port_row
from algate.bpf.tables import possible_cpus
from tests import packets
from tests.bpf import six
from tests.bpf.flows import answer, open_session
from tests.bpf.rig import (
    ICMP,
    INSIDE,
    INSIDE_2,
    PUBLIC,
    REDIRECT,
    REMOTE,
    REMOTE6,
    REMOTE_2,
    SECOND,
    SECRET,
    TCP,
    UDP,
    Rig,
    clear,
    session_key,
)
from tests.bpf.watched import IN, OUT, Watched, watch
from tests.packets import Flow

WEB, SAME, NAMES, ECHO = (
    Flow(INSIDE, 40000, REMOTE, 443),
    Flow(INSIDE_2, 40000, REMOTE, 443),  # its number is taken: a mapping
    Flow(INSIDE, 40053, REMOTE_2, 53),
    Flow(INSIDE, 40077, REMOTE, 40077),
)
SERVED = 8021
EXPECTED, EXEMPT = (int(one | abi.SessionFlag.PEER) for one in (abi.SessionFlag.EXPECTED, abi.SessionFlag.EXEMPT))
Tables = Any


@dataclass
class Scene:
    """A gateway in which every table has something, and where it is."""

    rig: Rig
    watched: Watched
    reserved: int
    data: abi.ExpectationKey

    @property
    def tables(self) -> Tables:
        return self.rig.gateway

    def look(self, ask: Callable[[], reading.Asked | None] = lambda: None) -> list[Broken]:
        with Pinned(self.rig.gateway.pins) as maps:
            return judge(reading.read(maps, ask))

    def change(self, table: Any, key: Any, **fields: Any) -> None:
        value = table[key]
        for name, one in fields.items():
            setattr(value, name, one)
        table.put(key, value)

    def slot(self, proto: int, port: int, **fields: int) -> None:
        self.change(self.tables.ports, port_row(0, proto, port), **fields)

    def session(self, flow: Flow = WEB, proto: int = TCP, **fields: int) -> None:
        self.change(self.tables.sessions, session_key(flow, proto), **fields)

    def port_of(self, flow: Flow, proto: int) -> int:
        found = self.rig.session(flow, proto)
        assert found is not None
        return found.port_index & 0xFFFF


def zero_counters(rig: Rig) -> None:
    for row in (abi.Counter.SESSIONS_NEW, abi.Counter.SESSIONS_ENDED):
        fd = rig.gateway._map_fd("counters")
        syscall.update(fd, int(row).to_bytes(4, "little"), bytes(8 * possible_cpus()))


def empty(rig: Rig) -> None:
    """What other tests left."""
    with Pinned(rig.gateway.pins) as maps:
        for row in reading._slots(maps)[1]:
            rig.gateway.ports.put(row, abi.PortSlot())
    clear(rig.gateway._map_fd("hosts"))
    for row in range(abi.POOL_ROWS):
        syscall.update(rig.gateway._map_fd("pools"), row.to_bytes(4, "little"), bytes(abi.Pool()))
    zero_counters(rig)


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    empty(rig)
    rig.configure(flags=ConfigFlag.HAIRPIN | ConfigFlag.FILTER_ADF)
    rig.beat()
    watched = watch(rig)
    open_session(rig, "tcp", WEB)
    assert rig.lan(packets.tcp(SAME, flags="S")).action == REDIRECT
    open_session(rig, "udp", NAMES)
    open_session(rig, "icmp", ECHO)
    rig.beat()
    forward(rig)
    watched.adjust()
    watched.decide(OUT, b"NOOP\r\n")
    watched.decide(OUT, b"PORT 10,0,0,2,1,2\r\n", abi.Verdict.REPLACE, b"PORT 203,0,113,1,1,2\r\n", at=6)
    rig.gateway.held.put(abi.DecisionKey(id=watched.id, seq=0, size=9, dir=OUT), abi.Replacement())
    port = rig.reserve(TCP, 40077, INSIDE, 40077)
    assert port is not None
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(REMOTE), to=abi.ip_to_be32(PUBLIC), to_port=abi.be16(port), proto=TCP, dir=IN
    )
    watched.expect(
        key, port, ExpectationState.OPEN, inside_port=abi.be16(40077), port_index=port_row(0, TCP, port),
        expires=ticks.now() + 3600 * SECOND,
    )  # fmt: skip
    yield Scene(rig, watched, port, key)
    empty(rig)


def forward(rig: Rig) -> None:
    value = abi.Forward(
        to_ip=abi.ip_to_be32(INSIDE), to_port=21, wan_first=SERVED, wan_last=SERVED, proto=TCP,
        flags=int(abi.ForwardFlag.USED),
    )  # fmt: skip
    rig.gateway.forwards.put(0, value)
    rig.slot(TCP, SERVED)
    who = owner(IPv4Address(INSIDE), 21, PortKind.FORWARD)
    assert ControlProgram(rig.gateway.fds["control"]).serve(port_row(0, TCP, SERVED), who, 0)


def test_what_packets_make_is_sound(scene: Scene) -> None:
    assert scene.look() == []
    assert {len(list(Pinned(scene.tables.pins).items(name))) > 0 for name in ("hosts", "peers", "mappings")} == {True}


def test_what_packets_unmake_is_sound(scene: Scene) -> None:
    """Data that came through the expectation, and its end; then everything killed."""
    rig = scene.rig
    come = answer(Flow(INSIDE, scene.reserved, REMOTE, 20), scene.reserved)
    assert rig.wan_in(packets.tcp(come, flags="S")).action == REDIRECT
    rig.gateway.expectations.delete(scene.data)
    assert scene.look() == []
    control = ControlProgram(rig.gateway.fds["control"])
    control.release(port_row(0, TCP, scene.reserved), owner(IPv4Address(INSIDE), 40077, PortKind.RESERVED))
    assert scene.look() == []
    control.keys(ControlOp.KILL, [bytes(key) for key, _ in rig.gateway.sessions.items()])
    for table in (rig.gateway.decisions, rig.gateway.replacements, rig.gateway.held):
        table.clear()
    assert scene.look() == []
    assert len(rig.gateway.sessions) == 0


def test_shared_ports_are_sound_until_a_share_is_gone(rig: Rig) -> None:
    empty(rig)
    rig.configure(flags=ConfigFlag.HAIRPIN | ConfigFlag.MAPPING_APDM, port_first=50000, port_last=50001)
    for host in (INSIDE, INSIDE_2):
        for last in range(1, 4):
            assert rig.lan(packets.udp(Flow(host, 4000, f"192.0.2.{last}", 53), b"?")).action == REDIRECT
    with Pinned(rig.gateway.pins) as maps:
        assert judge(reading.read(maps)) == []
        key, share = next(iter(rig.gateway.shares.items()))
        rig.gateway.shares.delete(key)
        assert {one.rule for one in judge(reading.read(maps))} == {"session-share", "host-ports", "host-held"}
        nobody = abi.ip_to_be32("192.0.2.99")
        other = abi.ShareKey(port_index=key.port_index, remote_ip=nobody, remote_port=key.remote_port)
        rig.gateway.shares.put(other, share)
        assert {one.rule for one in judge(reading.read(maps))} == {"session-share", "share-session"}
        rig.gateway.shares.put(abi.ShareKey(port_index=port_row(0, UDP, 9), remote_ip=1, remote_port=1), share)
        assert "share-port" in {one.rule for one in judge(reading.read(maps))}
    empty(rig)


def test_sessions_of_ipv6_are_sound_until_an_address_is_gone(rig: Rig, tmp_path: Path) -> None:
    """Counted by /64 and with every peer; after an export into fresh maps too."""
    empty(rig)
    rig.configure(flags=ConfigFlag.FILTER_ADF)
    rig.gateway.configs6.put(0, abi.Config6(flags=abi.SixFlag.FILTER | abi.SixFlag.HOST_64))
    six.open_tcp(rig)
    assert rig.lan(six.frame(six.udp())).action == REDIRECT
    base = rig.gateway.pins.with_name(f"{rig.gateway.pins.name}-copy")
    with Pinned(rig.gateway.pins) as maps:
        assert judge(reading.read(maps)) == []
        found = estate_file.read(one.encode() for one in estate_file.write(own(), maps.items, SECRET))
        estate.settle(found)
        try:
            moving._fill(base, found, 4096, tmp_path)
            (folder,) = base.iterdir()
            with Pinned(folder) as copy:
                assert {one.rule for one in judge(reading.read(copy))} == {"stage"}
                for name in ("sessions", "addresses6", "handles", "hosts", "peers"):
                    assert {key for key, _ in copy.items(name)} == {key for key, _ in maps.items(name)}, name
        finally:
            shutil.rmtree(base, ignore_errors=True)
        rig.gateway.addresses6.delete(six.handle(rig, REMOTE6) or 0)
        assert {one.rule for one in judge(reading.read(maps))} == {"session-address", "pool"}
    empty(rig)


def end_session(scene: Scene, flow: Flow = WEB) -> None:
    """Gone from the table alone."""
    scene.tables.sessions.delete(session_key(flow, TCP))


def lost_record(scene: Scene, table: str, damage: Callable[[Any], None]) -> None:
    found = getattr(scene.tables, table)
    key, value = next(iter(found.items()))
    damage(value)
    found.put(key, value)


def set_id(value: Any) -> None:
    value.id = 0x1234


def orphan(table: str, value: Any) -> Callable[[Scene], None]:
    def plant(scene: Scene) -> None:
        getattr(scene.tables, table).put(abi.DecisionKey(id=0x1234, seq=0, size=4, dir=OUT), value)

    return plant


def bits(scene: Scene, port: int, taken: bool) -> None:
    block = port_row(0, TCP, port) >> 16
    at = block * abi.BITMAP_BLOCK + (port >> 6)
    word = scene.tables.port_bits[at]
    scene.tables.port_bits.put(at, word | 1 << (port & 63) if taken else word & ~(1 << (port & 63)))


def hide(scene: Scene) -> None:
    bits(scene, 40000, False)
    scene.slot(TCP, 40000, stamp=ticks.now() - 60 * SECOND)


def expectation(scene: Scene, **fields: Any) -> None:
    scene.change(scene.tables.expectations, scene.data, **fields)


def elsewhere(scene: Scene) -> None:
    key = abi.ExpectationKey(from_=1, to=abi.ip_to_be32("203.0.113.9"), to_port=9, proto=TCP, dir=IN)
    value = scene.tables.expectations[scene.data]
    value.id += 1
    scene.tables.expectations.put(key, value)


def host(scene: Scene, **change: int) -> None:
    fd = scene.tables._map_fd("hosts")
    key = bytes(abi.MappingKey(inside_ip=abi.ip_to_be32(INSIDE)))
    raw = syscall.lookup(fd, key, len(bytes(abi.Host())))
    assert raw is not None
    value = abi.Host.unpack(raw)
    for name, by in change.items():
        setattr(value, name, getattr(value, name) + by)
    syscall.update(fd, key, bytes(value))


def hoard(scene: Scene) -> None:
    fd = scene.tables._map_fd("hosts")
    key = bytes(abi.MappingKey(inside_ip=abi.ip_to_be32(INSIDE)))
    value = abi.Host.unpack(syscall.lookup(fd, key, len(bytes(abi.Host()))) or b"")
    value.held[1] += 1
    syscall.update(fd, key, bytes(value))


def pool(scene: Scene, row: int) -> None:
    fd, key = scene.tables._map_fd("pools"), row.to_bytes(4, "little")
    value = abi.Pool.unpack(syscall.lookup(fd, key, len(bytes(abi.Pool()))) or b"")
    syscall.update(fd, key, bytes(abi.Pool(used=value.used + 1)))


def peer(scene: Scene) -> None:
    fd = scene.tables._map_fd("peers")
    key = syscall.next_key(fd, None, 12)
    assert key is not None
    syscall.update(fd, key, (9).to_bytes(8, "little"))


def away(scene: Scene) -> None:
    scene.slot(TCP, 40000, away=5)


def mapping(scene: Scene, ip: str, port: int, row: int) -> None:
    key = abi.MappingKey(inside_ip=abi.ip_to_be32(ip), inside_port=abi.be16(port), proto=TCP)
    scene.tables.mappings.put(key, abi.Mapping(port_index=row))
    scene.slot(TCP, port, away=scene.tables.ports[port_row(0, TCP, port)].away + 1)


def miscount(scene: Scene) -> None:
    fd = scene.tables._map_fd("counters")
    syscall.update(fd, int(abi.Counter.SESSIONS_NEW).to_bytes(4, "little"), (7).to_bytes(8, "little") * possible_cpus())


def no_stage(scene: Scene) -> None:
    syscall.delete(scene.tables._map_fd("stages"), int(abi.Stage.ICMP).to_bytes(4, "little"))


def stray(scene: Scene, owned: int, sessions: int) -> None:
    """A row that no packet made."""
    scene.slot(TCP, 1999, owner=owned, sessions=sessions, stamp=ticks.now())


DAMAGE: dict[str, tuple[Callable[[Scene], None], set[str]]] = {
    "dead session": (lambda s: s.session(state=int(SessionState.DEAD)), {"session-state"}),
    "udp state on tcp": (lambda s: s.session(state=int(SessionState.ACTIVE)), {"session-state"}),
    "from the future": (lambda s: s.session(last_seen=ticks.now() + 900 * SECOND), {"session-age"}),
    "expected by nobody": (lambda s: s.session(flags=EXPECTED), {"session-related"}),
    "half exempt": (lambda s: s.session(ECHO, ICMP, flags=EXEMPT), {"session-exempt"}),
    "row of another protocol": (
        lambda s: s.session(ECHO, ICMP, port_index=port_row(0, TCP, 40078)), {"session-row", "port-count"}
    ),
    "port without owner": (
        lambda s: s.slot(TCP, 40000, owner=0, sessions=0), {"session-port", "host-ports", "host-held", "pool"}
    ),
    "somebody else's port": (
        lambda s: s.session(port_index=port_row(0, TCP, s.port_of(SAME, TCP))), {"session-port", "port-count"}
    ),
    "the gateway's own port": (
        lambda s: s.slot(TCP, 40000, owner=owner(IPv4Address(PUBLIC), 40000, PortKind.LOCAL)),
        {"session-port", "host-ports", "host-held", "pool"},
    ),
    "owner without session": (
        lambda s: stray(s, owner(IPv4Address(INSIDE), 9, PortKind.RESERVED), 0), {"port-count", "host-held", "pool"}
    ),
    "sessions without owner": (lambda s: s.slot(TCP, 1999, sessions=1), {"port-count"}),
    "one session too many": (lambda s: s.slot(TCP, 40000, sessions=3), {"port-count"}),
    "leaked session": (end_session, {"port-count", "host-sessions", "pool", "peer-count", "counters"}),
    "unknown kind": (lambda s: stray(s, 99 << 48, 1), {"port-kind"}),
    "home of another number": (
        lambda s: stray(s, owner(IPv4Address("10.0.0.9"), 5, PortKind.HOME), 1),
        {"port-home", "port-count", "pool"},
    ),
    "mapping to another's port": (
        lambda s: mapping(s, "10.0.0.9", 5, port_row(0, TCP, 40000)), {"mapping-port"}
    ),
    "mapping and home": (
        lambda s: mapping(s, INSIDE, 40000, port_row(0, TCP, s.port_of(SAME, TCP))), {"mapping-port", "mapping-twice"}
    ),
    "away": (away, {"mapping-away"}),
    "host's sessions": (lambda s: host(s, sessions=2), {"host-sessions"}),
    "host's ports": (lambda s: host(s, ports=-1), {"host-ports"}),
    "host's unanswered": (lambda s: host(s, unanswered=-1), {"host-unanswered"}),
    "host's ports with reserved ones": (hoard, {"host-held"}),
    "sessions in the pool": (lambda s: pool(s, abi.POOL_SESSIONS), {"pool"}),
    "ports in the pool": (lambda s: pool(s, 0), {"pool"}),
    "relation of no session": (lambda s: s.tables.relations.put(0x1234, s.watched.id), {"relation-session"}),
    "peer": (peer, {"peer-count"}),
    "port shown as free": (hide, {"bitmap-clear"}),
    "port shown as taken": (lambda s: bits(s, 1999, True), {"bitmap-set"}),
    "forward without port": (lambda s: s.slot(TCP, SERVED, owner=0, sessions=0), {"forward-port"}),
    "sources without forward": (
        lambda s: s.tables.forward_sources.put(abi.ForwardSourceKey(prefix_len=64, forward_id=5, address=1), 1),
        {"forward-sources"},
    ),
    "counters": (miscount, {"counters"}),
    "no track": (lambda s: s.tables.tracks.clear(), {"track-missing"}),
    "track of another": (lambda s: lost_record(s, "tracks", set_id), {"track-missing", "track-session"}),
    "adjust of another": (lambda s: lost_record(s, "adjusts", set_id), {"adjust-session"}),
    "decision without session": (orphan("decisions", abi.Decision(verdict=abi.Verdict.PASS)), {"decision-session"}),
    "decision without verdict": (
        lambda s: lost_record(s, "decisions", lambda value: setattr(value, "verdict", 9)), {"decision-value"}
    ),
    "replacement gone": (lambda s: s.tables.replacements.clear(), {"decision-bytes"}),
    "replacement without decision": (orphan("replacements", abi.Replacement()), {"replacement"}),
    "held without session": (orphan("held", abi.Replacement()), {"held-session"}),
    "held piece missing": (
        lambda s: s.tables.held.put(abi.DecisionKey(id=s.watched.id, seq=2, size=9, dir=OUT), abi.Replacement()),
        {"held-gap"},
    ),
    "held of no direction": (
        lambda s: s.tables.held.put(abi.DecisionKey(id=s.watched.id, seq=0, size=9, dir=3), abi.Replacement()),
        {"held-value"},
    ),
    "expectation's state": (lambda s: expectation(s, state=9), {"expectation-state"}),
    "expectation used": (lambda s: expectation(s, state=int(ExpectationState.USED)), {"expectation-used"}),
    "expectation too old": (lambda s: expectation(s, expires=ticks.now() - 5 * SECOND), {"expectation-expired"}),
    "expectation of nobody": (lambda s: expectation(s, control_id=0x1234), {"expectation-control"}),
    "expectation's key": (lambda s: expectation(s, control_key=session_key(WEB, TCP)), {"expectation-key"}),
    "expectation's port": (lambda s: expectation(s, port_index=port_row(0, TCP, 1999)), {"expectation-port"}),
    "expectation elsewhere": (elsewhere, {"expectation-port"}),
    "no stage": (no_stage, {"stage"}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(scene: Scene, name: str) -> None:
    plant, rules = DAMAGE[name]
    plant(scene)
    scene.rig.slot(TCP, 1999)
    scene.rig.beat()
    found = scene.look()
    assert {one.rule for one in found} == rules, found
    assert all(one.detail and "\n" not in one.detail for one in found)
    scene.tables.install_stages()


def test_a_stage_of_nat64_is_missed(rig64: Rig) -> None:
    def missed() -> list[str]:
        with Pinned(rig64.gateway.pins) as maps:
            return [one.about for one in judge(reading.read(maps)) if one.rule == "stage"]

    assert missed() == []
    syscall.delete(rig64.gateway._map_fd("stages"), int(abi.Stage.TURN_IN).to_bytes(4, "little"))
    try:
        assert missed() == ["TURN_IN"]
    finally:
        rig64.gateway.install_stages()


def test_an_expectation_of_a_session_that_is_over(scene: Scene) -> None:
    scene.rig.lan(scene.watched.frame(OUT, flags="R"))
    scene.rig.beat()
    assert {one.rule for one in scene.look()} == {"expectation-control"}
    scene.tables.heartbeat.put(0, 0)
    assert scene.look() == [], "nobody is there who could end it"


def test_what_the_helper_has_in_mind(scene: Scene) -> None:
    row = port_row(0, TCP, scene.reserved)
    scene.tables.expectations.delete(scene.data)
    assert scene.look() == [], "the helper wasn't asked"
    assert scene.look(lambda: ({row}, {scene.watched.id})) == []
    assert {one.rule for one in scene.look(lambda: (set(), {scene.watched.id, 5}))} == {"port-leak", "helper-session"}


def test_a_port_that_a_dead_helper_reserved_for_nothing_is_given_back(scene: Scene) -> None:
    """It died between reserving and expecting. What something is expected on, and what a session uses, stays."""
    control = ControlProgram(scene.tables.fds["control"])
    row = port_row(0, TCP, scene.reserved)
    release_unclaimed(scene.tables, control)
    assert scene.tables.ports[row].sessions == 1, "something is expected there"
    come = answer(Flow(INSIDE, scene.reserved, REMOTE, 20), scene.reserved)
    assert scene.rig.wan_in(packets.tcp(come, flags="S")).action == REDIRECT
    scene.tables.expectations.delete(scene.data)
    for _ in range(2):
        release_unclaimed(scene.tables, control)
        assert scene.tables.ports[row].sessions == 1, "that of the session"
    left = scene.rig.reserve(TCP, 40078, INSIDE, 40078)
    assert left is not None
    release_unclaimed(scene.tables, control)
    assert scene.tables.ports[port_row(0, TCP, left)].owner == 0


def test_all_of_it_goes_through_an_export_into_fresh_maps(scene: Scene, tmp_path: Path) -> None:
    with Pinned(scene.tables.pins) as maps:
        lines = [one.encode() for one in estate_file.write(own(), maps.items, SECRET)]
    found = estate_file.read(lines)
    estate.settle(found)
    assert found.left == 0
    base = scene.tables.pins.with_name(f"{scene.tables.pins.name}-copy")
    try:
        moving._fill(base, found, 4096, tmp_path)
        (folder,) = base.iterdir()
        with Pinned(folder) as copy, Pinned(scene.tables.pins) as maps:
            assert {one.rule for one in judge(reading.read(copy))} == {"stage"}, "its programs are yet to be loaded"
            for name in (*estate.TRAVELS, "hosts", "peers"):
                assert {key for key, _ in copy.items(name)} >= {key for key, value in maps.items(name) if any(value)}, (
                    name
                )
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_a_gateway_at_work_gives_no_alarm(scene: Scene) -> None:
    """Sessions that come and go while the tables are read."""
    rig = scene.rig
    number = 0

    def churn() -> None:
        nonlocal number
        control = ControlProgram(rig.gateway.fds["control"])
        for _ in range(20):
            number += 1
            flow = Flow(INSIDE, 20000 + number, REMOTE, 443)
            rig.slot(TCP, 20000 + number)
            assert rig.lan(packets.tcp(flow, flags="S")).action == REDIRECT
            if number % 2:
                control.keys(ControlOp.KILL, [bytes(session_key(flow, TCP))])

    rig.beat()
    with Pinned(rig.gateway.pins) as maps:
        chunks = maps.chunks

        def busy(name: str) -> Any:
            churn()
            return chunks(name)

        maps.chunks = busy  # type: ignore[method-assign]
        for _ in range(3):
            assert judge(reading.read(maps)) == []
