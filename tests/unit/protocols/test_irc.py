"""The IRC plug-in as transcripts: strict about where an offer is, and about whose address it names."""

from __future__ import annotations

import pytest

from algate.alg.admin.reasons import WORDS, sentence
from algate.alg.protocols.base import Direction, EndPoint, Event, Expect, Pass, Replace, Reserve, Side, Withdraw
from algate.alg.protocols.irc import PLUGIN, IrcPolicy, dcc
from algate.alg.protocols.irc.words import IrcWords
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


def changed(said: bytes, port: int, ip: object = ME, own: int = 5000) -> bytes:
    """An offer as it leaves."""
    return said.replace(f"{ip} {own}".encode(), b"%d %d" % (PUBLIC, port))


def opened(said: bytes, leaves: bytes, own: int = 5000, ports: int = 1) -> None:
    """In one piece and byte by byte it is rewritten and opened, for the client's own port."""
    for size in (len(said), 1):
        made = stage(ports=[41000 + number for number in range(ports)])
        made.say(Side.CLIENT, *(said[at : at + size] for at in range(0, len(said), size)))
        assert made.heard[Side.SERVER] == HELLO + leaves and not made.undecided[Side.CLIENT]
        assert [one.open for one in made.expectations.values()] == [True] * ports
        asked, public = made.reserved[1]
        assert asked.inside == EndPoint(at("10.0.0.5:1").ip, own) and public.port == 41000
        assert not made.reasons("expectation-refused")


# 203.0.113.1 as the outside sees this client, and the client's own address, in the ways of spelling them
OWN = [
    PUBLIC, "203.0.113.1", "0xcb007101", "0XCB007101", f"0{PUBLIC}", f"000{PUBLIC}", "::ffff:203.0.113.1",
    ME, "10.0.0.5", "0xa000005", f"0{ME}", "::ffff:10.0.0.5", "::FFFF:a00:5",
    0, "0.0.0.0", "000",
]  # fmt: skip


@pytest.mark.parametrize("ip", OWN)
@pytest.mark.parametrize("kind", ["SEND file.txt", "CHAT chat"])
@pytest.mark.parametrize("command", [b"PRIVMSG", b"NOTICE", b"privmsg"])
def test_r07_the_public_address_is_the_client_s_own_in_any_spelling(ip: object, kind: str, command: bytes) -> None:
    said = offer(ip, kind=kind).replace(b"PRIVMSG", command)
    opened(said, changed(said, 41000, ip))


def test_r07_the_public_address_of_this_session_alone() -> None:
    """With a pool: another of its addresses is what the outside sees for another host."""
    pooled = control(remote="198.51.100.2:6667", public="203.0.113.9:40000")
    made = Stage(PLUGIN, ON, pooled, [41000, 41001])
    made.say(Side.CLIENT, HELLO + offer(PUBLIC) + offer(PUBLIC + 8, 5001))
    assert made.heard[Side.SERVER] == HELLO + offer(PUBLIC) + offer(PUBLIC + 8, 41000)
    assert made.reasons("expectation-refused") == ["not-client-address"] and list(made.expectations) == [1]


def test_r07_the_public_address_opens_nothing_without_any_peer() -> None:
    made = stage(IrcPolicy(enabled=True))
    made.say(Side.CLIENT, offer(PUBLIC))
    assert made.heard[Side.SERVER] == HELLO + offer(PUBLIC) and not made.reserved
    assert made.reasons("expectation-refused") == ["any-peer-off"]


@pytest.mark.parametrize(
    "before",
    [
        b"@label=1 ",
        b"@+draft/reply=x;label=1  ",
        b"@ ",
        b":a!a@h ",
        b":a ",
        b"@label=1 :a!a@h ",
        b"@" + b"t" * 8189 + b" ",
    ],
    ids=["label", "several", "empty", "prefix", "nick", "both", "longest"],
)
def test_r13_tags_and_prefix_are_kept_and_the_offer_is_rewritten(before: bytes) -> None:
    opened(before + offer(), before + changed(offer(), 41000))


def test_r13_a_line_with_tags_waits_for_no_more_than_its_command() -> None:
    made = stage()
    made.client << b"@label=1;x"
    made.client << b"=y"
    made.done()
    made.client << b" PING x" >> Pass(19)
    made.client << b" y\r\n" >> Pass(4)
    made.server << b"@time=2024-01-01T00:00:00.000Z :irc.example 372" >> Pass(47)
    made.server << b" a :-\r\n" >> Pass(7)
    made.done()


