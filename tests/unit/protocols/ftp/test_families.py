"""FTP through NAT64: the rows F64-1 to F64-12 of RFC 6384, as transcripts of the plug-in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from algate.alg.plugin.families import embedded
from algate.alg.plugin.model import (
    Bypass,
    Control,
    Direction,
    Event,
    Expect,
    Left,
    Open,
    Pass,
    Replace,
    Reserve,
    Side,
    Withdraw,
)
from algate.alg.protocols.ftp import PLUGIN, FtpConversation
from algate.alg.protocols.ftp.dialogue import UNATTENDED, UNATTENDED_64, UNATTENDED_BEFORE_64
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control

pytestmark = pytest.mark.unit

CLIENT, SERVER = Side.CLIENT, Side.SERVER
PREFIX = IPv6Network("64:ff9b::/96")
INSIDE = "[2001:db8:1::5]:40000"
PEER = IPv4Address("198.51.100.2")
LOGIN = ((SERVER, b"220 hi\r\n"), (CLIENT, b"USER u\r\n"), (SERVER, b"230 in\r\n"))
OUT_227 = b"227 Entering Passive Mode (198,51,100,2,19,137).\r\n"
OUT_229 = b"229 Entering Extended Passive Mode (|||5001|)\r\n"
TOLD_229 = b"229 Entering Extended Passive Mode   (|||5001|).\r\n"  # as long as OUT_227
EPRT = b"EPRT |2|2001:db8:1::5|5001|\r\n"
IAC_DO, IAC_WILL, IAC_DONT, IAC_WONT = b"\xff\xfd\x01", b"\xff\xfb\x03", b"\xff\xfe\x01", b"\xff\xfc\x03"


def nat64(**more: object) -> Control:
    """An IPv6 client inside, an IPv4 server."""
    return replace(control(inside=INSIDE), prefix=PREFIX, **more)  # type: ignore[arg-type]


def forwarded(prefix: IPv6Network | None = PREFIX) -> Control:
    """An IPv6 server inside, behind a forward; an IPv4 client."""
    made = control(SERVER, inside="[2001:db8:1::5]:21", public="203.0.113.1:21", remote="198.51.100.2:40000")
    return replace(made, prefix=prefix)


def stage(
    policy: FtpPolicy | None = None, on: Control | None = None, ports: list[int] | None = None, login: bool = True
) -> Stage:
    made = Stage(PLUGIN, policy or FtpPolicy(), on or nat64(), ports)
    for side, data in LOGIN if login else ():
        made.say(side, data)
    made.events.clear()
    made.heard.update({CLIENT: b"", SERVER: b""})
    return made


def again(made: Stage, policy: FtpPolicy | None = None, left: tuple[Left, ...] = ()) -> Stage:
    """The helper is restarted: another one takes the session over."""
    old = made.conversation
    assert isinstance(old, FtpConversation)
    return Stage(PLUGIN, policy or FtpPolicy(), nat64(resumed=True, remembered=old.remember(), left=left))


# -- F64-1, F64-2: EPSV ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"EPSV\r\n", b"EPSV 2\r\n", b"epsv  2 \n", b"EPSV\n"])
def test_epsv_goes_on_as_pasv_and_its_227_comes_back_as_a_229(said: bytes) -> None:
    made = stage()
    made.client << said >> Replace(len(said), b"PASV\r\n")
    (
        made.server
        << OUT_227
        >> Expect(1, Direction.OUT, at(INSIDE).ip, at("198.51.100.2:5001"), 120.0, open=True)
        >> (Replace(len(OUT_227), TOLD_229))
    )
    made.done()
    assert (made.heard[SERVER], made.heard[CLIENT]) == (b"PASV\r\n", TOLD_229)


@pytest.mark.parametrize("said", [b"EPSV\r\n", b"EPSV 2\r\n"])
def test_cut_anywhere_it_is_the_same(said: bytes) -> None:
    for first in range(1, len(said)):
        for second in range(1, len(OUT_227)):
            made = stage()
            made.say(CLIENT, said[:first], said[first:])
            made.say(SERVER, OUT_227[:second], OUT_227[second:])
            assert (made.heard[SERVER], made.heard[CLIENT]) == (b"PASV\r\n", TOLD_229), (first, second)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"500 what?\r\n", b"500 what?\r\n"),
        (b"425 no\r\n", b"425 no\r\n"),
        (OUT_229, OUT_229),  # a server that answers either with either
        (b"227 Entering Passive Mode (0,0,0,0,19,137).\r\n", b"229 Entering Passive Mode       (|||5001|).\r\n"),
        (b"227 198,51,100,2,19,137\r\n", OUT_229),
        (b"227-wait\r\n 200 not this\r\n" + OUT_227, TOLD_229),
        (b"227-wait\r\n227 Entering (1,2,3)\r\n", b"425 algate: the server's answer names no data connection.\r\n"),
        (b"227 Logout.\r\n", b"425 algate: the server's answer names no data connection.\r\n"),
        (b"227 ok (10,0,0,9,19,137)\r\n", b"425 algate: the server named another address for the data connection.\r\n"),
        (b"227 low (198,51,100,2,0,22)\r\n", b"229 low" + b" " * 12 + b"(|||22|)\r\n"),
        (b"150-x\r\n150 y\r\n" + OUT_227, b"150-x\r\n150 y\r\n" + TOLD_229),
    ],
)
def test_what_the_server_may_answer(answer: bytes, told: bytes) -> None:
    for cut in range(1, len(answer)):
        made = stage()
        made.say(CLIENT, b"EPSV\r\n")
        made.say(SERVER, answer[:cut], answer[cut:])
        assert made.heard[CLIENT] == told
        opens = b"(|||5001|)" in told
        assert [one.expect.to for one in made.expectations.values()] == ([at("198.51.100.2:5001")] if opens else [])
        made.say(CLIENT, b"EPSV\r\n")
        made.say(SERVER, OUT_227)
        assert made.heard[CLIENT] == told + TOLD_229, "and the next one is none the worse for it"


@pytest.mark.parametrize("size", [5000, 13_000])
def test_nothing_is_left_of_a_long_line_that_was_replaced(size: int) -> None:
    """However it comes: what isn't the client's answer would be read as one."""
    long = b"227 " + b"t" * size + OUT_227[3:]
    made = stage()
    made.say(CLIENT, b"EPSV\r\n")
    made.say(SERVER, *(long[at : at + 1460] for at in range(0, len(long), 1460)))
    assert made.heard[CLIENT] == b"425 algate: the server's answer names no data connection.\r\n"
    made.heard[CLIENT] = b""
    multiline = b"214-x\r\n" + b"u" * size + b"\r\n214 End\r\n"
    for answer in (multiline, b"200 " + b"u" * size + b"\r\n", b"215 UNIX\r\n"):
        made.say(CLIENT, b"SYST\r\n")
        made.say(SERVER, *(answer[at : at + 1460] for at in range(0, len(answer), 1460)))
        assert made.heard[CLIENT] == answer
        made.heard[CLIENT] = b""


def test_an_address_that_the_operator_lists_is_the_control_peer_by_another_name() -> None:
    made = stage(FtpPolicy(third_party=(IPv4Network("10.0.0.0/8"),)))
    made.say(CLIENT, b"EPSV\r\n")
    made.say(SERVER, b"227 Entering Passive Mode (10,0,0,9,19,137).\r\n")
    assert made.heard[CLIENT] == b"229 Entering Passive Mode        (|||5001|).\r\n"
    assert made.expectations[1].expect.to == at("198.51.100.2:5001")


def test_a_227_that_nobody_asked_for_stays_one_and_opens_nothing() -> None:
    made = stage()
    made.say(SERVER, OUT_227)
    assert (made.heard[CLIENT], made.expectations) == (OUT_227, {})


def test_a_client_behind_464xlat_speaks_of_ipv4_and_is_let() -> None:
    """Its PASV is none of RFC 6384's commands, and the address in the 227 is one that it reaches."""
    made = stage()
    made.client << b"PASV\r\n" >> Pass(6)
    (
        made.server
        << OUT_227
        >> Expect(1, Direction.OUT, at(INSIDE).ip, at("198.51.100.2:5001"), 120.0, open=True)
        >> (Pass(len(OUT_227)))
    )
    made.done()


