"""Hard cases of FTP that the machine decides, by number: what is said, not what is on the wire."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from algate.alg.plugin.model import Bypass, Open, Pass, Refuse, Replace, Reserve, Side
from algate.alg.protocols.ftp import PLUGIN, FtpConversation
from algate.alg.protocols.ftp.dialogue import Phase
from algate.alg.protocols.ftp.pairing import Waiting
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control

CLIENT, SERVER = Side.CLIENT, Side.SERVER
PORT = b"PORT 10,0,0,5,19,137\r\n"
PORT_B = b"PORT 10,0,0,5,19,138\r\n"
PASV_REPLY = b"227 here (198,51,100,2,19,137)\r\n"


def stage(inside: Side = CLIENT, policy: FtpPolicy | None = None, ports: range | None = range(50001, 60000)) -> Stage:
    """After the login."""
    made = Stage(PLUGIN, policy or FtpPolicy(), control(inside), None if ports is None else list(ports))
    for side, data in ((SERVER, b"220 ready\r\n"), (CLIENT, b"USER u\r\n"), (SERVER, b"230 in\r\n")):
        made.say(side, data)
    made.heard = {CLIENT: b"", SERVER: b""}
    made.events.clear()
    return made


def talk(made: Stage, *words: bytes) -> Stage:
    """Client and server in turn, the client first; an empty string is silence."""
    for number, word in enumerate(words):
        if word:
            made.say(SERVER if number % 2 else CLIENT, word)
    return made


def opened(made: Stage) -> int:
    return sum(expected.open for expected in made.expectations.values())


@pytest.mark.parametrize(
    ("inside", "line", "reason"),
    [
        (CLIENT, b"PORT 10,0,0,9,19,137", "port-not-client"),
        (CLIENT, b"PORT 198,51,100,7,19,137", "port-not-client"),  # FTP-41
        (CLIENT, b"PORT 127,0,0,1,19,137", "port-not-client"),
        (CLIENT, b"PORT 10,0,0,5,0,25", "port-too-low"),  # FTP-6
        (CLIENT, b"PORT 10,0,0,5,3,255", "port-too-low"),
        (CLIENT, b"PORT 10,0,0,5,0,0", "port-zero"),  # FTP-5
        (CLIENT, b"PORT 10, 0,0,5,19,137", "bad-syntax"),  # FTP-2
        (CLIENT, b"PORT 10,0,0,5,256,137", "bad-number"),  # FTP-4
        (CLIENT, b"EPRT |2|2001:db8::5|5001|", "wrong-family"),  # FTP-13
        (CLIENT, b"EPRT |1|10.0.0.5|5001", "bad-syntax"),  # FTP-12
        (CLIENT, b"PORT 10,0,0,5,\xff\xf119,137", "bad-syntax"),  # FTP-16
        (SERVER, b"PORT 198,51,100,9,19,137", "port-not-client"),
        (SERVER, b"PORT 10,0,0,9,19,137", "port-not-client"),  # a bounce into the inside
        (SERVER, b"PORT 198,51,100,2,0,22", "port-too-low"),
    ],
)
def test_a_line_that_opens_nothing_passes_and_says_why(inside: Side, line: bytes, reason: str) -> None:
    made = stage(inside)
    made.client << line + b"\r\n" >> Pass(len(line) + 2)
    made.server << b"200 ok\r\n" >> Pass(8)
    made.done()
    assert not made.expectations
    assert made.reasons("expectation-refused") == [reason]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"227 here (198,51,100,7,19,137)", "third-party"),  # FTP-43
        (b"227 here (10,0,0,9,19,137)", "third-party"),  # FTP-42: a server behind another NAT
        (b"227 here (198,51,100,2,0,25)", "port-too-low"),
        (b"227 here (198,51,100,2,19,137,5)", "bad-syntax"),
        (b"227 here (1216,256,2,127,127,127)", "bad-number"),  # FTP-10
        (b"227 Logout.", "no-address"),  # FTP-8
        (b"227 here (198,51,100,2,19,137)\0", "nul-byte"),  # FTP-18
        (b"227 here\r (198,51,100,2,19,137)", "bare-cr"),
        (b"227 (198,51,100,2,19,137)" + b"." * 4096, "line-too-long"),  # FTP-19
    ],
)
def test_a_passive_reply_that_opens_nothing_passes_and_says_why(reply: bytes, reason: str) -> None:
    made = stage()
    talk(made, b"PASV\r\n", reply + b"\r\n")
    assert made.heard[CLIENT] == reply + b"\r\n"
    assert not made.expectations
    assert made.reasons("expectation-refused") == [reason]


def test_listed_third_parties_are_let_through_ftp_41_43() -> None:
    policy = FtpPolicy(third_party=(network("198.51.100.0/24"),))
    made = talk(stage(policy=policy), b"PASV\r\n", b"227 (198,51,100,7,19,137)\r\n")
    assert [expected.expect.to for expected in made.expectations.values()] == [at("198.51.100.7:5001")]
    made = talk(stage(SERVER, policy), b"PORT 198,51,100,9,19,137\r\n", b"200 ok\r\n")
    assert [expected.expect.to for expected in made.expectations.values()] == [at("198.51.100.9:5001")]
    assert opened(made) == 1


def network(text: str) -> IPv4Network:
    return IPv4Network(text)


def test_a_listed_third_party_of_an_inside_client_passes_untranslated_ftp_41() -> None:
    made = talk(stage(policy=FtpPolicy(third_party=(network("198.51.100.0/24"),))), b"PORT 198,51,100,7,19,137\r\n")
    assert made.heard[SERVER] == b"PORT 198,51,100,7,19,137\r\n"
    assert made.reasons("expectation-refused") == ["third-party-untranslated"]


@pytest.mark.parametrize("word", [b"SITE PORT", b"RETR PORT", b"XPORT", b"HELP PORT"])
def test_port_counts_at_the_start_of_a_line_alone_ftp_20(word: bytes) -> None:
    made = talk(stage(), word + b" 10,0,0,5,19,137\r\n", b"200 ok\r\n")
    assert not made.expectations and b"10,0,0,5" in made.heard[SERVER]


@pytest.mark.parametrize("word", [b"LPRT 4,4,10,0,0,5,2,19,137", b"LPSV", b"XPWD", b"MACB"])
def test_historic_and_unknown_commands_pass_and_open_nothing_ftp_22(word: bytes) -> None:
    made = talk(stage(), word + b"\r\n", b"228 Entering Long Passive Mode (4,4,198,51,100,2,2,19,137)\r\n")
    assert made.heard[SERVER] == word + b"\r\n" and not made.expectations


def test_an_unasked_227_opens_nothing_ftp_23() -> None:
    made = talk(stage(), b"NOOP\r\n", PASV_REPLY)
    made.say(SERVER, PASV_REPLY)
    assert not made.expectations and made.reasons("violation") == ["unasked-reply"] * 2


@pytest.mark.parametrize("asked", [b"PASV\r\n", b"STAT\r\n", b"HELP\r\n"])
@pytest.mark.parametrize("code", [b"220", b"214", b"211"])
def test_227_within_a_multi_line_reply_opens_nothing_ftp_24(asked: bytes, code: bytes) -> None:
    made = talk(stage(), asked, code + b"-text\r\n" + PASV_REPLY + b" " + PASV_REPLY + code + b" end\r\n")
    assert not made.expectations and not made.events


def test_a_multi_line_227_counts_by_its_last_line_ftp_24() -> None:
    made = talk(stage(), b"PASV\r\n", b"227-(198,51,100,2,1,1)\r\n226 no\r\n" + PASV_REPLY)
    assert [expected.expect.to for expected in made.expectations.values()] == [at("198.51.100.2:5001")]


def test_227_in_the_banner_opens_nothing_ftp_25() -> None:
    made = Stage(PLUGIN, FtpPolicy(before_login=True))
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, PASV_REPLY)
    assert not made.expectations and made.reasons("violation") == ["unasked-reply"]
    made.say(SERVER, PASV_REPLY)  # the answer to the PASV
    assert opened(made) == 1


def test_lines_of_the_wrong_side_open_nothing_ftp_26() -> None:
    made = talk(stage(), b"PASV\r\n" + b"227 here (10,0,0,5,19,137)\r\n", b"PORT 198,51,100,2,19,137\r\n200 ok\r\n")
    assert not made.expectations and made.reasons("violation") == ["wrong-side", "wrong-side"]


def test_a_declined_port_is_withdrawn_ftp_27() -> None:
    made = talk(stage(), PORT)
    assert [expected.open for expected in made.expectations.values()] == [False]
    talk(made, b"", b"500 no\r\n")
    assert not made.expectations and not made.reserved
    assert made.reasons("expectation-withdrawn") == ["declined"]


@pytest.mark.parametrize(
    "first", [(PORT, b"200 ok\r\n"), (b"PASV\r\n", PASV_REPLY), (b"EPSV\r\n", b"229 (|||5001|)\r\n")]
)
@pytest.mark.parametrize(
    "then", [(PORT_B, b"200 ok\r\n"), (b"PASV\r\n", PASV_REPLY), (b"EPSV\r\n", b"229 (|||5001|)\r\n")]
)
def test_the_newest_wins_and_the_older_is_gone_at_once_ftp_28(
    first: tuple[bytes, bytes], then: tuple[bytes, bytes]
) -> None:
    made = talk(stage(), *first)
    assert list(made.expectations) == [1] and opened(made) == 1
    talk(made, then[0])
    assert 1 not in made.expectations and 1 not in made.reserved
    talk(made, b"", then[1])
    assert list(made.expectations) == [2] and opened(made) == 1


def test_refused_extended_commands_then_the_plain_ones_ftp_29() -> None:
    made = talk(stage(), b"EPRT |1|10.0.0.5|5001|\r\n", b"500 no\r\n", PORT, b"200 ok\r\n")
    assert list(made.expectations) == [2] and opened(made) == 1
    made = talk(stage(), b"EPSV\r\n", b"502 no\r\n", b"PASV\r\n", PASV_REPLY)
    assert list(made.expectations) == [1] and opened(made) == 1


def test_epsv_all_names_nothing_ftp_30() -> None:
    made = talk(stage(), b"EPSV ALL\r\n", b"200 ok\r\n", PORT, b"501 no\r\n")
    assert not made.expectations
    talk(made, b"EPSV\r\n", b"229 (|||5001|)\r\n")
    assert opened(made) == 1
    made = talk(stage(), b"EPSV ALL\r\n", b"229 (|||5001|)\r\n")
    assert not made.expectations


def test_pipelined_commands_are_all_read_ftp_33() -> None:
    made = talk(stage(), b"USER a\r\nPASS b\r\n" + PORT + b"LIST\r\n" + PORT_B)
    assert made.heard[SERVER].count(b"203,0,113,1,195,8") == 2 and b"10,0,0,5" not in made.heard[SERVER]
    talk(made, b"", b"331 a\r\n230 b\r\n200 c\r\n")
    assert opened(made) == 1 and len(made.expectations) == 2  # LIST still needs the first
    talk(made, b"", b"150 d\r\n226 e\r\n200 f\r\n")
    assert list(made.expectations) == [2] and opened(made) == 1


def test_of_two_ports_without_a_transfer_between_the_first_is_dead_ftp_33() -> None:
    made = talk(stage(), PORT + PORT_B)
    assert list(made.expectations) == [2]
    talk(made, b"", b"200 a\r\n")
    assert opened(made) == 0
    talk(made, b"", b"200 b\r\n")
    assert opened(made) == 1


def test_a_pasv_behind_a_transfer_waits_for_its_own_answer_ftp_33() -> None:
    made = talk(stage(), b"PASV\r\nRETR f\r\nPASV\r\n", PASV_REPLY + b"150 a\r\n226 b\r\n" + PASV_REPLY)
    assert len(made.expectations) == 1 and not made.reasons("violation")


def test_preliminary_and_stray_replies_keep_the_pairing() -> None:
    made = talk(stage(), b"RETR f\r\n" + PORT, b"150 a\r\n", b"", b"226 b\r\n", b"", b"226 stray\r\n")
    assert opened(made) == 0
    talk(made, b"", b"200 c\r\n")
    assert opened(made) == 1


def test_after_234_nothing_is_read_and_a_hello_in_the_same_segment_waited_ftp_35() -> None:
    hello = b"\x16\x03\x01\x00\x05\nPORT 10,0,0,5,19,137\r\n"
    made = stage()
    made.client << b"AUTH TLS\r\n" + hello >> Pass(10)
    made.server << b"234 go\r\n" >> Pass(8) >> Bypass("tls")
    made.done()
    assert made.heard[SERVER] == b"AUTH TLS\r\n" + hello


def test_what_was_expected_ends_where_reading_ends_ftp_35() -> None:
    made = talk(stage(), PORT, b"200 ok\r\n", b"AUTH TLS\r\n", b"234 go\r\n")
    assert not made.expectations and made.reasons("expectation-withdrawn") == ["tls"]


@pytest.mark.parametrize("answer", [b"200 ok\0\r\n", b"200 o\rk\r\n", b"200 " + b"k" * 5000 + b"\r\n"])
def test_an_agreement_that_can_not_be_read_is_none_ftp_18_19(answer: bytes) -> None:
    made = talk(stage(), PORT, answer)
    assert not made.expectations and made.heard[CLIENT] == answer


@pytest.mark.parametrize("answer", [b"534 no\r\n", b"431 later\r\n", b"502 what\r\n", b"334 go on\r\n"])
def test_after_a_refused_auth_reading_goes_on_ftp_35(answer: bytes) -> None:
    made = talk(stage(), b"AUTH TLS\r\n" + PORT, answer)
    assert made.heard[SERVER] == b"AUTH TLS\r\nPORT 203,0,113,1,195,81\r\n"


def test_rein_goes_back_before_login_and_ends_what_was_agreed_ftp_38() -> None:
    made = talk(stage(), PORT, b"200 ok\r\n", b"REIN\r\n", b"220 again\r\n")
    assert phase(made) is Phase.LOGIN and not made.expectations
    assert made.reasons("expectation-withdrawn") == ["reinitialised"]


def test_quit_leaves_the_open_expectation_to_the_data_connection_ftp_38() -> None:
    made = talk(stage(), PORT, b"200 ok\r\n", b"RETR f\r\nQUIT\r\n", b"150 a\r\n226 b\r\n221 bye\r\n")
    assert phase(made) is Phase.CLOSING and opened(made) == 1


@pytest.mark.parametrize("named", [b"10,0,0,5", b"203,0,113,1"])
def test_a_server_inside_may_know_its_public_address_ftp_42(named: bytes) -> None:
    made = stage(SERVER)
    made.client << b"PASV\r\n" >> Pass(6)
    actions = made.say(SERVER, b"227 (" + named + b",19,137)\r\n")
    assert [action for action in actions if isinstance(action, Reserve)] == [Reserve(1, at("10.0.0.5:5001"))]
    assert made.heard[CLIENT].endswith(b"227 (203,0,113,1,195,81)\r\n")


def test_many_transfers_leave_nothing_behind_ftp_44() -> None:
    made = stage(ports=None)
    for _ in range(500):
        talk(made, PORT, b"200 ok\r\n", b"RETR f\r\n", b"150 a\r\n226 b\r\n")
        assert len(made.expectations) == 1 and len(made.reserved) == 1 and unanswered(made) == 0
        made.heard = {CLIENT: b"", SERVER: b""}


@pytest.mark.parametrize("unit", [PORT, PORT + b"LIST\r\n", b"PORT 1\r\n", b"PASV\r\n", b"PORT 1\r\nNOOP\r\n"])
def test_a_flood_without_answers_is_bounded_ftp_71(unit: bytes) -> None:
    made = stage(ports=None)
    for _ in range(50):
        made.say(CLIENT, unit * 4)
    assert len(made.expectations) <= Waiting.NAMING_CAP and unanswered(made) <= Waiting.CAP
    if unit == PORT:
        assert len(made.expectations) == 1
    assert made.undecided[CLIENT]  # the rest waits for the server, who then lets it go on
    answers = 0
    while made.undecided[CLIENT] and answers < 1000:
        made.say(SERVER, b"500 no\r\n")
        answers += 1
    assert not made.undecided[CLIENT]


def test_ordinary_commands_never_wait_however_many() -> None:
    made = talk(stage(), b"NOOP\r\n" * 10_000)
    assert not made.undecided[CLIENT] and unanswered(made) == 1


def test_no_free_port_is_answered_at_once_and_the_dialogue_goes_on_ftp_72() -> None:
    made = stage(ports=range(0))
    made.say(CLIENT, PORT + b"NOOP\r\n")
    assert made.heard[SERVER] == b"NOOP\r\n" and made.heard[CLIENT].startswith(b"425 algate: ")
    assert made.reasons("command-refused") == ["no-port-free"]


def test_many_ports_without_a_free_one_ask_once_a_feed_ftp_72() -> None:
    made = stage(ports=range(0))
    actions = made.say(CLIENT, PORT * 40)
    assert sum(isinstance(action, Reserve) for action in actions) == 1
    assert sum(isinstance(action, Refuse) for action in actions) == 40
    made.ports = [50001]
    assert any(isinstance(action, Replace) for action in made.say(CLIENT, PORT))  # the next feed asks anew
    made = talk(stage(SERVER, ports=range(0)), b"PASV\r\n" * 4)
    actions = made.say(SERVER, b"227 (10,0,0,5,19,137)\r\n" * 4)
    assert sum(isinstance(action, Reserve) for action in actions) == 1
    assert made.heard[CLIENT].count(b"425 ") == 4 and b"10,0,0,5" not in made.heard[CLIENT]


def test_no_free_port_waits_its_turn_behind_unanswered_commands_ftp_72() -> None:
    made = stage(ports=range(0))
    made.say(CLIENT, b"NOOP\r\n" + PORT)
    assert made.heard[CLIENT] == b"" and made.undecided[CLIENT] == PORT
    made.say(SERVER, b"200 noop\r\n")
    assert made.heard[CLIENT].startswith(b"200 noop\r\n425 ") and not made.undecided[CLIENT]


def test_no_free_port_for_a_server_inside_becomes_its_reply_ftp_72() -> None:
    made = talk(stage(SERVER, ports=range(0)), b"PASV\r\n", b"227 (10,0,0,5,19,137)\r\n")
    assert made.heard[CLIENT].startswith(b"425 algate: ") and b"10,0,0,5" not in made.heard[CLIENT]
    assert unanswered(made) == 0


@pytest.mark.parametrize(
    "greeting",
    [
        b"\x16\x03\x03\x00\x7a",
        b"\xff\xfd\x18",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 400 Bad\r\n",
        b"a\r\nb\r\nc\r\nd\r\n",
        b"R\0x",
    ],
)
def test_a_server_that_speaks_something_else_is_left_alone_ftp_81(greeting: bytes) -> None:
    made = Stage(PLUGIN, FtpPolicy())
    made.say(CLIENT, b"\x16\x03\x01\x00\x01\x02")
    assert made.heard[SERVER] == b"\x16\x03\x01\x00\x01\x02"  # nobody waits for a line end in TLS
    made.say(SERVER, greeting)
    assert made.bypassed and made.heard[CLIENT] == greeting


@pytest.mark.parametrize("first", [b"\x16\x03\x01\nrest", b"\x80\x2e", b"\0"])
def test_a_client_that_speaks_binary_first_is_left_alone_ftp_81(first: bytes) -> None:
    made = Stage(PLUGIN, FtpPolicy())
    made.say(CLIENT, first)
    assert made.bypassed and made.heard[SERVER] == first


@pytest.mark.parametrize("first", [b"USER x\r\n\x16", b"\xff\xf4\xff\xf2ABOR\r\n", b"\r\n"])
def test_an_early_client_is_no_foreigner_ftp_81(first: bytes) -> None:
    made = Stage(PLUGIN, FtpPolicy())
    made.say(CLIENT, first)
    assert not made.bypassed


def test_odd_text_before_the_greeting_is_borne_ftp_81() -> None:
    made = Stage(PLUGIN, FtpPolicy())
    made.say(SERVER, b"welcome\r\n\r\n220 ready\r\n")
    assert not made.bypassed and phase(made) is Phase.LOGIN


def test_a_browser_led_to_port_21_gets_no_connection() -> None:
    """NAT slipstreaming: the body of a POST holds a whole dialogue, and the server plays its part."""
    made = Stage(PLUGIN, FtpPolicy())
    made.say(SERVER, b"220 hi\r\n")
    made.say(CLIENT, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    made.say(SERVER, b"500 a\r\n500 b\r\n")
    made.say(CLIENT, PORT)
    assert not made.expectations and not made.reserved and b"10,0,0,5" not in made.heard[SERVER]
    assert made.heard[CLIENT].endswith(b"500 algate: this session does not speak FTP, no data connection for it.\r\n")
    talk(made, b"PASV\r\n", PASV_REPLY)
    assert not made.expectations


def test_the_unfinished_line_waits_and_passes_at_the_end_ftp_32() -> None:
    made = stage()
    for byte in PORT[:-1]:
        assert made.say(CLIENT, bytes((byte,))) == []
    assert any(isinstance(action, Replace) for action in made.say(CLIENT, PORT[-1:]))
    made.say(CLIENT, b"PORT 10,0,0,5", end=True)
    assert made.undecided[CLIENT] == b"" and made.heard[SERVER].endswith(b"\r\nPORT 10,0,0,5")


def test_nothing_waits_before_a_fin() -> None:
    """At a FIN the engine lets undecided bytes pass: the private address must not be among them."""
    made = stage(ports=None)
    made.say(CLIENT, (PORT + b"LIST\r\n") * 100, end=True)
    assert made.undecided[CLIENT] == b"" and b"10,0,0,5" not in made.heard[SERVER]
    made = stage()
    made.say(CLIENT, b"AUTH TLS\r\n" + PORT, end=True)
    assert made.undecided[CLIENT] == b"" and b"10,0,0,5" not in made.heard[SERVER]


def test_open_is_said_before_the_reply_that_decides_leaves_ftp_66() -> None:
    made = talk(stage(), PORT)
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.done()


def phase(made: Stage) -> Phase:
    assert isinstance(made.conversation, FtpConversation)
    return made.conversation.phase


def unanswered(made: Stage) -> int:
    assert isinstance(made.conversation, FtpConversation)
    return made.conversation.unanswered
