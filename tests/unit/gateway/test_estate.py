"""What a gateway holds, on its way to another layout or another host."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from algate.alg.gateway import estate, estate_file, records
from algate.alg.gateway.estate import Estate
from algate.alg.gateway.tally import tally
from algate.bpf import abi, layout, ticks
from algate.bpf.contents import Contents
from algate.bpf.description import Description, own, parse
from algate.bpf.requests import owner, port_row

pytestmark = pytest.mark.unit

TCP = 6
INSIDE, REMOTE, PUBLIC = IPv4Address("10.0.0.2"), IPv4Address("198.51.100.7"), IPv4Address("203.0.113.1")
ID = 5_000_000_000_000 & ~0xFF | 3
ROW = port_row(0, TCP, 40000)
NOW = ticks.now()
KEY = abi.SessionKey(
    inside_ip=abi.ip_to_be32(INSIDE), remote_ip=abi.ip_to_be32(REMOTE), inside_port=abi.be16(40000),
    remote_port=abi.be16(443), proto=TCP,
)  # fmt: skip
SESSION = abi.Session(
    id=ID, packets=(3, 4), bytes=(300, 1 << 40), state=int(abi.SessionState.ESTABLISHED), alg=1,
    last_seen=(NOW - ticks.lasting(5)) % ticks.WRAP, port_index=ROW, public_ip=abi.ip_to_be32(PUBLIC),
)  # fmt: skip
SLOT = abi.PortSlot(owner=owner(INSIDE, 40000, abi.PortKind.HOME), sessions=9, stamp=NOW)


def holding() -> dict[str, dict[bytes, bytes]]:
    """One control session with all that it can have."""
    key = abi.DecisionKey(id=ID, seq=7, size=4, dir=0)
    expectation = abi.Expectation(id=77, control_id=ID, control_key=KEY, state=1, port_index=ROW + 1, expires=NOW)
    held = owner(INSIDE, 40001, abi.PortKind.RESERVED)
    return {
        "ports": {row(ROW): bytes(SLOT), row(ROW + 1): bytes(abi.PortSlot(owner=held, sessions=1))},
        "sessions": {bytes(KEY): bytes(SESSION)},
        "tracks": {bytes(KEY): bytes(abi.Track(id=ID, isn=(1, 2), window_scale=(7, 255)))},
        "decisions": {bytes(key): bytes(abi.Decision(digest=1 << 60, verdict=2, new_size=3))},
        "replacements": {bytes(key): bytes(abi.Replacement(bytes=(1, 2, 3)))},
        "expectations": {bytes(abi.ExpectationKey(to=1, to_port=2, proto=TCP, dir=1)): bytes(expectation)},
        "relations": {ID.to_bytes(8, "little"): (ID + 256).to_bytes(8, "little")},
        "configs": {bytes(4): bytes(abi.Config(secret=99))},
    }


def row(number: int) -> bytes:
    return number.to_bytes(4, "little")


def entries(maps: dict[str, dict[bytes, bytes]]) -> Any:
    def walk(name: str) -> Iterator[tuple[bytes, bytes]]:
        yield from maps.get(name, {}).items()

    return walk


def taken(maps: dict[str, dict[bytes, bytes]]) -> Estate:
    found = estate.take(own(), entries(maps))
    estate.settle(found)
    return found


def exported(maps: dict[str, dict[bytes, bytes]]) -> list[bytes]:
    return [line.encode() for line in estate_file.write(own(), entries(maps), 99)]


def test_a_sound_estate_is_kept_whole_and_counted_anew() -> None:
    maps = holding()
    found = taken(maps)
    assert found.left == 0 and found.secret == 99
    assert {name: len(some) for name, some in found.maps.items() if some} == {
        name: len(some) for name, some in maps.items() if name != "configs"
    }
    assert abi.PortSlot.unpack(found.maps["ports"][row(ROW)]).sessions == 1


def test_what_can_be_counted_is() -> None:
    counted = tally(taken(holding()).maps)
    (host,) = (abi.Host.unpack(value) for value in counted["hosts"].values())
    assert (host.sessions, host.ports, host.unanswered, list(host.held)) == (1, 1, 0, [2, 0, 0, 0])
    pools = {int.from_bytes(key, "little"): abi.Pool.unpack(value).used for key, value in counted["pools"].items()}
    assert pools == {0: 2, abi.POOL_SESSIONS: 1}
    assert counted["peers"] == {}
    assert {int.from_bytes(key, "little") for key in counted["port_bits"]} == {40000 >> 6}


def test_a_full_word_of_the_bitmap_is_said_to_be_full() -> None:
    slots = {row(port_row(0, TCP, port)): bytes(SLOT) for port in range(64, 128)}
    bits = tally({"addresses6": {}, "ports": slots, "port_blocks": {}, "sessions": {}, "shares": {}})["port_bits"]
    assert {int.from_bytes(key, "little"): int.from_bytes(value, "little") for key, value in bits.items()} == {
        1: (1 << 64) - 1, abi.BITMAP_WORDS: 2,
    }  # fmt: skip


@pytest.mark.parametrize("holder", ["10.0.0.2", "10.0.0.3", ""])
def test_a_port_block_counts_its_own_hosts_ports_alone(holder: str) -> None:
    """Where an older version left another number in the slot, or the block is another host's, the port is in none."""
    maps, block = holding(), 40000 // 64
    mapping = abi.PortSlot(
        owner=owner(INSIDE, 40000, abi.PortKind.MAPPING), sessions=9, stamp=NOW, forward_id=block + 1
    )
    maps["ports"][row(ROW)] = bytes(mapping)
    maps["port_blocks"] = {}
    if holder:
        held = abi.PortBlock(holder=abi.ip_to_be32(IPv4Address(holder)) | 7 << 32, size=64, stamp=NOW, assigned=ID)
        maps["port_blocks"][row(block)] = bytes(held)
    found = taken(maps)
    own_block = holder == str(INSIDE)
    assert abi.PortSlot.unpack(found.maps["ports"][row(ROW)]).forward_id == (block + 1 if own_block else 0)
    used = [abi.PortBlock.unpack(value).holder >> 32 for value in found.maps["port_blocks"].values()]
    assert used == ([int(own_block)] if holder else [])