# -- F64-3, F64-5: what isn't for the server ---------------------------------------------------------------------------

INSTEAD = [
    (b"EPSV 1\r\n", b"522 algate: the server has no other network protocol, use (2)\r\n"),
    (b"EPSV 3\r\n", b"522 algate: the server has no other network protocol, use (2)\r\n"),
    (b"EPSV x y\r\n", b"522 algate: the server has no other network protocol, use (2)\r\n"),
    (b"EPSV ALL\r\n", b"504 algate: the gateway translates EPSV, but can't keep to it for good.\r\n"),
    (b"epsv all\r\n", b"504 algate: the gateway translates EPSV, but can't keep to it for good.\r\n"),
    (b"ALGS STATUS64\r\n", b"216 EPSV EPRT\r\n"),
    (b"algs enable64\r\n", b"216 EPSV EPRT\r\n"),
    (b"ALGS DISABLE64\r\n", b"216 NONE\r\n"),
    (b"ALGS\r\n", b"501 algate: say ALGS STATUS64, ENABLE64 or DISABLE64.\r\n"),
    (b"ALGS STATUS46\r\n", b"504 algate: say ALGS STATUS64, ENABLE64 or DISABLE64.\r\n"),
]


@pytest.mark.parametrize(("said", "answer"), INSTEAD)
@pytest.mark.parametrize(
    "of_server", [b"200 ok\r\n", b"500 no NOOP\r\n", b"530 log in\r\n", b"200-a\r\n b\r\n200 c\r\n"]
)
def test_a_noop_goes_in_its_place_and_the_answer_to_that_is_replaced(
    said: bytes, answer: bytes, of_server: bytes
) -> None:
    for cut in range(1, len(of_server)):
        made = stage()
        made.client << said >> Replace(len(said), b"NOOP\r\n")
        made.client << b"PWD\r\n"
        assert made.heard[SERVER] == b"NOOP\r\n", "what follows waits for the answer"
        made.say(SERVER, of_server[:cut], of_server[cut:])
        assert (made.heard[CLIENT], made.heard[SERVER]) == (answer, b"NOOP\r\nPWD\r\n")
        made.say(SERVER, b"257 /\r\n")
        assert made.heard[CLIENT] == answer + b"257 /\r\n"


