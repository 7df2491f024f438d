"""The inside ends of lost connections are asked where they stand, a few at a time."""

from __future__ import annotations

from algate.alg.engine import icmp
from algate.alg.engine.effects import SessionKey
from algate.alg.gateway import records
from algate.alg.helper import lost
from algate.alg.helper.lost import Lost


def key(port: int, proto: int = 6) -> bytes:
    return records.pack_key(SessionKey(bytes([10, 0, 0, 2]), port, bytes([203, 0, 113, 9]), 443, proto))


def test_who_is_asked_and_how() -> None:
    written: list[bytes] = []
    one = Lost(written.append)
    one.note([key(40000), key(40001, proto=17)])
    one.tick()
    one.tick()
    (frame,) = written
    assert frame[26:34] == bytes([203, 0, 113, 9, 10, 0, 0, 2]), "in the name of the outside end"
    assert frame[34:38] == (443).to_bytes(2, "big") + (40000).to_bytes(2, "big")
    assert frame[47] == lost.ACK and len(frame) == 54
    assert icmp.checksum(frame[14:34]) == 0
    assert icmp.checksum(frame[26:34] + bytes([0, 6, 0, 20]) + frame[34:]) == 0


def test_only_what_was_ended_is_known_to_be_gone() -> None:
    one = Lost(lambda _: None)
    one.note([key(40000), key(40001, proto=17)])
    ends = bytes([10, 0, 0, 2]), 40000, bytes([203, 0, 113, 9]), 443
    assert one.gone(*ends) and not one.gone(ends[0], 40001, *ends[2:])
    others = (SessionKey(bytes([10, 0, n >> 8, n & 255]), 1, ends[2], 443) for n in range(lost.MOST))
    one.note(map(records.pack_key, others))
    assert len(one._gone) == lost.MOST and not one.gone(*ends)


def test_a_few_at_a_time_and_not_without_end() -> None:
    written: list[bytes] = []
    one = Lost(written.append)
    one.note(key(port) for port in range(1000, 1010))
    one.tick()
    assert len(written) == lost.A_TICK
    one.tick()
    one.tick()
    one.tick()
    assert len(written) == 10
    one.note(key(port % 65535 + 1) for port in range(lost.MOST + 5))
    assert len(one._waiting) == lost.MOST