def test_what_lost_its_other_half_is_left_behind() -> None:
    maps = holding()
    del maps["ports"][row(ROW)]
    found = taken(maps)
    assert found.left == 1
    assert not any(
        found.maps[name] for name in ("sessions", "tracks", "decisions", "replacements", "expectations", "relations")
    )
    assert not any(abi.PortSlot.unpack(slot).owner for slot in found.maps["ports"].values())


def test_an_export_comes_back_as_it_was_on_the_same_host() -> None:
    maps = holding()
    lines = exported(maps)
    found = estate_file.read(lines)
    for name, some in maps.items():
        if name != "configs":
            assert found.maps[name].keys() == some.keys(), name
    back = abi.Session.unpack(found.maps["sessions"][bytes(KEY)])
    assert abs(ticks.distance(back.last_seen, SESSION.last_seen)) < ticks.lasting(2)
    back.last_seen = SESSION.last_seen
    assert bytes(back) == bytes(SESSION)
    assert found.maps["replacements"] == maps["replacements"]
    (track,) = (abi.Track.unpack(one) for one in found.maps["tracks"].values())
    assert (track.id, list(track.isn), list(track.window_scale)) == (ID, [1, 2], [7, 255])
    assert found.secret == 99


def test_ages_travel_to_another_host() -> None:
    lines = exported(holding())
    head = json.loads(lines[0])
    head |= {"boot": "another", "clock": head["clock"] + 10**15, "made": head["made"] - 60}
    found = estate_file.read([json.dumps(head).encode(), *lines[1:]])
    (value,) = found.maps["sessions"].values()
    session = abi.Session.unpack(value)
    assert ticks.elapsed(ticks.now(), session.last_seen) == pytest.approx(
        60 + ticks.elapsed(ticks.now(), SESSION.last_seen), abs=5
    )
    (track,) = found.maps["tracks"].values()
    (decision,) = found.maps["decisions"]
    ((child, parent),) = found.maps["relations"].items()
    assert int.from_bytes(child, "little") == session.id and int.from_bytes(parent, "little") not in (0, session.id)
    assert session.id and session.id == abi.Track.unpack(track).id == abi.DecisionKey.unpack(decision).id
    assert taken({**found.maps, "configs": {}}).left == 0