def test_it_goes_in_turn() -> None:
    """A transfer is under way: servers often answer no NOOP meanwhile, and a reply could be taken for another."""
    made = stage()
    made.client << b"LIST\r\nALGS STATUS64\r\nQUIT\r\n"
    assert made.heard[SERVER] == b"LIST\r\n"
    made.say(SERVER, b"150 go\r\n")
    assert made.heard[SERVER] == b"LIST\r\n"
    made.say(SERVER, b"226 done\r\n")
    assert made.heard[SERVER] == b"LIST\r\nNOOP\r\n"
    made.say(SERVER, b"200 ok\r\n")
    made.say(SERVER, b"221 bye\r\n")
    assert made.heard == {
        CLIENT: b"150 go\r\n226 done\r\n216 EPSV EPRT\r\n221 bye\r\n",
        SERVER: b"LIST\r\nNOOP\r\nQUIT\r\n",
    }


def test_nobody_waits_for_ever_for_a_server_without_an_answer() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV ALL\r\nPWD\r\n")
    made.now = 31.0
    made.say(CLIENT, b"")
    assert made.heard[SERVER] == b"NOOP\r\nPWD\r\n"
    assert made.reasons("violation") == ["answer-overdue"]
    made.say(SERVER, b"257 /\r\n")
    assert made.heard[CLIENT] == b"257 /\r\n"


def test_what_was_said_before_a_fin_is_answered_one_by_one() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV 1\r\nALGS\r\n", end=True)
    made.say(SERVER, b"200 ok\r\n200 ok\r\n")
    assert made.heard[CLIENT] == INSTEAD[0][1] + INSTEAD[8][1]


def test_421_is_the_servers_own() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV ALL\r\n")
    made.say(SERVER, b"421-so\r\n421 bye\r\n")
    assert made.heard[CLIENT] == b"421-so\r\n421 bye\r\n"


def test_a_refusal_is_told_and_an_answer_is_not_one() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV ALL\r\n")
    made.say(SERVER, b"200 ok\r\n")
    made.say(CLIENT, b"ALGS STATUS64\r\n")
    made.say(SERVER, b"200 ok\r\n")
    made.say(CLIENT, b"EPSV 1\r\n")
    assert made.reasons("command-refused") == ["epsv-all", "network-protocol"]


# -- F64-4: EPRT -------------------------------------------------------------------------------------------------------


def test_eprt_goes_on_as_port_with_a_mapping_made_before_it_leaves() -> None:
    made = stage(ports=[50001])
    port = b"PORT 203,0,113,1,195,81\r\n"
    (
        made.client
        << EPRT
        >> Reserve(1, at("[2001:db8:1::5]:5001"))
        >> (Expect(1, Direction.IN, PEER, None, 120.0, acts_after=0.05))
        >> Replace(len(EPRT), port)
    )
    assert not made.expectations[1].open
    made.server << b"200 PORT command successful\r\n" >> Open(1) >> Pass(29)
    made.done()
    assert made.heard == {SERVER: port, CLIENT: b"200 PORT command successful\r\n"}


def test_eprt_with_a_refusal_opens_nothing() -> None:
    made = stage(ports=[50001])
    made.say(CLIENT, EPRT)
    made.say(SERVER, b"500 no\r\n")
    assert (made.heard[CLIENT], made.expectations) == (b"500 no\r\n", {})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"EPRT |2|2001:db8:1::6|5001|\r\n", "port-not-client"),
        (b"EPRT |2|64:ff9b::c633:6402|5001|\r\n", "port-not-client"),
        (b"EPRT |1|10.0.0.5|5001|\r\n", "wrong-family"),
        (b"EPRT |1|203.0.113.1|5001|\r\n", "wrong-family"),
        (b"EPRT |3|2001:db8:1::5|5001|\r\n", "wrong-family"),
        (b"EPRT |2|2001:db8:1::5|22|\r\n", "port-too-low"),
        (b"EPRT |2|2001:db8:1::5%1|5001|\r\n", "bad-syntax"),
        (b"PORT 203,0,113,1,19,137\r\n", "wrong-family"),
        (b"PORT 192,0,0,2,19,137\r\n", "wrong-family"),
    ],
)
def test_what_names_anything_else_passes_and_opens_nothing(said: bytes, reason: str) -> None:
    made = stage()
    made.client << said >> Pass(len(said))
    made.say(SERVER, b"200 ok\r\n")
    assert (made.expectations, made.reserved) == ({}, {})
    assert made.reasons("expectation-refused") == [reason]


