"""A capture's story: frames and judgements joined by the senders' numbers, without passwords, checksums right."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from algate.alg.protocols.ftp.words import FtpWords
from algate.cli.capture.sockets import SeenFrame, filter_program
from algate.cli.capture.story import PATIENCE, Shown, Story, overlap

NEXT = "02:00:00:00:00:02"  # or scapy asks the host's neighbours, and waits

pytestmark = pytest.mark.unit
INSIDE, PUBLIC, SERVER = "10.0.0.2", "203.0.113.1", "198.51.100.2"
LAN, WAN = 0, 1
SECOND = 1_000_000_000


def client(seq: int, payload: bytes, at: int, source: str = INSIDE, outgoing: bool = False, **more: Any) -> SeenFrame:
    """A segment of the client's, as the LAN brings it (or the WAN takes it)."""
    tcp = TCP(sport=40001, dport=21, seq=seq, ack=1, flags=more.get("flags", "PA"))
    data = bytes(Ether(dst=NEXT) / IP(src=source, dst=SERVER) / tcp / payload)
    return SeenFrame(at, data, 14, outgoing, more.get("finished", True))


def story(begins: int | None = 1000) -> Story:
    return Story((True, False), 0, FtpWords().secret, None if begins is None else [begins, begins])


def judged(at: float, decided: tuple[int, int] | None = None, *decisions: Any, **more: Any) -> dict[str, Any]:
    made = [{"direction": way, "seq": seq, "size": size, "new": new} for way, seq, size, new in decisions]
    return {
        "time": at, "decided": list(decided) if decided else None, "decisions": made,
        "events": more.get("events", []), "made": more.get("made", []),
    }  # fmt: skip


def told(made: Story) -> list[Shown]:
    return list(made.ready(100 * SECOND))


def test_a_replacement_is_told_on_both_sides() -> None:
    made, old, new = story(), b"PORT 10,0,0,2,1,2\r\n", b"PORT 203,0,113,1,9,9\r\n"
    made.frame(LAN, client(1000, old, SECOND))
    made.record(judged(1.001, (1000 + len(old), 1), (0, 1000, len(old), new.hex()), events=["PORT expected"]))
    made.frame(WAN, client(1000, new, SECOND + 2000, PUBLIC, outgoing=True))
    came, left = told(made)
    assert came.comments == [f"decision: replace ({len(old)} bytes by {len(new)})", "PORT expected"]
    assert left.comments == [f"rewritten: in place of {len(old)} bytes that the sender wrote"]
    assert (came.interface, came.outgoing, left.interface, left.outgoing) == (LAN, False, WAN, True)


def test_a_repetition_has_the_decision_again_but_not_the_event() -> None:
    made = story()
    made.frame(LAN, client(1000, b"NOOP\r\n", SECOND))
    made.record(judged(1.001, (1006, 1), (0, 1000, 6, None), events=["x"]))
    made.frame(LAN, client(1000, b"NOOP\r\n", 2 * SECOND))
    assert [one.comments for one in told(made)] == [["decision: pass (6 bytes)", "x"], ["decision: pass (6 bytes)"]]


def test_a_refusal_is_told_with_its_reason_and_the_answer_as_the_gateways() -> None:
    made, answer = story(), b"550 no\r\n"
    made.record(judged(0.5, (1000, 1)))
    made.frame(LAN, client(1000, b"DELE x\r\n", SECOND))
    said = {"direction": 1, "seq": 77, "size": len(answer), "flags": 0x18}
    made.record(judged(1.001, (1008, 1), events=["bob: DELE x refused (denied-command)"], made=[said]))
    data = Ether(dst=NEXT) / IP(src=SERVER, dst=INSIDE) / TCP(sport=21, dport=40001, seq=77, flags="PA") / answer
    made.frame(LAN, SeenFrame(SECOND + 2000, bytes(data), 14, True, True))
    came, back = told(made)
    assert came.comments == [
        "decision: refused, the other end never sees this", "bob: DELE x refused (denied-command)",
    ]  # fmt: skip
    assert back.comments == ["made by the gateway in the sender's name: an answer"]


def test_a_line_that_passed_by_itself_is_not_refused_by_a_judgement_that_goes_over_it() -> None:
    made = story()
    made.record(judged(0.5, (1000, 1)))
    made.frame(LAN, client(1000, b"NOOP\r\n", SECOND))
    made.frame(WAN, client(1000, b"NOOP\r\n", SECOND + 10, PUBLIC, outgoing=True))
    made.record(judged(1.1, (1006, 40), (1, 1, 39, None), events=["229 expected"]))
    assert told(made)[0].comments == ["passed in the kernel: nothing had to be decided"]


