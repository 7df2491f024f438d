"""The IRC plug-in as transcripts: strict about where an offer stands, and about whose address it names."""

from __future__ import annotations

import pytest

from algate.alg.admin.reasons import WORDS, sentence
from algate.alg.protocols.base import Direction, EndPoint, Event, Expect, Pass, Replace, Reserve, Side, Withdraw
from algate.alg.protocols.irc import PLUGIN, IrcPolicy, dcc
from algate.alg.rows import EventRow
from algate.alg.testing import Stage, at, control

ME, PUBLIC = 167772165, 3405803777  # 10.0.0.5, 203.0.113.1
ON = IrcPolicy(enabled=True, any_peer=True)
HELLO = b"NICK a\r\nUSER a 0 * :a\r\n"


def stage(policy: IrcPolicy = ON, ports: list[int] | None = None, hello: bytes = HELLO) -> Stage:
    made = Stage(PLUGIN, policy, control(remote="198.51.100.2:6667"), ports)
    made.say(Side.CLIENT, hello)
    return made


def line(text: bytes, to: bytes = b"bob", command: bytes = b"PRIVMSG") -> bytes:
    return b"%s %s :\x01%s\x01\r\n" % (command, to, text)


def offer(ip: object = ME, port: object = 5000, kind: str = "SEND file.txt", rest: str = " 1234") -> bytes:
    return line(f"DCC {kind} {ip} {port}{rest}".encode())


@pytest.mark.parametrize(
    ("kind", "rest"), [("SEND file.txt", " 1234"), ("SEND file.txt", ""), ('SEND "my file"', " 7"), ("CHAT chat", "")]
)
def test_an_offer_is_rewritten_and_opened_to_anybody_once(kind: str, rest: str) -> None:
    made = stage(ports=[41000])
    said = offer(kind=kind, rest=rest)
    start = said.index(b"%d" % ME)
    actions = made.client << said
    (
        actions
        >> Reserve(1, EndPoint(at("10.0.0.5:5000").ip, 5000))
        >> Expect(1, Direction.IN, None, None, 120.0, open=True)
    )
    actions >> Pass(start) >> Replace(14, b"%d 41000" % PUBLIC) >> Pass(len(said) - start - 14)
    made.done()
    assert made.heard[Side.SERVER] == HELLO + offer(PUBLIC, 41000, kind, rest)


def test_without_any_peer_nothing_opens_and_the_event_says_so() -> None:
    made = stage(IrcPolicy(enabled=True))
    made.client << offer() >> Event("expectation-refused", offer().decode("latin-1"), "any-peer-off")
    made.last >> Pass(len(offer()))
    made.done()
    assert not made.reserved and not made.expectations


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (offer(port=0), "passive-offer"),
        (offer(port=0, rest=" 12 99"), "passive-offer"),
        (offer("10.0.0.5"), "address-form"),
        (offer("fe80::1"), "address-form"),
        (offer(1 << 32), "address-form"),
        (offer(f"0{ME}"), "address-form"),
        (offer(ME + 1), "not-client-address"),
        (offer(PUBLIC), "not-client-address"),
        (offer(port=1023), "port-too-low"),
        (offer(port=65536), "bad-number"),
        (offer(port="05000"), "malformed-offer"),
        (offer(port="-1"), "malformed-offer"),
        (offer(kind="SEND"), "not-client-address"),  # the address read as a file name
        (offer(kind="send file"), "malformed-offer"),
        (offer(kind="CHAT other"), "malformed-offer"),
        (offer(rest=" 12 34 56"), "malformed-offer"),
        (b"x" + offer(), "malformed-offer"),
        (b":me " + offer(), "malformed-offer"),
        (b"@tag=1 " + offer(), "malformed-offer"),
        (offer().replace(b":\x01", b":see \x01"), "malformed-offer"),
        (offer().replace(b"\x01\r\n", b"\x01 ok\r\n"), "malformed-offer"),
        (offer().replace(b"\x01\r\n", b"\r\n"), "malformed-offer"),
        (offer().replace(b" :\x01", b" \x01"), "malformed-offer"),
        (offer().replace(b"PRIVMSG", b"TOPIC"), "malformed-offer"),
        (offer().replace(b"bob", b"bob,eve"), "malformed-offer"),
        (offer().replace(b" bob", b"  bob"), "malformed-offer"),
    ],
)
def test_what_is_not_exactly_an_offer_of_the_own_address_passes_unchanged(said: bytes, reason: str) -> None:
    made = stage()
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER] == HELLO + said and not made.expectations and not made.reserved
    assert made.reasons("expectation-refused") == [reason]


@pytest.mark.parametrize(
    "said", [offer().replace(b"\r\n", b"\n"), offer().replace(b"bob", b"b\rob"), offer() + b"\0\r\n"]
)
def test_lines_that_servers_read_differently_open_nothing(said: bytes) -> None:
    made = stage(ports=[])
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER] == HELLO + said and not made.expectations


def test_nothing_that_the_server_says_opens_anything() -> None:
    made = stage()
    for said in (b":bob!b@h " + offer(), offer(), b":bob!b@h " + offer(3325256706)):
        made.server << said >> Pass(len(said))
        made.done()
    assert not made.expectations and not made.reserved