def test_no_port_is_free() -> None:
    made = stage(ports=[])
    made.client << EPRT >> Reserve(1, at("[2001:db8:1::5]:5001"))
    assert made.heard[CLIENT].startswith(b"425 ") and made.heard[SERVER] == b""


def test_behind_another_nat_the_announced_address_is_told() -> None:
    made = stage(FtpPolicy(announce=IPv4Address("192.0.2.77")), ports=[50001])
    made.say(CLIENT, EPRT)
    assert made.heard[SERVER] == b"PORT 192,0,2,77,195,81\r\n"


# -- F64-6: AUTH -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"334 go on\r\n", b"235 fine\r\n", b"200 well\r\n"])
def test_after_auth_nothing_is_touched(answer: bytes) -> None:
    made = stage()
    made.say(CLIENT, b"AUTH GSSAPI\r\nEPSV\r\n")
    assert made.heard[SERVER] == b"AUTH GSSAPI\r\n", "until the answer is known"
    made.say(SERVER, answer)
    made.say(CLIENT, b"EPSV ALL\r\nALGS STATUS64\r\n" + EPRT + IAC_DO + b"PWD\r\n")
    assert made.heard[SERVER] == b"AUTH GSSAPI\r\nEPSV\r\nEPSV ALL\r\nALGS STATUS64\r\n" + EPRT + IAC_DO + b"PWD\r\n"
    assert (made.expectations, made.reserved) == ({}, {})


@pytest.mark.parametrize("answer", [b"534 no\r\n", b"431 not now\r\n", b"502 what?\r\n"])
def test_a_refused_auth_changes_nothing(answer: bytes) -> None:
    made = stage()
    made.say(CLIENT, b"AUTH TLS\r\n")
    made.say(SERVER, answer)
    made.say(CLIENT, b"EPSV\r\n")
    assert made.heard[SERVER] == b"AUTH TLS\r\nPASV\r\n"


def test_tls_is_not_read() -> None:
    made = stage()
    made.say(CLIENT, b"AUTH TLS\r\n")
    assert Bypass("tls") in made.say(SERVER, b"234 go\r\n")


# -- F64-7: ALGS -------------------------------------------------------------------------------------------------------


def test_the_client_may_turn_it_off_and_on() -> None:
    made = stage(ports=[50001])

    def ask(said: bytes, answer: bytes = b"200 ok\r\n") -> tuple[bytes, bytes]:
        made.heard.update({CLIENT: b"", SERVER: b""})
        made.say(CLIENT, said)
        made.say(SERVER, answer)
        return made.heard[SERVER], made.heard[CLIENT]

    assert ask(b"ALGS DISABLE64\r\n") == (b"NOOP\r\n", b"216 NONE\r\n")
    assert ask(b"ALGS STATUS64\r\n") == (b"NOOP\r\n", b"216 NONE\r\n")
    assert ask(b"EPSV\r\n", b"500 what?\r\n") == (b"EPSV\r\n", b"500 what?\r\n")
    assert ask(b"EPSV ALL\r\n") == (b"EPSV ALL\r\n", b"200 ok\r\n")
    assert ask(b"EPSV 1\r\n", OUT_229) == (b"EPSV 1\r\n", OUT_229)
    assert ask(EPRT, b"522 no\r\n") == (EPRT, b"522 no\r\n")
    assert made.reasons("expectation-refused") == ["untranslated"]
    assert ask(b"ALGS ENABLE64\r\n") == (b"NOOP\r\n", b"216 EPSV EPRT\r\n")
    assert ask(b"EPSV\r\n", OUT_227) == (b"PASV\r\n", TOLD_229)


def test_nat64_pass_touches_nothing() -> None:
    made = stage(FtpPolicy(nat64="pass"))
    for said in (b"EPSV\r\n", b"EPSV ALL\r\n", b"EPSV 1\r\n", b"ALGS STATUS64\r\n", EPRT, IAC_DO + b"PWD\r\n"):
        made.say(CLIENT, said)
        made.say(SERVER, b"500 what?\r\n")
        assert made.heard[SERVER].endswith(said)
    assert made.reserved == {}


def test_a_server_that_knows_epsv_is_followed_untranslated_too() -> None:
    made = stage(FtpPolicy(nat64="pass"))
    made.say(CLIENT, b"EPSV\r\n")
    made.say(SERVER, OUT_229)
    assert made.expectations[1].expect.to == at("198.51.100.2:5001")


@pytest.mark.parametrize("inside", ["10.0.0.5:40000", "[2001:db8:1::5]:40000"])
def test_within_one_family_nothing_of_it_happens(inside: str) -> None:
    """ALGS, EPSV ALL and Telnet options pass, whichever family it is."""
    remote = "198.51.100.2:21" if "." in inside else "[2001:db8:9::2]:21"
    made = stage(on=control(inside=inside, public=inside, remote=remote))
    for said in (b"ALGS STATUS64\r\n", b"EPSV ALL\r\n", b"EPSV 1\r\n", IAC_DO + b"PWD\r\n"):
        made.say(CLIENT, said)
        made.say(SERVER, b"500 what?\r\n")
    assert made.heard[SERVER] == b"ALGS STATUS64\r\nEPSV ALL\r\nEPSV 1\r\n" + IAC_DO + b"PWD\r\n"


