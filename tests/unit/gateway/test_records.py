"""What records.py packs is what ctypes, by the same header, reads by name, and unpacks to the same values."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.engine import effects as fx
from algate.alg.engine.corrections import Correction
from algate.alg.gateway import records
from algate.alg.plugin.model import EndPoint
from algate.bpf import abi, ticks
from algate.bpf.requests import owner

BYTE, PORT = st.integers(0, 255), st.integers(0, 65535)
WORD, LONG = st.integers(0, 0xFFFFFFFF), st.integers(0, (1 << 64) - 1)
SHIFT = st.integers(-(1 << 31), (1 << 31) - 1)
IP = st.binary(min_size=4, max_size=4)
KEYS = st.builds(fx.SessionKey, IP, PORT, IP, PORT, BYTE)
ENDS = st.builds(EndPoint, st.builds(IPv4Address, IP), PORT)
NOW = 1_000_000.0
ROOT = Path(__file__).parents[3]
HOST_ORDER = re.compile(r"""["']=[\dxcbBhHiIqQs ]+["']|\.FORMAT\b""")
KEY = fx.SessionKey(bytes([10, 0, 0, 2]), 40000, bytes([203, 0, 113, 9]), 21, 6)
KEY_BY_NAME: dict[str, Any] = {
    "inside_ip": abi.ip_to_be32("10.0.0.2"), "remote_ip": abi.ip_to_be32("203.0.113.9"),
    "inside_port": abi.be16(40000), "remote_port": abi.be16(21), "proto": 6,
}  # fmt: skip


def test_keys() -> None:
    assert records.pack_key(KEY) == bytes(abi.SessionKey(**KEY_BY_NAME))
    assert records.pack_decision_key(1 << 40, 2, 3, 1) == bytes(abi.DecisionKey(id=1 << 40, seq=2, size=3, dir=1))
    header = bytes(range(20))
    assert records.pack_fragment_key(header, 1) == bytes(header[12:20] + header[4:6] + header[9:10] + b"\1")
    found = abi.FragmentKey.unpack(records.pack_fragment_key(header, 1))
    assert (abi.be32_to_ip(found.source).packed, found.proto, found.dir) == (header[12:16], 9, 1)
    passable = abi.PassableKey.unpack(records.pack_passable(0x01020304, 1, b"NOOP"))
    assert (passable.interest, passable.reply, bytes(passable.word)) == (0x01020304, 1, b"NOOP")


@given(KEYS)
def test_a_session_key_comes_back(key: fx.SessionKey) -> None:
    assert records.unpack_key(records.pack_key(key)) == key


@given(LONG, WORD, PORT, BYTE)
def test_a_decision_key_comes_back(session: int, seq: int, size: int, direction: int) -> None:
    key = session, seq, size, direction
    assert records.unpack_decision_key(records.pack_decision_key(*key)) == key


def test_decisions() -> None:
    raw = records.pack_decision(1 << 63, -1, 99, fx.VERDICT_REPLACE)
    expected = abi.Decision(digest=1 << 63, sum_change=0xFFFFFFFF, new_size=99, verdict=abi.Verdict.REPLACE)
    assert raw == bytes(expected) and records.unpack_decision(raw) == (1 << 63, 99)
    assert records.unpack_decision(records.pack_decision(7, 0, 0, fx.VERDICT_PASS)) == (7, 0)
    assert abi.Replacement.unpack(records.pack_piece(b"abc")) == abi.Replacement(bytes=(97, 98, 99))


def test_sessions() -> None:
    value = abi.Session(
        id=1 << 50, packets=(3, 4), bytes=(5 | 2 << 56, 6), acked=(1, 2), next=(8, 9), alg=7, flags=8, last_seen=9,
        state=abi.SessionState.FIN_IN | abi.StateBit.SYN_OUT, port_index=3 << 16 | 50000,
        public_ip=abi.ip_to_be32("203.0.113.1"),
    )  # fmt: skip
    other = abi.Session(id=11)
    keys = bytes(abi.SessionKey(**KEY_BY_NAME)) * 2
    found = list(records.sessions(keys, bytes(value) + bytes(other)))
    assert [key for key, _ in found] == [records.pack_key(KEY)] * 2 and found[1][1].id == 11
    one = found[0][1]
    assert one == records.unpack_session(bytes(value))
    assert (one.id, one.packets, one.octets) == (1 << 50, (3 | 2 << 32, 4), (5, 6)) and one[10:13] == (7, 8, 9)
    assert (one.acked_out, one.acked_in, one.next_out, one.next_in) == (1, 2, 8, 9)
    assert one.state == abi.SessionState.FIN_IN
    public = bytes([203, 0, 113, 1])
    assert records.session_info(KEY, one) == fx.SessionInfo(1 << 50, KEY, public, 50000, 8, 7)


def test_ports() -> None:
    kind = abi.PortKind
    held = [(kind.FREE, 0), (kind.RESERVED, 60000), (kind.MAPPING, 0), (kind.RESERVED, 0)]
    words = [owner(IPv4Address("10.0.0.2"), 40000 + at, one) if one else 0 for at, (one, _) in enumerate(held)]
    values = b"".join(
        bytes(abi.PortSlot(owner=word, sessions=2, away=3, stamp=4, last_host=5, forward_id=6, block=block))
        for word, (_, block) in zip(words, held, strict=True)
    )
    keys = b"".join((1 << 16 | row).to_bytes(4, "little") for row in range(len(held)))
    inside = bytes([10, 0, 0, 2])
    assert list(records.port_slots(keys, values, (kind.RESERVED,))) == [
        (1 << 16 | 1, words[1], inside, 40001, kind.RESERVED, 2, 4, 60000),
        (1 << 16 | 3, words[3], inside, 40003, kind.RESERVED, 2, 4, 0),
    ]
    assert [one.row & 0xFF for one in records.port_slots(keys, values, (kind.MAPPING, kind.LOCAL))] == [2]
    assert records.taken_words(keys, b"".join(word.to_bytes(8, "little") for word in (0, 1, 0, 1 << 63))) == [
        1 << 16 | 1,
        1 << 16 | 3,
    ]


@pytest.mark.parametrize("kind", list(abi.PuntKind))
def test_punts(kind: abi.PuntKind) -> None:
    raw = bytes(abi.Punt(
        time=1, id=2, expectation_id=3, key=abi.SessionKey(**KEY_BY_NAME), acked=(4, 5), frame_size=6, seq=7,
        payload_offset=8, ip_offset=9, payload_size=10, kind=kind, dir=1, alg=11, tcp_flags=12, session_flags=13,
        public_ip=abi.ip_to_be32("203.0.113.1"), public_port=abi.be16(50000), mtu=1400, lines=1 << 60,
        ts_recent=(14, 15),
    ))  # fmt: skip
    assert len(raw) == records.PUNT_SIZE
    info = fx.SessionInfo(2, KEY, bytes([203, 0, 113, 1]), 50000, 13, 11)
    too_big = kind == abi.PuntKind.TOO_BIG
    segment = None
    if kind in (abi.PuntKind.SEGMENT, abi.PuntKind.TOO_BIG, abi.PuntKind.COPY, abi.PuntKind.RETOLD):
        segment = fx.Segment(info, 1, 7, b"frame!", 9, 8, 10, 12, (4, 5), 1 << 60, 1400, too_big, (14, 15))
        if kind == abi.PuntKind.COPY:
            segment = segment._replace(copied=True, expectation=3)
        if kind == abi.PuntKind.RETOLD:
            segment = segment._replace(copied=True, expectation=3, retold=True)
    expected = records.Punt(kind, 1, info, 3, 1, 9, b"frame!", segment, 7, 1400, 10)
    assert records.unpack_punt(raw + b"frame!" + b"\0\0") == expected
    assert records.unpack_punt(raw + b"frame") is None and records.unpack_punt(raw[:-1]) is None


def test_tracks() -> None:
    raw = bytes(abi.Track(
        id=1, isn=(2, 3), next=(4, 5), acked=(6, 7), ack_sent=(8, 9), window=(10, 11), ts_value=(12, 13), mss=(14, 15),
        window_scale=(16, 17), flags=18, lines=1 << 60, line_seq=(20, 21, 22, 23),
        line_size=(24, 0, 25 | abi.LINE_SIZE_RETOLD, 26),
        ts_recent=(27, 28), punted=(29, 30), punted_at=(31, 32), punted_count=(33, 34),
        syn=35, agreed=36, asked=37,
    ))  # fmt: skip
    view = fx.TrackView((2, 3), (4, 5), (6, 7), (10, 11), (12, 13), (14, 15), 18, (8, 9), 1 << 60, (27, 28))
    assert records.unpack_track(raw) == (1, view)
    lines = [records.unpack_decision_key(key) for key in records.unpack_lines(raw)]
    assert lines == [(1, 20, 24, 0), (1, 22, 25, 1), (1, 23, 26, 1)]


CORRECTIONS = st.lists(st.builds(Correction, WORD, WORD, SHIFT, SHIFT), max_size=abi.MAX_CORRECTIONS).map(tuple)
PAIR = st.tuples(CORRECTIONS, CORRECTIONS)


@given(
    st.builds(fx.AdjustRecord, LONG, st.tuples(WORD, WORD), st.tuples(SHIFT, SHIFT), PAIR, WORD, WORD, LONG, LONG),
    st.binary(min_size=12, max_size=12),
)
def test_an_adjust_record_comes_back(record: fx.AdjustRecord, key: bytes) -> None:
    raw = records.pack_adjust(record, key)
    assert records.unpack_adjust(raw) == record
    found = abi.Adjust.unpack(raw)
    assert (found.id, found.flags, found.interest, found.lines) == (
        record.session,
        record.flags,
        record.interest,
        record.lines,
    )
    assert (found.agrees, bytes(found.agrees_key)) == (record.agrees, key)
    assert (tuple(found.decided), tuple(found.base)) == (record.decided, record.base)
    assert list(found.count) == [len(some) for some in record.corrections]
    for direction, some in enumerate(record.corrections):
        for place, one in enumerate(some):
            at = found.at[direction * abi.MAX_CORRECTIONS + place]
            assert (at.start, at.end, at.before, at.after) == tuple(one)


def test_every_adjust_record_has_the_same_size() -> None:
    one = (Correction(1, 2, 3, 4),)
    for pair in (((), ()), (one, ()), ((), one), (one * 8, one * 8)):
        raw = records.pack_adjust(fx.AdjustRecord(1, (2, 3), (0, 0), pair))
        assert len(raw) == abi.HEADER.structs["adjust"].size


@st.composite
def expectations(draw: st.DrawFn) -> fx.Expectation:
    to, direction, ports = draw(ENDS), draw(st.sampled_from((fx.OUT, fx.IN))), draw(st.integers(0, 1024))
    to = EndPoint(to.ip, max(1, min(to.port, 65536 - ports)) if ports else to.port)
    inbound = direction == fx.IN
    return fx.Expectation(
        draw(LONG), draw(LONG), draw(KEYS), draw(BYTE), direction, draw(st.sampled_from((6, 17))),
        draw(IP.map(lambda ip: ip if any(ip) else b"")), to, draw(ENDS) if inbound else None, to if inbound else None,
        draw(st.sampled_from((fx.EXPECT_PENDING, fx.EXPECT_OPEN))), draw(st.booleans()),
        NOW + draw(st.floats(-900_000, 2_000_000)), draw(PORT), ports, draw(st.booleans()),
    )  # fmt: skip


@given(expectations(), WORD)
def test_an_expectation_comes_back(one: fx.Expectation, row: int) -> None:
    """With every field, and a stamp in the past stays there."""
    key, value = records.pack_expectation(one, one.state, row)
    back = records.unpack_expectation(key, value, NOW)
    assert back._replace(expires=0) == one._replace(expires=0)
    assert back.expires == pytest.approx(one.expires, abs=1.01 * ticks.SECONDS)
    assert records.expectation_id(value) == one.id
    assert abi.Expectation.unpack(value).port_index == row


def test_an_expectation_by_name() -> None:
    to, inside = EndPoint(IPv4Address("203.0.113.1"), 50000), EndPoint(IPv4Address("10.0.0.2"), 50001)
    one = fx.Expectation(
        1, 2, KEY, 3, fx.IN, 6, KEY.remote_ip, to, inside, to, fx.EXPECT_PENDING, True, NOW, 20, 4, True
    )
    key, value = records.pack_expectation(one, fx.EXPECT_OPEN, 5)
    assert key == bytes(abi.ExpectationKey(
        from_=abi.ip_to_be32("203.0.113.9"), to=abi.ip_to_be32("203.0.113.1"), to_port=abi.be16(50000), proto=6,
        dir=abi.Direction.IN,
    ))  # fmt: skip
    assert value == bytes(abi.Expectation(
        id=1, control_id=2, control_key=abi.SessionKey(**KEY_BY_NAME), state=abi.ExpectationState.OPEN,
        inside_ip=abi.ip_to_be32("10.0.0.2"), inside_port=abi.be16(50001), alg=3,
        flags=abi.ExpectationFlag.PERSISTENT | abi.ExpectationFlag.EARLY,
        port_index=5, expires=ticks.at(NOW), from_port=abi.be16(20), first=50000, last=50003,
    ))  # fmt: skip
    outbound = one._replace(direction=fx.OUT, inside=None, reserved=None)
    assert abi.ExpectationKey.unpack(records.pack_expectation(outbound, 1, 0)[0]).to_port == 0, "a range's row"


def test_no_layout_is_typed_elsewhere() -> None:
    """Except what held.py stores in its own format, and rtnetlink's messages. Network order is for packets."""
    paths = [*(ROOT / "alg").rglob("*.py"), ROOT / "bpf" / "requests.py"]
    files = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    typed = {name for name, text in files.items() if HOST_ORDER.search(text)}
    assert typed == {"alg/engine/held.py", "alg/gateway/rtnetlink.py"}
    users = {name for name, text in files.items() if "packing(" in text}
    assert users == {"alg/gateway/records.py", "bpf/requests.py"}


def test_a_device_in_the_configuration() -> None:
    assert records.pack_link(b"\2\0\0\0\0\1", False) == b"\2\0\0\0\0\1\0\0"
    assert records.pack_link(b"", True) == bytes(6) + b"\1\0"