@pytest.mark.parametrize("hello", [b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nNICK a\r\n", b"XNICK a\r\n", b""])
def test_who_does_not_begin_like_irc_gets_nothing(hello: bytes) -> None:  # NAT slipstreaming
    made = stage(hello=hello)
    made.say(Side.CLIENT, offer())
    assert not made.expectations and made.heard[Side.SERVER] == hello + offer()
    assert made.reasons("expectation-refused") == ["not-irc"]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_any_chunking_gives_the_same(size: int) -> None:
    said = HELLO + offer() + b"PRIVMSG bob :hello\r\n" + offer(port=5001) + b"QUIT\r\n"
    made = stage(hello=b"")
    made.say(Side.CLIENT, *(said[at : at + size] for at in range(0, len(said), size)))
    assert made.heard[Side.SERVER] == said.replace(b"%d" % ME, b"%d" % PUBLIC)
    assert [one.expect.tag for one in made.expectations.values()] == [1, 2]


def test_what_cannot_become_an_offer_does_not_wait_for_its_line_s_end() -> None:
    made = stage()
    for piece in (b"PING :x", b" y", b"\r\nPRIVMSG bob :good mor", b"ning\r\n"):
        made.client << piece >> Pass(len(piece))
        made.done()
    made.client << b"PRIVMSG bob :\x01DC"
    made.done()
    assert made.undecided[Side.CLIENT]


def test_many_offers_in_one_segment() -> None:
    made = stage()
    made.say(Side.CLIENT, b"".join(offer(port=5000 + n) for n in range(20)))
    assert len(made.expectations) == ON.max_offers
    assert made.heard[Side.SERVER].count(b"%d" % PUBLIC) == 20 and not made.undecided[Side.CLIENT]


def test_a_newer_offer_takes_the_place_of_the_oldest() -> None:
    made = stage(IrcPolicy(enabled=True, any_peer=True, max_offers=1))
    made.say(Side.CLIENT, offer())
    actions = made.client << offer(port=5001)
    actions >> Withdraw(1, "superseded") >> Reserve(2, at("10.0.0.5:5001"))
    assert list(made.expectations) == [2]


def test_no_port_free() -> None:
    made = stage(ports=[])
    made.say(Side.CLIENT, offer())
    assert made.heard[Side.SERVER] == HELLO + offer() and made.reasons("expectation-refused") == ["no-port"]


def test_a_line_that_would_grow_too_long_for_irc_opens_nothing() -> None:
    said = offer(kind="SEND " + "f" * 466)
    assert len(said) == dcc.LINE_MAX
    made = stage(ports=[41000])
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER] == HELLO + said and not made.expectations and not made.reserved


def test_resume_and_accept_name_the_port_that_each_side_knows() -> None:
    made = stage(ports=[41000])
    made.say(Side.CLIENT, offer())
    resume = b":bob!b@h " + line(b"DCC RESUME file.txt 41000 77", b"a")
    made.say(Side.SERVER, resume)
    assert made.heard[Side.CLIENT] == resume.replace(b"41000", b"5000")
    made.say(Side.CLIENT, line(b"DCC ACCEPT file.txt 5000 77"))
    assert made.heard[Side.SERVER].endswith(line(b"DCC ACCEPT file.txt 41000 77"))
    made.outcome(1, "used")
    other = b":eve!e@h " + line(b"DCC RESUME file.txt 9999 77", b"a")
    made.say(Side.SERVER, other)
    assert made.heard[Side.CLIENT].endswith(other)


def test_no_telnet_is_seen_in_irc() -> None:
    """0xff is a letter here: offsets in a line without it would be wrong in the line."""
    made = stage(ports=[41000])
    made.say(Side.CLIENT, offer())
    for said in (
        b"\xff\xf1:bob!b@h " + line(b"DCC RESUME file.txt 41000 77", b"a"),
        b":b\xff!b@h PRIVMSG a :\xff\xff\r\n",
    ):
        made.say(Side.SERVER, said)
        assert made.heard[Side.CLIENT].endswith(said)
    said = offer(kind="SEND f\xffile").replace("\xff".encode(), b"\xff")
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER].endswith(said) and len(made.expectations) == 1


def test_tls_begins_after_starttls() -> None:
    made = stage(hello=b"CAP LS\r\nSTARTTLS\r\n")
    made.say(Side.SERVER, b":irc.example 670 a :go on\r\n")
    assert made.bypassed
    made.say(Side.CLIENT, b"\x16\x03\x01PRIVMSG ")
    assert made.heard[Side.SERVER].endswith(b"PRIVMSG ")


def test_a_client_outside_names_no_address_of_ours() -> None:
    made = Stage(PLUGIN, ON, control(Side.SERVER, "10.0.0.5:6667", "203.0.113.1:6667", "198.51.100.9:4000"))
    made.say(Side.CLIENT, HELLO + offer())
    assert made.bypassed and made.heard[Side.SERVER] == HELLO + offer()


def test_every_reason_has_words_for_the_operator() -> None:
    for reason in (
        "passive-offer", "not-irc", "address-form", "not-client-address", "bad-number", "port-too-low", "any-peer-off",
        "malformed-offer", "no-port", "line-would-overflow",
    ):  # fmt: skip
        assert reason in WORDS, reason


def test_the_operator_reads_which_key_opens_an_offer() -> None:
    row = EventRow(0.0, "expectation-refused", "1", "irc", "PRIVMSG bob", "any-peer-off")
    assert sentence(row, {})[1].startswith("[alg.irc] any_peer = true")