def test_within_ipv6_nothing_is_announced_but_the_clients_own() -> None:
    """6-A9: the line stays as it is, and the port opens for the server alone, after its 200."""
    inside, remote = "[2001:db8:1::5]:40000", "[2001:db8:9::2]:21"
    made = stage(FtpPolicy(announce=IPv4Address("192.0.2.77")), control(inside=inside, public=inside, remote=remote))
    made.say(CLIENT, EPRT)
    assert made.heard[SERVER] == EPRT
    first = made.expectations[1]
    assert (first.expect.direction, first.expect.peer, first.open) == (
        Direction.IN,
        IPv6Address("2001:db8:9::2"),
        False,
    )
    assert made.reserved[1][0].inside == at("[2001:db8:1::5]:5001")
    made.say(SERVER, b"200 ok\r\n")
    assert first.open
    made.say(CLIENT, b"EPSV\r\n")
    made.say(SERVER, OUT_229)
    assert made.heard[CLIENT] == b"200 ok\r\n" + OUT_229
    assert made.expectations[2].expect.to == at("[2001:db8:9::2]:5001")
    made.say(CLIENT, b"EPRT |2|2001:db8:1::6|5001|\r\n")
    assert made.reasons("expectation-refused") == ["port-not-client"]


@pytest.mark.parametrize("said", [b"PORT 10,0,0,5,19,137\r\n", b"EPRT |1|10.0.0.5|5001|\r\n", b"PASV\r\n"])
def test_words_of_ipv4_open_nothing_within_ipv6(said: bytes) -> None:
    inside, remote = "[2001:db8:1::5]:40000", "[2001:db8:9::2]:21"
    made = stage(on=control(inside=inside, public=inside, remote=remote))
    made.client << said >> Pass(len(said))
    made.say(SERVER, b"200 ok\r\n" if said[:4] != b"PASV" else OUT_227)
    assert (made.expectations, made.reserved) == ({}, {})


def test_a_server_inside_within_ipv6() -> None:
    """EPSV opens for the control peer alone, and nothing is rewritten."""
    server, remote = "[2001:db8:1::5]:21", "[2001:db8:9::2]:40000"
    made = stage(on=control(SERVER, inside=server, public=server, remote=remote))
    made.client << b"EPSV\r\n" >> Pass(6)
    made.say(SERVER, OUT_229)
    (one,) = made.expectations.values()
    assert (one.expect.direction, one.expect.peer, one.open) == (Direction.IN, IPv6Address("2001:db8:9::2"), True)


# -- F64-8: Telnet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (IAC_DO, b"\xff\xfc\x01"), (IAC_WILL, b"\xff\xfe\x03"), (IAC_DONT, b""), (IAC_WONT, b""),
        (IAC_DO + IAC_WILL + IAC_DONT, b"\xff\xfc\x01\xff\xfe\x03"), (b"\xff\xfd\n", b"\xff\xfc\n"),
        (b"\xff\xfb\xff", b"\xff\xfe\xff"),
    ],
)  # fmt: skip
def test_options_are_refused_and_not_relayed(side: Side, said: bytes, answer: bytes) -> None:
    for cut in range(1, len(said) + 1):
        made = stage()
        made.say(side, said[:cut], said[cut:])
        assert (made.heard[side.other], made.heard[side]) == (b"", answer)
        line = b"PWD\r\n" if side is CLIENT else b"200 so\r\n"
        made.say(side, line)
        assert made.heard[side.other] == line


def test_options_before_the_greeting_are_no_binary_protocol() -> None:
    made = stage(login=False)
    made.say(SERVER, IAC_WILL[:1], IAC_WILL[1:], b"220 hi\r\n")
    assert not made.bypassed
    assert (made.heard[CLIENT], made.heard[SERVER]) == (b"220 hi\r\n", b"\xff\xfe\x03")


@pytest.mark.parametrize(
    ("said", "to_server"),
    [
        (b"PW" + IAC_DO + b"D\r\n", b"PWD\r\n"),
        (b"EP" + IAC_DO + b"SV\r\n", b"PASV\r\n"),
        (b"PWD" + IAC_DO + b"\r\n", b"PWD\r\n"),
        (b"A" + IAC_DO + b"B\xff\xff\xfd\x01\r\n", b"AB\xff\xff\xfd\x01\r\n"),
        (b"EPRT |2|2001:db8:1::5|5001|" + IAC_DO + b"\r\n", b"PORT 203,0,113,1,195,81\r\n"),
    ],
)
def test_options_within_a_line_are_left_out_of_it(said: bytes, to_server: bytes) -> None:
    made = stage(ports=[50001])
    made.say(CLIENT, b"NOOP\r\n" + said)
    assert (made.heard[SERVER], made.heard[CLIENT]) == (b"NOOP\r\n" + to_server, b"\xff\xfc\x01")