def test_r13_tags_beyond_their_limit_open_nothing_and_pass() -> None:
    said = b"@" + b"t" * 9000 + b" " + offer()
    made = stage()
    made.say(Side.CLIENT, said, offer())
    assert made.heard[Side.SERVER] == HELLO + said + offer(PUBLIC) and list(made.expectations) == [1]


KINDS = ["SEND", "TSEND", "MOVE", "SSEND", "TSSEND", "XMIT", "RECV", "VOICE", "send", "CHAT", "SCHAT", "TSCHAT"]
NAMES = [
    "file.txt", '"my file"', '"my 2 12 file"', "my file", "my 2 12 file", '"a"b c"', '"a', 'a"b', '""', "*", "-",
    "f\u00fc", "\x02bold", "a,b:c;d", "167772165", "C:\\x\\y z", "10.0.0.5",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_r14_every_kind_of_offer_is_treated_as_send(kind: str) -> None:
    said = offer(kind=f"{kind} file.txt")
    opened(said, changed(said, 41000))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", ["", " 10", " 10 77", " 10 T", " 10 x y z", " 4294967296000 1 ", " "])
def test_r14_whatever_the_name_and_what_follows(name: str, rest: str) -> None:
    said = offer(kind=f"SEND {name}", rest=rest)
    opened(said, changed(said, 41000))


@pytest.mark.parametrize(
    "said",
    [
        offer().replace(b"\x01\r\n", b"\r\n"),
        offer().replace(b"\x01\r\n", b"\x01 ok\r\n"),
        offer().replace(b"DCC ", b"dcc "),
        offer().replace(b" bob", b"  bob").replace(b" :", b"   :"),
        line(b"DCC  SEND  file.txt  %d  5000  10" % ME).replace(b"%d  5" % ME, b"%d 5" % ME),
    ],
)
def test_r14_what_readers_overlook_is_overlooked(said: bytes) -> None:
    opened(said, changed(said, 41000))


def test_r14_leading_zeros_and_blanks_leave_as_one_form() -> None:
    said = line(b"DCC SEND f %d   05000 10" % ME)
    opened(said, line(b"DCC SEND f %d 41000 10" % PUBLIC))


@pytest.mark.parametrize("between", [b"\x01\x01", b"\x01 and \x01"])
def test_r14_several_offers_in_one_line(between: bytes) -> None:
    said = line(between.join(b"DCC SEND f%d %d 500%d 10" % (n, PUBLIC if n else ME, n) for n in range(3)))
    leaves = line(between.join(b"DCC SEND f%d %d 4100%d 10" % (n, PUBLIC, n) for n in range(3)))
    opened(said, leaves, ports=3)


def test_r14_of_several_offers_each_is_judged_by_itself() -> None:
    many = [(ME, 5000), (ME, 0), (ME + 1, 5001), (PUBLIC, 5002), (ME, 5003), (ME, 0)]
    made = stage(IrcPolicy(enabled=True, any_peer=True, max_offers=2), ports=[41000, 41001, 41002])
    made.say(Side.CLIENT, offer(port=4999))
    made.say(Side.CLIENT, line(b"\x01\x01".join(b"DCC SEND f %d %d 10" % one for one in many)))
    many[0], many[3] = (PUBLIC, 41001), (PUBLIC, 41002)
    assert made.heard[Side.SERVER].endswith(line(b"\x01\x01".join(b"DCC SEND f %d %d 10" % one for one in many)))
    assert made.reasons("expectation-refused") == ["passive-offer", "not-client-address", "expectation-limit"]
    assert list(made.expectations) == [2, 3]


def test_r14_of_several_offers_some_may_find_no_port() -> None:
    made = stage(ports=[41000])
    said = line(b"\x01\x01".join(b"DCC SEND f %d %d 10" % (ME, port) for port in (5000, 5001)))
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER] == HELLO + changed(said, 41000)
    assert made.reasons("expectation-refused") == ["no-port"] and list(made.expectations) == [1]


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
        (offer("fe80::1"), "address-form"),
        (offer("::1"), "address-form"),
        (offer(1 << 32), "address-form"),
        (offer("0x1ffffffff"), "address-form"),
        (offer("10.0.5"), "address-form"),
        (offer("10.0.0.05"), "address-form"),
        (offer(ME + 1), "not-client-address"),
        (offer("10.0.0.6"), "not-client-address"),
        (offer(2130706433), "not-client-address"),  # 127.0.0.1
        (offer(PUBLIC + 1), "not-client-address"),  # of the gateway, perhaps, and somebody else's
        (offer(port=1023), "port-too-low"),
        (offer(PUBLIC, 1023), "port-too-low"),
        (offer(port=65536), "bad-number"),
        (offer(port="-1"), "malformed-offer"),
        (offer(port="0x1388"), "not-client-address"),  # and 1234 as the port
        (offer(kind="SEND"), "not-client-address"),  # the address read as a file name
        (offer(kind="REJECT SEND"), "malformed-offer"),
        (b"x" + offer(), "malformed-offer"),
        (b"@a @b " + offer(), "malformed-offer"),
        (b":me @tag=1 " + offer(), "malformed-offer"),
        (b":me :you " + offer(), "malformed-offer"),
        (b" " + offer(), "malformed-offer"),
        (b"PONG " + offer(), "malformed-offer"),
        (offer().replace(b":\x01", b":see \x01"), "malformed-offer"),
        (offer().replace(b":\x01", b":\x01PING \x01"), "malformed-offer"),  # somebody's own words, sent back
        (offer().replace(b":\x01", b":\x01PING 1\x01\x01"), "malformed-offer"),
        (offer().replace(b" :\x01", b" \x01"), "malformed-offer"),
        (offer().replace(b" :\x01", b" x :\x01"), "malformed-offer"),
        (offer().replace(b"PRIVMSG", b"TOPIC"), "malformed-offer"),
        (offer().replace(b"bob", b"bob,eve"), "malformed-offer"),
    ],
)
def test_what_is_no_offer_of_the_own_address_in_its_place_passes_unchanged(said: bytes, reason: str) -> None:
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


