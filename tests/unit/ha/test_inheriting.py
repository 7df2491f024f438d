"""An estate from what a standby holds: rows by this host's clock, mappings and counts that follow from sessions."""

from __future__ import annotations

from algate.alg.engine.effects import SessionKey
from algate.alg.gateway import records
from algate.alg.ha.entries import Authorship
from algate.alg.ha.inheriting import SETTLED, between, inherit, shifting
from algate.alg.ha.standby import KeptState
from algate.bpf import abi, ticks
from algate.bpf.packing import native

THEIRS = Authorship("a", "layout", "boot-1", 5_000_000_000_000, 1000.0)
OURS = Authorship("b", "layout", "boot-2", 9_000_000_000_000, 1000.0)
SHIFT = 4_000_000_000_000 & ~0xFF
ROW = 40_000
INSIDE = bytes((10, 0, 0, 5))


def kept(*sessions: int, parents: dict[int, int] | None = None) -> KeptState:
    made = KeptState(THEIRS, parents=parents or {})
    for place, one in enumerate(sessions):
        key = records.pack_key(SessionKey(INSIDE, 3000 + place, bytes((198, 51, 100, 2)), 21))
        value = abi.Session(id=one, state=abi.SessionState.ESTABLISHED, port_index=ROW + place, acked=(1, 1))
        made.sessions[one] = key + bytes(value)
        owner = int.from_bytes(INSIDE, "little") | abi.be16(3000 + place) << 32 | int(abi.PortKind.MAPPING) << 48
        made.ports[ROW + place] = bytes(abi.PortSlot(owner=owner, sessions=7, stamp=100))
    return made


def test_ids_and_moments_are_by_this_hosts_clock() -> None:
    assert between(THEIRS, OURS) == SHIFT
    assert between(THEIRS, OURS._replace(boot="boot-1")) == 0
    one = abi.Expectation(id=0x500, control_id=0x600, expires=77)
    moved = abi.Expectation.unpack(shifting(SHIFT)("expectation", bytes(one)))
    assert (moved.id, moved.control_id) == (0x500 + SHIFT, 0x600 + SHIFT)
    assert moved.expires == 77 + (SHIFT >> abi.TICK_SHIFT)
    assert abi.Session.unpack(shifting(SHIFT)("session", bytes(abi.Session()))).id == 0


def test_sessions_have_their_ports_and_mappings_again() -> None:
    first = 4_000_000_000_100
    control, bulk = kept(first), kept(first, first + 0x100)
    control.tracks[first] = bytes(abi.Track(id=first))
    control.adjusts[first] = bytes(abi.Adjust(id=first))
    control.held[first, 1] = b"x" * 3000
    made = inherit(control, bulk, OURS)
    assert sorted(abi.Session.unpack(one).id for one in made.maps["sessions"].values()) == [
        first + SHIFT, first + SHIFT + 0x100,
    ]  # fmt: skip
    assert made.left == 0 and len(made.maps["mappings"]) == 2
    slot = abi.PortSlot.unpack(made.maps["ports"][native(ROW, 4)])
    assert slot.sessions == 1 and slot.stamp == 100 + (SHIFT >> abi.TICK_SHIFT)
    assert [abi.Adjust.unpack(one).id for one in made.maps["adjusts"].values()] == [first + SHIFT]
    assert {abi.DecisionKey.unpack(one).id for one in made.maps["held"]} == {first + SHIFT}
    told = abi.Session.unpack(next(iter(made.maps["sessions"].values())))
    assert ticks.elapsed(ticks.now(), told.last_seen) < 5
    assert made.secret


def test_a_session_without_its_port_is_left_behind() -> None:
    control = kept(0x500, 0x600)
    del control.ports[ROW + 1]
    made = inherit(control, None, OURS)
    assert made.left == 1 and len(made.maps["sessions"]) == 1


def test_an_old_data_connection_that_the_other_log_lacks_has_ended() -> None:
    now = THEIRS.clock
    old, young, control = now - 2 * SETTLED, now - SETTLED // 2, now - 4 * SETTLED
    made = inherit(kept(control, old, young, parents={old: control, young: control}), kept(), OURS)
    assert sorted(abi.Session.unpack(one).id - SHIFT for one in made.maps["sessions"].values()) == [control, young]