def test_an_option_that_is_a_line_feed() -> None:
    """A reader that knows no Telnet sees the end of a line there."""
    made = stage()
    made.say(CLIENT, b"PW\xff\xfd\nD\r\n")
    assert (made.heard[SERVER], made.heard[CLIENT]) == (b"PWD\r\n", b"\xff\xfc\n")


def test_options_within_a_refused_line() -> None:
    made = stage(FtpPolicy(deny=("DELE",)))
    made.say(CLIENT, b"DE" + IAC_DO + b"LE x\r\n")
    assert made.heard[SERVER] == b""
    assert made.heard[CLIENT].startswith(b"\xff\xfc\x01502 ")


def test_options_within_a_reply() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV\r\nPWD\r\n")
    made.say(SERVER, OUT_227[:-2] + IAC_WILL + b"\r\n" + b"257 " + IAC_DO + b"/\r\n")
    assert made.heard[CLIENT] == OUT_229 + b"257 /\r\n"
    assert made.heard[SERVER] == b"PASV\r\nPWD\r\n\xff\xfe\x03\xff\xfc\x01"


def test_synch_and_other_telnet_commands_are_not_options() -> None:
    made = stage()
    abort = b"\xff\xf4\xff\xf2ABOR\r\n"
    made.say(CLIENT, abort)
    assert (made.heard[SERVER], made.heard[CLIENT]) == (abort, b"")


# -- F64-9: all the rest -----------------------------------------------------------------------------------------------


def test_nothing_else_of_the_dialogue_is_changed() -> None:
    made = stage()
    dialogue = (
        (b"LANG fr\r\n", b"200 voil\xc3\xa0\r\n"),
        (b"MKD \xd0\xb4\xd0\xbe\xd0\xbc\r\n", b'257 "\xd0\xb4" \xe2\x9c\x93\r\n'),
        (b"FEAT\r\n", b"211-Features:\r\n EPSV\r\n EPRT\r\n UTF8\r\n211 End\r\n"),
        (b"SYST\r\n", b"215 UNIX\r\n"),
        (b"NOOP\r\n", b"200 ok\r\n"),
        (b"STAT\r\n", b"211-x\r\n227 (1,2,3,4,5,6)\r\n211 y\r\n"),
    )
    for said, answer in dialogue:
        made.client << said >> Pass(len(said))
        made.say(SERVER, answer)
    assert made.heard[CLIENT] == b"".join(answer for _, answer in dialogue)


# -- F64-10: time ------------------------------------------------------------------------------------------------------


def test_a_data_mapping_waits_for_half_a_minute_at_least() -> None:
    """Its first packet; as long as [alg.ftp] expect_timeout says, which is more by default."""
    assert FtpPolicy().expect_timeout >= 30
    made = stage(FtpPolicy(expect_timeout=45.0), ports=[50001])
    (
        made.client << EPRT
        >> Reserve(1, at("[2001:db8:1::5]:5001"))
        >> (Expect(1, Direction.IN, PEER, None, 45.0, acts_after=0.05))
        >> Replace(len(EPRT), b"PORT 203,0,113,1,195,81\r\n")
    )  # fmt: skip


# -- F64-11: hard cases ------------------------------------------------------------------------------------------------


def test_pipelined_commands_meet_their_own_answers() -> None:
    made = stage(ports=[50001])
    made.say(CLIENT, b"TYPE I\r\nEPSV\r\nPASV\r\nEPSV 2\r\n" + EPRT + b"LIST\r\n")
    assert made.heard[SERVER] == b"TYPE I\r\nPASV\r\nPASV\r\nPASV\r\nPORT 203,0,113,1,195,81\r\nLIST\r\n"
    made.say(SERVER, b"200 I\r\n" + OUT_227 * 3 + b"200 ok\r\n150 go\r\n226 done\r\n")
    assert made.heard[CLIENT] == b"200 I\r\n" + TOLD_229 + OUT_227 + TOLD_229 + b"200 ok\r\n150 go\r\n226 done\r\n"


def test_a_refused_one_does_not_shift_the_next() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV\r\nPASV\r\n")
    made.say(SERVER, b"500 no\r\n" + OUT_227)
    assert made.heard[CLIENT] == b"500 no\r\n" + OUT_227


def test_lines_with_flaws_open_nothing_and_are_not_translated() -> None:
    made = stage()
    for said in (b"EPSV\0\r\n", b"EP\rSV\r\n", b"EPSV " + b"x" * 5000 + b"\r\n"):
        made.say(CLIENT, said)
    made.say(SERVER, b"500 ?\r\n" * 6 + OUT_227)
    assert OUT_229 not in made.heard[CLIENT] and made.expectations == {}


def test_before_the_login_nothing_opens() -> None:
    made = stage(login=False)
    made.say(SERVER, b"220 hi\r\n")
    made.say(CLIENT, b"EPSV\r\n")
    made.say(SERVER, OUT_227)
    assert made.heard[CLIENT] == b"220 hi\r\n" + TOLD_229, "it can't be told as a 227"
    assert made.expectations == {}
    made.say(CLIENT, EPRT)
    assert made.heard[CLIENT].endswith(b"530 algate: log in first, with USER and PASS.\r\n")