@pytest.mark.parametrize("tags", [b"", b"@label=1 ", b"@" + b"t" * 4094 + b" "])
def test_a_line_that_would_grow_too_long_for_irc_opens_nothing(tags: bytes) -> None:
    fits = offer(kind="SEND " + "f" * 464)
    said = offer(kind="SEND " + "f" * 466)
    assert len(said) == dcc.LINE_MAX
    made = stage(ports=[41000, 41001])
    made.say(Side.CLIENT, tags + said)
    assert made.heard[Side.SERVER] == HELLO + tags + said and not made.expectations and not made.reserved
    assert made.reasons("expectation-refused") == ["line-would-overflow"]
    made.say(Side.CLIENT, tags + fits)
    assert made.heard[Side.SERVER].endswith(changed(tags + fits, 41001)) and list(made.expectations) == [2]


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


@pytest.mark.parametrize("before", [b":bob!b@h ", b"@time=2024-01-01T00:00:00.000Z;msgid=1 :bob!b@h ", b"@a  :bob "])
@pytest.mark.parametrize(
    ("name", "rest"),
    [(b"file.txt", b" 77"), (b'"my file"', b" 77"), (b"my file", b" 77 12"), (b"my 2 12 file", b" 77")],
)
def test_r13_r14_resume_and_accept_are_found_behind_tags_and_any_name(before: bytes, name: bytes, rest: bytes) -> None:
    made = stage(ports=[41000])
    made.say(Side.CLIENT, offer(kind="TSEND file.txt"))
    resume = before + line(b"DCC RESUME " + name + b" 41000" + rest, b"a")
    made.say(Side.SERVER, *(resume[at : at + 1] for at in range(len(resume))))
    assert made.heard[Side.CLIENT] == resume.replace(b"41000", b"5000")
    accept = b"@label=7 " + line(b"DCC ACCEPT " + name + b" 5000" + rest)
    made.say(Side.CLIENT, accept)
    assert made.heard[Side.SERVER].endswith(accept.replace(b"5000", b"41000"))


def test_resume_of_somebody_else_s_offer_names_that_one_s_port() -> None:
    """The other side's port may equal one of the client's own: RESUME is about what was offered to the speaker."""
    made = stage(ports=[41000])
    made.say(Side.CLIENT, offer())
    for side, said in (
        (Side.CLIENT, line(b"DCC RESUME file.txt 5000 77")),
        (Side.SERVER, b":bob!b@h " + line(b"DCC ACCEPT file.txt 41000 77", b"a")),
    ):
        made.say(side, said)
        assert made.heard[side.other].endswith(said)