def test_without_a_judgement_it_is_told_whether_it_passed() -> None:
    made = story()
    made.frame(LAN, client(1000, b"NOOP\r\n", SECOND))
    made.frame(WAN, client(1000, b"NOOP\r\n", SECOND + 10, PUBLIC, outgoing=True))
    made.frame(LAN, client(1006, b"RETR", SECOND + 20))
    assert [one.comments for one in told(made)] == [
        ["passed in the kernel: nothing had to be decided"], [], ["held: no decision so far"],
    ]  # fmt: skip


def test_of_a_session_met_in_the_middle_of_a_line_the_rest_is_blanked() -> None:
    made = story(None)
    made.frame(LAN, client(1000, b"S hunter2\r\n", SECOND))
    made.frame(LAN, client(1011, b"NOOP\r\n", SECOND))
    assert [bytes(Ether(one.data)[TCP].payload) for one in told(made)] == [b"*********\r\n", b"NOOP\r\n"]


def test_the_outside_counts_by_the_shifted_numbers() -> None:
    made = Story((True, False), 0, FtpWords().secret, [1000, 1003])
    made.frame(WAN, client(1003, b"NOOP\r\n", SECOND, PUBLIC, outgoing=True))
    assert bytes(Ether(told(made)[0].data)[TCP].payload) == b"NOOP\r\n"


def test_passwords_are_blanked_on_both_sides_and_checksums_fit() -> None:
    made = story()
    made.frame(LAN, client(999, b"", SECOND, flags="S"))
    made.frame(WAN, client(999, b"", SECOND, PUBLIC, True, flags="S"))
    for at, (seq, text) in enumerate([(1000, b"PA"), (1002, b"SS hun"), (1008, b"ter2\r\n")], 1):
        made.frame(LAN, client(seq, text, SECOND + at))
    made.frame(WAN, client(1000, b"PASS hunter2\r\n", SECOND + 9, PUBLIC, True, finished=False))
    shown = told(made)
    payloads = [bytes(Ether(one.data)[TCP].payload) for one in shown]
    assert payloads == [b"", b"", b"PA", b"SS ***", b"****\r\n", b"PASS *******\r\n"]
    for one in shown:
        packet = Ether(one.data)
        claimed = packet[TCP].chksum
        del packet[TCP].chksum
        assert Ether(bytes(packet))[TCP].chksum == claimed and len(one.data) == one.size
    assert shown[-1].comments[-1] == "7 bytes of a password are blanked by asterisks"


def test_a_part_of_a_segment_is_left_out() -> None:
    made = story()
    whole = Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER, flags="MF") / TCP(sport=40001, dport=21) / b"PASS hunter2\r\n"
    made.frame(LAN, SeenFrame(SECOND, bytes(whole), 14, False, True))
    (one,) = told(made)
    assert b"hunter2" not in one.data and one.size == len(bytes(whole))


def test_what_happens_without_a_packet_is_told_with_the_next_or_at_the_end() -> None:
    made = story()
    made.record(judged(1.0, events=["a data connection came"]))
    made.frame(LAN, client(1000, b"", 2 * SECOND))
    (one,) = told(made)
    assert one.comments == ["before this: a data connection came"]
    made.record(judged(3.0, events=["the end"]))
    assert made.rest() == ["the end"]


def test_frames_wait_for_their_judgement_and_no_longer() -> None:
    made = story()
    made.frame(LAN, client(1, b"x", SECOND))
    assert list(made.ready(SECOND + PATIENCE - 1)) == []
    assert len(list(made.ready(SECOND + PATIENCE))) == 1
    frames = [client(number, b"x", SECOND) for number in range(100)]
    for number in range(10_000):
        made.frame(LAN, frames[number % 100]._replace(at=SECOND + number))
    assert len(list(made.ready(SECOND))) > 5000, "memory is bounded, whatever the clock says"


@pytest.mark.parametrize(("other", "size", "met"), [(90, 10, False), (90, 11, True), (109, 5, True), (110, 5, False)])
def test_ranges_meet_or_not(other: int, size: int, met: bool) -> None:
    shift = (1 << 32) - 100
    assert overlap(100, 10, other, size) == met
    assert overlap((100 + shift) % (1 << 32), 10, (other + shift) % (1 << 32), size) == met, "across the wrap"