def test_ids_from_before_this_boot_stay_different() -> None:
    clock = estate_file.Clock({"made": 0.0, "boot": "x", "clock": 1 << 62})
    ids = [clock.id(f"{number:x}") for number in (256, 512, 256, 0)]
    assert ids[0] == ids[2] != ids[1] and ids[3] == 0 and min(ids[:3]) > 0


BAD: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "empty": (lambda lines: [], "it is empty"),
    "no export": (lambda lines: [b'{"a":1}'], "line 1: this is no export of algate"),
    "no JSON": (lambda lines: [lines[0], b"\x00\xff", *lines[1:]], "line 2: it "),
    "other format": (lambda lines: [lines[0].replace(b'export": 1', b'export": 9')], "line 1: it has format 9"),
    "cut short": (lambda lines: lines[:-1], "it ends too early"),
    "a line is missing": (lambda lines: [*lines[:2], *lines[3:]], "entries are missing"),
    "more after the end": (lambda lines: [*lines, lines[1]], "there is more after the end"),
    "a number too large": (lambda lines: [one.replace(b'"alg":1', b'"alg":1000') for one in lines], "line "),
    "a word for a number": (lambda lines: [one.replace(b'"alg":1', b'"alg":"x"') for one in lines], "alg is no number"),
    "no key": (lambda lines: [one.replace(b'"key"', b'"kex"') for one in lines], "'key' is missing"),
    "no address": (lambda lines: [one.replace(b"10.0.0.2", b"10.0.0.x") for one in lines], "line "),
    "a long line": (lambda lines: [lines[0], b"[" * 70000], "line 2: "),
    "a list": (lambda lines: [lines[0], b"[1]"], "line 2: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_one_clear_line(name: str) -> None:
    spoil, word = BAD[name]
    with pytest.raises(estate_file.ExportError) as told:
        estate_file.read(spoil(exported(holding())))
    assert word in str(told.value) and "\n" not in str(told.value)


def test_what_this_version_does_not_know_is_passed_over() -> None:
    lines = exported(holding())
    lines[1:-1] = [one.replace(b'"value":{', b'"value":{"later":[1,2],') for one in lines[1:-1]]
    end = json.loads(lines[-1])
    end["end"]["futures"] = 1
    lines = [*lines[:-1], b'{"map":"futures","key":1,"value":{}}', json.dumps(end).encode()]
    assert len(estate_file.read(lines).maps["sessions"]) == 1


def little(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


OLD = """
struct session_key {
 __be32 inside_ip; __be32 remote_ip; __be16 inside_port; __be16 remote_port; __u8 proto; __u8 pad[3];
};
struct session { __u64 id; __u32 packets[2]; __u64 bytes[2]; __u32 gone; __u16 state; __u8 alg; __u8 flags; };
struct expectation { __u64 id; struct session_key control_key; __u32 expires; __u32 pad; };
"""


def test_another_layout_is_converted_field_by_field() -> None:
    old = Description("old", layout.parse(OLD), {"sessions": Contents("hash", "session_key", "session")})
    raw = (
        little(7, 8) + little(5, 4) + little(6, 4) + little(1 << 33, 8) + bytes(8)
        + b"gone" + little(2, 2) + b"\1\4"
    )  # fmt: skip
    made = abi.Session.unpack(estate.converter(old, "session")(raw))
    assert (made.id, list(made.packets), list(made.bytes)) == (7, [5, 6], [1 << 33, 0])
    assert (made.state, made.alg, made.flags, made.last_seen) == (2, 1, 4, 0)
    nested = estate.converter(old, "expectation")(
        (9).to_bytes(8, "little") + bytes(KEY) + (3).to_bytes(4, "little") + bytes(4)
    )
    value = abi.Expectation.unpack(nested)
    assert (value.id, value.control_key, value.expires) == (9, KEY, 3)


FORMER = """
struct session {
 __u64 id; __u64 related; __u64 packets[2]; __u64 bytes[2]; __u16 state; __u8 alg; __u8 flags; __u32 last_seen;
 __u32 port_index; __be32 public_ip;
};
"""
PARENT = ID - 256
MANY = (3 << 32) + 7  # packets


def former_session() -> bytes:
    """As in layouts whose sessions had no TCP numbers."""
    return (
        little(ID, 8) + little(PARENT, 8) + little(MANY, 8) + little(4, 8) + little(1 << 50, 8) + little(9, 8)
        + little(abi.SessionState.ESTABLISHED, 2) + bytes([0, abi.SessionFlag.EXPECTED]) + little(NOW, 4)
        + little(ROW, 4) + PUBLIC.packed
    )  # fmt: skip


def former() -> tuple[Description, dict[str, dict[bytes, bytes]]]:
    maps = {name: Contents("hash", key, value) for name, (_, key, value) in own().maps.items() if name != "relations"}
    header = own().header
    structs = header.structs | {"session": layout.parse(FORMER).structs["session"]}
    held = holding()
    held["sessions"] = {bytes(KEY): former_session()}
    return Description("old", dataclasses.replace(header, structs=structs), maps), held


def check_lifted(found: Estate) -> None:
    estate.settle(found)
    session = abi.Session.unpack(found.maps["sessions"][bytes(KEY)])
    value = records.unpack_session(bytes(session))
    assert value.packets == (MANY, 4) and value.octets == (1 << 50, 9)
    assert found.maps["relations"] == {little(ID, 8): little(PARENT, 8)}
    assert session.state == abi.SessionState.ESTABLISHED | abi.StateBit.DOUBT, "it has no numbers"
    assert session.flags & abi.SessionFlag.EXPECTED


def test_a_session_of_the_former_layout_keeps_its_relation_and_gets_doubt() -> None:
    old, maps = former()
    check_lifted(estate.take(old, entries(maps)))


def test_an_export_of_the_former_layout_too() -> None:
    old, maps = former()
    check_lifted(estate_file.read(line.encode() for line in estate_file.write(old, entries(maps), 99)))


def test_relations_travel_with_their_sessions() -> None:
    maps = holding()
    child, key = abi.Session.unpack(bytes(SESSION)), abi.SessionKey.unpack(bytes(KEY))
    child.id, child.flags, key.remote_port = ID + 256, int(abi.SessionFlag.EXPECTED), abi.be16(20)
    maps["sessions"][bytes(key)] = bytes(child)
    maps["relations"] = {little(ID + 256, 8): little(ID, 8), little(5, 8): little(ID, 8)}
    lines = exported(maps)
    head = json.loads(lines[0]) | {"boot": "another"}
    head["clock"] -= 1 << 30
    moved = estate_file.read([json.dumps(head).encode(), *lines[1:]])
    estate.settle(moved)
    (number,) = moved.maps["relations"]
    ids = {records.unpack_session(value).id for value in moved.maps["sessions"].values()}
    assert {int.from_bytes(number, "little"), int.from_bytes(moved.maps["relations"][number], "little")} == ids
    del maps["relations"]
    alone = abi.Session.unpack(taken(maps).maps["sessions"][bytes(key)])
    assert not alone.flags & abi.SessionFlag.EXPECTED, "expected by nobody that is known"


@pytest.mark.parametrize(
    ("state", "numbers", "doubted"),
    [
        (abi.SessionState.ESTABLISHED, 9, True),
        (abi.SessionState.CLOSING, 9, True),
        (abi.SessionState.NEW, 9, False),
        (abi.SessionState.NEW, 0, True),
        (abi.SessionState.TIME_WAIT, 9, False),
        (abi.SessionState.RESET, 0, True),
    ],
)
def test_numbers_that_traffic_may_have_left_behind_are_in_doubt(
    state: abi.SessionState, numbers: int, doubted: bool
) -> None:
    maps = holding()
    one = abi.Session.unpack(bytes(SESSION))
    one.state, one.acked[0], one.next[0] = int(state), numbers, numbers
    maps["sessions"] = {bytes(KEY): bytes(one)}
    (value,) = taken(maps).maps["sessions"].values()
    assert bool(records.unpack_session(value).word & abi.StateBit.DOUBT) == doubted
    assert records.unpack_session(value).state == state


def test_a_description_of_another_format_is_not_understood() -> None:
    assert parse(b"", "x") is None
    assert parse(b"nonsense", "x") is None


def test_this_layout_needs_no_conversion() -> None:
    raw = bytes(SESSION)
    assert estate.converter(dataclasses.replace(own(), hash="x"), "session")(raw) is raw