def test_no_telnet_is_seen_in_irc() -> None:
    """0xff is a letter here: in a file's name, and where a Telnet reader would see no end of the line."""
    made = stage(ports=[41000, 41001])
    made.say(Side.SERVER, said := b":b\xff!b@h PRIVMSG a :\xff\xff\r\n")
    assert made.heard[Side.CLIENT] == said
    for number, name in enumerate((b"f\xffile", b"f\xff\xffile\xff")):
        said = offer().replace(b"file.txt", name)
        made.say(Side.CLIENT, said)
        assert made.heard[Side.SERVER].endswith(changed(said, 41000 + number))
        resume = b"\xff\xf1:bob!b@h " + line(b"DCC RESUME file.txt 41000 77", b"a")
        made.say(Side.SERVER, resume)
        assert made.heard[Side.CLIENT].endswith(resume)
    made.say(Side.SERVER, resume := b":bob\xff!b@h " + line(b"DCC RESUME f\xffile 41001 77\xff", b"a"))
    assert made.heard[Side.CLIENT].endswith(resume)
    made.say(Side.SERVER, resume := b":bob\xff!b@h " + line(b"DCC RESUME f\xffile 41001 77", b"a"))
    assert made.heard[Side.CLIENT].endswith(resume.replace(b"41001", b"5000"))


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("asked", [b"STARTTLS", b"@label=1 STARTTLS"])
@pytest.mark.parametrize("answer", [b":irc.example 670 ", b"@label=1 :irc.example 670 ", b"670 "])
def test_tls_begins_after_starttls(asked: bytes, answer: bytes, size: int) -> None:
    made = stage(hello=b"CAP LS\r\n" + asked + b"\r\n")
    answer += b"a :go on\r\n"
    made.say(Side.SERVER, *(answer[at : at + size] for at in range(0, len(answer), size)))
    assert made.bypassed and made.heard[Side.CLIENT] == answer
    made.say(Side.CLIENT, b"\x16\x03\x01PRIVMSG ")
    assert made.heard[Side.SERVER].endswith(b"PRIVMSG ")


def test_a_refused_starttls_may_come_first() -> None:
    made = stage(hello=b"STARTTLS\r\n")
    made.say(Side.SERVER, b":irc.example 691 a :no\r\n")
    made.say(Side.CLIENT, HELLO + offer())
    assert not made.bypassed and list(made.expectations) == [1]


def test_a_client_outside_names_no_address_of_ours() -> None:
    made = Stage(PLUGIN, ON, control(Side.SERVER, "10.0.0.5:6667", "203.0.113.1:6667", "198.51.100.9:4000"))
    made.say(Side.CLIENT, HELLO + offer())
    assert made.bypassed and made.heard[Side.SERVER] == HELLO + offer()


def test_every_reason_has_words_for_the_operator() -> None:
    for reason in (
        "passive-offer", "not-irc", "address-form", "not-client-address", "bad-number", "port-too-low", "any-peer-off",
        "malformed-offer", "no-port", "line-would-overflow",
    ):  # fmt: skip
        assert reason in IrcWords.refusals or reason in WORDS, reason


def test_the_operator_reads_which_key_opens_an_offer() -> None:
    row = EventRow(0.0, "expectation-refused", "1", "irc", "PRIVMSG bob", "any-peer-off")
    assert sentence(row, {}, IrcWords())[1].startswith("[alg.irc] any_peer = true")


@pytest.mark.parametrize(
    ("remote", "public", "leaves"),
    [
        ("[2001:db8:9::2]:6667", "[2001:db8:1::5]:40000", "2001:db8:1::5"),
        ("198.51.100.2:6667", "203.0.113.1:40000", PUBLIC),
    ],
    ids=["ipv6", "nat64"],
)
def test_a_client_of_ipv6_offers_its_own_address(remote: str, public: str, leaves: object) -> None:
    """Without translation the line stays as it is; through NAT64 it names the public IPv4 address."""
    made = Stage(PLUGIN, ON, control(inside="[2001:db8:1::5]:40000", public=public, remote=remote), None)
    made.say(Side.CLIENT, HELLO)
    said = offer("2001:0DB8:1::5")
    made.say(Side.CLIENT, said)
    assert made.heard[Side.SERVER] == HELLO + said.replace(b"2001:0DB8:1::5", str(leaves).encode())
    assert made.expectations[1].open and made.reserved[1][0].inside == at("[2001:db8:1::5]:5000")
    made.say(Side.CLIENT, offer("2001:db8:1::6"), offer(ME))
    assert made.reasons("expectation-refused") == ["not-client-address"] * 2