def run(program: list[tuple[int, int, int, int]], data: bytes) -> bool:
    """The classic BPF machine, as far as the filter needs it."""
    acc = index = at = 0
    while True:
        op, yes, no, k = program[at]
        at += 1
        if op in (0x20, 0x28, 0x30, 0x48):
            place, size = k + (index if op == 0x48 else 0), {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2}[op]
            if place + size > len(data):
                return False
            acc = int.from_bytes(data[place : place + size], "big")
        elif op == 0xB1:
            index = (data[k] & 15) * 4
        elif op == 0x01:
            index = k
        elif op in (0x15, 0x45):
            at += yes if (acc == k if op == 0x15 else acc & k) else no
        else:
            return bool(k)


def test_the_filter_keeps_one_session_both_ways() -> None:
    one, other = (IPv4Address(INSIDE), 40001), (IPv4Address(SERVER), 21)
    there = Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER) / TCP(sport=40001, dport=21)
    back = Ether(dst=NEXT) / IP(src=SERVER, dst=INSIDE, options=[]) / TCP(sport=21, dport=40001)
    others = [
        Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER) / TCP(sport=40002, dport=21),
        Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER) / TCP(sport=40001, dport=20),
        Ether(dst=NEXT) / IP(src=INSIDE, dst="198.51.100.3") / TCP(sport=40001, dport=21),
        Ether(dst=NEXT) / IP(src=SERVER, dst=INSIDE) / TCP(sport=40001, dport=21),
        Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER) / UDP(sport=40001, dport=21),
        Ether(dst=NEXT) / IP(src=INSIDE, dst=SERVER, frag=5) / TCP(sport=40001, dport=21),
        Ether(dst=NEXT, type=0x86DD) / IP(src=INSIDE, dst=SERVER) / TCP(sport=40001, dport=21),
    ]
    program = filter_program(6, one, other)
    assert run(program, bytes(there)) and run(program, bytes(back))
    assert not any(run(program, bytes(packet)) for packet in others)
    assert run(filter_program(6, one, other, 0), bytes(there)[14:]), "a device without Ethernet"


def test_the_filter_keeps_one_session_of_ipv6() -> None:
    inside, server = "2001:db8:1::5", "2001:db8:9::7"
    one, other = (IPv6Address(inside), 40001), (IPv6Address(server), 21)
    there = Ether(dst=NEXT) / IPv6(src=inside, dst=server) / TCP(sport=40001, dport=21)
    back = Ether(dst=NEXT) / IPv6(src=server, dst=inside) / TCP(sport=21, dport=40001)
    others = [
        Ether(dst=NEXT) / IPv6(src=inside, dst=server) / TCP(sport=40002, dport=21),
        Ether(dst=NEXT) / IPv6(src=inside, dst=server) / TCP(sport=40001, dport=20),
        Ether(dst=NEXT) / IPv6(src=inside, dst="2001:db8:9::8") / TCP(sport=40001, dport=21),
        Ether(dst=NEXT) / IPv6(src="2001:db9:1::5", dst=server) / TCP(sport=40001, dport=21),
        Ether(dst=NEXT) / IPv6(src=server, dst=inside) / TCP(sport=40001, dport=21),
        Ether(dst=NEXT) / IPv6(src=inside, dst=server) / UDP(sport=40001, dport=21),
        Ether(dst=NEXT, type=0x0800) / IPv6(src=inside, dst=server) / TCP(sport=40001, dport=21),
    ]
    program = filter_program(6, one, other)
    assert run(program, bytes(there)) and run(program, bytes(back))
    assert not any(run(program, bytes(packet)) for packet in others)
    assert run(filter_program(6, one, other, 0), bytes(there)[14:]), "a device without Ethernet"


def test_a_password_over_ipv6_is_blanked_and_the_checksum_right() -> None:
    made, line = story(), b"PASS hunter2\r\n"
    tcp = TCP(sport=40001, dport=21, seq=1000, ack=1, flags="PA")
    frame = Ether(dst=NEXT) / IPv6(src="2001:db8:1::5", dst="2001:db8:9::7") / tcp / line
    made.frame(LAN, SeenFrame(SECOND, bytes(frame), 14, False, True))
    [one] = told(made)
    assert one.comments[-1] == "7 bytes of a password are blanked by asterisks"
    frame[TCP].payload = type(frame[TCP].payload)(b"PASS *******\r\n")
    del frame[TCP].chksum
    assert one.data == bytes(frame)