def test_policy_comes_first() -> None:
    made = stage(FtpPolicy(deny=("EPSV", "ALGS")))
    made.say(CLIENT, b"EPSV ALL\r\nALGS STATUS64\r\n")
    assert (made.heard[SERVER], made.heard[CLIENT].count(b"502 ")) == (b"", 2)


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missed", "unread"])
def test_what_passed_unread_may_have_been_an_epsv(how: str) -> None:
    """Of the two only EPSV passes without the helper, as PASV."""
    made = stage() if how == "missed" else Stage(PLUGIN, FtpPolicy(), nat64(resumed=True, unread=True))
    assert isinstance(made.conversation, FtpConversation)
    if how == "missed":
        made.conversation.missed()
    made.say(SERVER, OUT_227)
    assert made.heard[CLIENT] == TOLD_229
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, OUT_227)
    assert made.heard[CLIENT] == TOLD_229 + OUT_227


def test_a_restart_between_epsv_and_its_227() -> None:
    made = stage()
    made.say(CLIENT, b"EPSV\r\n")
    after = again(made)
    after.say(SERVER, OUT_227)
    assert after.heard[CLIENT] == TOLD_229
    after.say(CLIENT, b"PASV\r\n")
    after.say(SERVER, OUT_227)
    assert after.heard[CLIENT] == TOLD_229 + OUT_227
    made.say(SERVER, OUT_227)
    for one in (made, after):
        assert isinstance(one.conversation, FtpConversation)
        assert one.conversation.remember() == 0, "nothing is left of it"


@pytest.mark.parametrize(("said", "answer"), INSTEAD)
def test_a_restart_between_noop_and_its_answer(said: bytes, answer: bytes) -> None:
    made = stage()
    made.say(CLIENT, said)
    after = again(made)
    after.say(CLIENT, b"PWD\r\n")
    assert after.heard[SERVER] == b"", "the answer comes first"
    after.say(SERVER, b"200 ok\r\n")
    assert (after.heard[CLIENT], after.heard[SERVER]) == (answer, b"PWD\r\n")


def test_a_restart_while_several_answers_are_owed() -> None:
    """Only a client that has closed gets there: its lines can't wait. Each command keeps its one reply; what the later
    ones say no longer matters to a client that can't say anything more."""
    made = stage()
    made.say(CLIENT, b"EPSV 1\r\nALGS\r\nPWD\r\n", end=True)
    assert made.heard[SERVER] == b"NOOP\r\nNOOP\r\nPWD\r\n"
    after = again(made)
    after.say(SERVER, b"200 ok\r\n200 ok\r\n257 /\r\n")
    assert after.heard[CLIENT] == INSTEAD[0][1] + b"200 ok\r\n257 /\r\n"


def test_what_the_client_turned_off_stays_off() -> None:
    made = stage()
    made.say(CLIENT, b"ALGS DISABLE64\r\n")
    made.say(SERVER, b"200 ok\r\n")
    after = again(made)
    assert isinstance(after.conversation, FtpConversation)
    assert after.conversation.progress().phase == "ready"
    after.say(CLIENT, b"EPSV\r\n")
    assert after.heard[SERVER] == b"EPSV\r\n"


def test_what_auth_ended_stays_ended() -> None:
    made = stage()
    made.say(CLIENT, b"AUTH GSSAPI\r\n")
    made.say(SERVER, b"334 more\r\n")
    after = again(again(made))
    after.say(CLIENT, b"EPSV\r\n")
    assert after.heard[SERVER] == b"EPSV\r\n"


def test_the_login_is_remembered_beside_it() -> None:
    made = stage(login=False)
    made.say(SERVER, b"220 hi\r\n")
    made.say(CLIENT, b"ALGS DISABLE64\r\n")
    after = again(made)
    assert isinstance(after.conversation, FtpConversation)
    assert after.conversation.remember() == made.conversation.remember()  # type: ignore[attr-defined]
    assert after.conversation.progress().phase == "login"
    assert 0 <= after.conversation.remember() <= 255


# -- what passes without the helper ------------------------------------------------------------------------------------


def unattended(made: Stage) -> object:
    assert isinstance(made.conversation, FtpConversation)
    told = made.conversation.unattended()
    return told and told.lines


def test_what_is_rewritten_passes_only_where_the_kernel_rewrites_it() -> None:
    for lines in (UNATTENDED_64, UNATTENDED_BEFORE_64):
        assert not {b"PASV", b"EPRT", b"PORT", b"ALGS", b"AUTH"} & lines.commands
        assert b"229" not in lines.replies and lines.retold == {b"EPSV", b"227"} <= lines.copied - lines.told
        assert lines.names == {b"227"}, "whose number the kernel writes, it must expect"
    assert not UNATTENDED.retold
    assert UNATTENDED_64.number != UNATTENDED.number
    made = stage()
    assert unattended(made) is UNATTENDED_64
    made.say(CLIENT, b"EPSV\r\n")
    assert unattended(made) in (None, UNATTENDED_64)
    made.say(SERVER, OUT_227)
    assert unattended(made) is UNATTENDED_64
    made.say(CLIENT, b"ALGS DISABLE64\r\n")
    assert unattended(made) is None
    made.say(SERVER, b"200 ok\r\n")
    assert unattended(made) is None, "a restart would forget what it was told"
    assert unattended(stage(on=control())) is UNATTENDED


