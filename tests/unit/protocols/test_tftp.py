"""The TFTP plug-in as transcripts of datagrams."""

from __future__ import annotations

import pytest

from algate.alg.protocols.base import Bypass, Control, Direction, Event, Expect, Pass, Refuse, Side, Withdraw
from algate.alg.protocols.tftp import NO_WRITING, PLUGIN, TftpPolicy, request
from algate.alg.testing import Stage, at, control

READ = b"\0\x01boot/file\0octet\0"
WRITE = b"\0\x02notes\0NetAscii\0"
ON = TftpPolicy(enabled=True)


def between(inside_side: Side = Side.CLIENT) -> Control:
    if inside_side is Side.CLIENT:
        return control(remote="198.51.100.2:69", proto="udp")
    inside, public, remote = "10.0.0.5:69", "203.0.113.1:69", "198.51.100.9:50001"
    return control(Side.SERVER, inside, public, remote, "udp")


def stage(policy: TftpPolicy = ON, inside_side: Side = Side.CLIENT) -> Stage:
    return Stage(PLUGIN, policy, between(inside_side))


@pytest.mark.parametrize("asked", [READ, WRITE, READ[:-1] + b"\0blksize\0" + b"1468\0"])
def test_a_request_lets_the_server_answer_from_any_port_to_the_asking_one(asked: bytes) -> None:
    made = stage()
    answer = Expect(1, Direction.IN, at("198.51.100.2:69").ip, at("203.0.113.1:40000"), 30.0, "udp", open=True)
    made.client << asked >> answer >> Pass(len(asked))
    made.done()
    assert made.heard[Side.SERVER] == asked
    assert made.events[0].event == "expectation-made"


def test_a_server_inside_may_answer_outward_and_to_the_asker_alone() -> None:
    made = stage(inside_side=Side.SERVER)
    answer = Expect(1, Direction.OUT, at("10.0.0.5:69").ip, at("198.51.100.9:50001"), 30.0, "udp", open=True)
    made.client << READ >> answer >> Pass(len(READ))
    made.done()


def test_each_repetition_of_a_request_may_be_answered_once() -> None:
    made = stage()
    made.say(Side.CLIENT, READ)
    made.outcome(1, "used")
    assert made.expectations == {}
    made.say(Side.CLIENT, READ)
    assert list(made.expectations) == [1]


ODD = {
    "a value that is empty (R8)": b"\0\1cfg\0octet\0vendor\0\0",
    "RFC 2090": b"\0\1cfg\0octet\0multicast\0\0blksize\0" + b"1432\0",
    "an option without a name": b"\0\1cfg\0octet\0\0value\0",
    "an option without a value": b"\0\1cfg\0octet\0tsize\0",
    "padding": b"\0\1cfg\0octet\0" + bytes(64),
    "something behind the last NUL": b"\0\1cfg\0octet\0more",
    "no last NUL": b"\0\1cfg\0octet",
    "no mode": b"\0\1cfg\0",
    "a name alone": b"\0\1cfg",
    "no name": b"\0\1\0octet\0",
    "capital letters": b"\0\1cfg\0OCTET\0",
    "mail": b"\0\2root@h\0mail\0",
    "another mode": b"\0\1cfg\0binary\0",
    "an option twice": b"\0\1cfg\0octet\0tsize\0" + b"0\0tsize\0" + b"0\0",
    "more than 512 bytes": b"\0\1" + b"f" * 510 + b"\0octet\0",
    "bytes beyond ASCII": b"\0\1caf\xe9/\xff\0octet\0",
    "to write": b"\0\2log\0octet\0vendor\0\0",
}


@pytest.mark.parametrize("asked", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("inside_side", Side)
def test_r08_an_odd_request_gets_its_answer_as_any_other(asked: bytes, inside_side: Side) -> None:
    made = stage(inside_side=inside_side)
    made.say(Side.CLIENT, asked)
    (opened,) = made.expectations.values()
    assert opened.open and opened.expect.once and opened.expect.peer == made.control.ip(Side.SERVER)
    assert opened.expect.to == (made.control.public if inside_side is Side.CLIENT else made.control.remote)
    assert made.heard[Side.SERVER] == asked


@pytest.mark.parametrize("answer", [b"\0\3\0\1content", b"\0\4\0\0", b"\0\5\0\x08no\0", b"\0\6tsize\0" + b"9\0"])
def test_r08_whatever_the_answer_from_a_new_port_is_the_next_request_has_its_own(answer: bytes) -> None:
    """The answer itself never comes here: it is the first datagram of a separate session."""
    made = stage()
    for _ in range(3):
        made.say(Side.CLIENT, ODD["RFC 2090"])
        made.outcome(1, "used")
    made.say(Side.SERVER, answer)  # this one did come from the well-known port
    assert not made.expectations and made.bypassed is (answer[1] != 5)


STUN = b"\0\1\0\x08\x21\x12\xa4\x42" + b"t" * 12 + b"\x80\x22\0\4algo"
BAD = [b"\0\1", b"\0\1\0", b"\0\1" + bytes(30), STUN]


@pytest.mark.parametrize("asked", BAD)
def test_what_names_nothing_passes_and_opens_nothing(asked: bytes) -> None:
    made = stage()
    made.client << asked >> Event("expectation-refused", asked[:128].decode("latin-1"), "malformed-request")
    made.last >> Pass(len(asked))
    made.done()
    assert request(asked) is None and not made.expectations


@pytest.mark.parametrize("said", [b"x", b"\0\x03\0\x01data", b"\0\x05\0\0no\0", b"\x01\x01f\0octet\0"])
def test_what_is_no_request_passes(said: bytes) -> None:
    made = stage()
    made.client << said >> Pass(len(said))
    made.done()
    assert not made.events


def test_a_request_from_the_server_s_side_opens_nothing() -> None:
    made = stage()
    made.server << READ >> Withdraw(1, "answered-in-place") >> Pass(len(READ)) >> Bypass("answered-in-place")
    assert not made.expectations


def test_an_error_from_the_well_known_port_takes_the_expectation_back() -> None:
    made = stage()
    made.say(Side.CLIENT, READ)
    error = b"\0\x05\0\x01no such file\0"
    made.server << error >> Withdraw(1, "answered-in-place") >> Pass(len(error))
    made.done()
    assert not made.expectations and not made.bypassed


def test_a_server_that_keeps_to_one_port_is_left_alone() -> None:
    made = stage()
    made.say(Side.CLIENT, READ)
    made.say(Side.SERVER, b"\0\x03\0\x01content")
    assert made.bypassed and not made.expectations


@pytest.mark.parametrize(
    "asked", [WRITE, WRITE[:-1], b"\0\2f", b"\0\2fi\x21\x12\xa4\x42\0octet\0", b"\0\2f\0octet\0v\0\0"]
)
def test_read_only_answers_a_write_in_the_server_s_name(asked: bytes) -> None:
    made = stage(TftpPolicy(enabled=True, read_only=True))
    made.client << asked >> Refuse(len(asked), NO_WRITING)
    made.done()
    assert made.heard == {Side.SERVER: b"", Side.CLIENT: NO_WRITING} and not made.expectations
    assert made.reasons("command-refused") == ["read-only"]
    made.say(Side.CLIENT, READ)
    assert made.heard[Side.SERVER] == READ