@pytest.mark.parametrize("asked", [False, True], ids=["at rest", "behind a 227"])
def test_a_transfer_makes_nothing_matter_that_did_not(asked: bool) -> None:
    """So what follows its command needn't be read: `unattended` says the same before and behind it."""
    for verb in sorted(UNATTENDED_64.told):
        made = stage()
        assert isinstance(made.conversation, FtpConversation)
        if asked:
            made.say(CLIENT, b"EPSV\r\n")
            made.say(SERVER, OUT_227)
        before = made.conversation.unattended()
        assert before is not None and not before.read
        made.say(CLIENT, verb + b" x\r\n")
        after = made.conversation.unattended()
        assert after == (before.lines, before.unanswered + 1, False, 0, True)
        assert made.conversation.remember() == 0
    assert UNATTENDED_64.told == UNATTENDED.told


# -- F64-12: an IPv6 server behind a forward ---------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"PASV\r\n", b"P@SW\r\n"])
def test_pasv_goes_on_as_epsv_and_its_229_comes_back_as_a_227(said: bytes) -> None:
    made = stage(on=forwarded(), ports=[50001])
    made.client << said >> Replace(6, b"EPSV\r\n")
    told = b"227 Entering Passive Mode (203,0,113,1,195,81).\r\n"
    (
        made.server
        << OUT_229
        >> Reserve(1, at("[2001:db8:1::5]:5001"))
        >> (Expect(1, Direction.IN, PEER, None, 120.0, open=True))
        >> Replace(len(OUT_229), told)
    )
    made.done()
    assert made.heard[CLIENT] == told


@pytest.mark.parametrize("said", [b"PORT 198,51,100,2,19,137\r\n", b"EPRT |1|198.51.100.2|5001|\r\n"])
def test_port_goes_on_as_eprt_with_the_address_that_the_server_knows(said: bytes) -> None:
    made = stage(on=forwarded())
    eprt = b"EPRT |2|64:ff9b::c633:6402|5001|\r\n"
    (
        made.client
        << said
        >> Expect(1, Direction.OUT, IPv6Address("2001:db8:1::5"), at("198.51.100.2:5001"), 120.0, acts_after=0.05)
        >> Replace(len(said), eprt)
    )
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.done()


def test_without_a_prefix_the_server_can_not_be_told() -> None:
    made = stage(on=forwarded(None))
    made.client << b"PORT 198,51,100,2,19,137\r\n" >> Pass(26)
    assert (made.expectations, made.reasons("expectation-refused")) == ({}, ["untranslated"])


def test_epsv_of_an_ipv4_client() -> None:
    made = stage(on=forwarded(), ports=[50001, 50002])
    made.client << b"EPSV\r\n" >> Pass(6)
    made.say(SERVER, OUT_229)
    made.client << b"EPSV 1\r\n" >> Withdraw(1, "superseded") >> Replace(8, b"EPSV\r\n")
    made.say(SERVER, OUT_229)
    assert made.heard[CLIENT] == OUT_229.replace(b"5001", b"50001") + OUT_229.replace(b"5001", b"50002")
    made.client << b"ALGS STATUS64\r\n" >> Pass(15)


@pytest.mark.parametrize(
    "answer", [b"229 what\r\n", b"229-a\r\n b\r\n229 what\r\n", b"229 (|||0|)\r\n", b"229 (|||22|)\r\n"]
)
def test_a_229_that_names_nothing_useful_is_no_227(answer: bytes) -> None:
    made = stage(on=forwarded())
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, answer)
    assert made.heard[CLIENT].startswith(b"425 algate: ") and made.heard[CLIENT].count(b"\n") == 1
    assert made.expectations == {}


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "wanted"),  # RFC 6052 section 2.4
    [
        ("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"), ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"), ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ],
)  # fmt: skip
def test_the_address_of_an_ipv4_host_behind_a_prefix(prefix: str, wanted: str) -> None:
    assert embedded(IPv6Network(prefix), IPv4Address("192.0.2.33")) == IPv6Address(wanted)
    assert embedded(IPv6Network(prefix), IPv6Address("::1")) is None
    assert embedded(None, IPv4Address("192.0.2.33")) is None


def test_events_say_both_ends() -> None:
    made = stage(ports=[50001])
    made.say(CLIENT, EPRT)
    seen = [one for one in made.events if one.event == "expectation-made"]
    assert seen == [Event("expectation-made", "EPRT [2001:db8:1::5]:5001 as 203.0.113.1:50001", fields=seen[0].fields)]
    assert ("to", "[2001:db8:1::5]:5001") in seen[0].fields
