"""Field reports on pairing: servers that omit, double and delay replies, and replies in other forms.

To add a row: `@field(N, "what is looked for")` on `test_rNN_words`, and a fault in faults/field.py that makes it fail.
"""

from __future__ import annotations

import pytest

from tests.cases.bed import STRANGER, Bed
from tests.cases.case import NO_OPTION, field
from tests.cases.dialogue import Dialogue, dialogue
from tests.cases.ends import six

BOTH = pytest.mark.parametrize("inside", ["client", "server"])


def server_ip(d: Dialogue) -> str:
    """The server's own address, as it knows it."""
    return d.outer_ip if d.client_inside else d.inner_ip


def opens(d: Dialogue, before: bytes, text: bytes, after: bytes, port: int) -> None:
    """The server says 227: if it is inside, the numbers are rewritten; in both cases the client then reaches `port`."""
    if d.client_inside:
        d.reply(before + text + after)
        d.goes_out(d.outer_ip, port)
    else:
        d.server.say(before + text + after)
        d.comes_in(d.told(d.client, before, after), port)


def passive(d: Dialogue, asked: bytes = b"PASV\r\n", strays: bytes = b"") -> None:
    """PASV and its 227, with `strays` before it; then a data connection."""
    port = d.new_port()
    d.command(asked)
    if strays:
        d.reply(strays)
    opens(d, b"227 Entering Passive Mode (", six(server_ip(d), port), b").\r\n", port)


def active(d: Dialogue, answer: bytes = b"200 PORT done\r\n", transfer: bytes = b"150 here\r\n") -> None:
    """PORT and its answer, LIST, a data connection by the server."""
    port = d.new_port()
    public = name(d, port)
    d.reply(answer)
    d.command(b"LIST\r\n")
    d.reply(transfer)
    reach(d, public, port)
    d.reply(b"226 sent\r\n")


def name(d: Dialogue, port: int) -> int:
    """The client's PORT; the port that the server was told."""
    if d.client_inside:
        return d.port(port, agree=False)
    d.command(b"PORT " + six(d.outer_ip, port) + b"\r\n")
    return port


def reach(d: Dialogue, public: int, port: int) -> None:
    """The server reaches the port that the client named."""
    if d.client_inside:
        d.comes_in(public, port)
    else:
        d.goes_out(d.outer_ip, port)


def shut(d: Dialogue, public: int, port: int) -> None:
    """Nobody reaches the port that the client named."""
    if d.client_inside:
        d.shut_in(public, port)
    else:
        d.shut_out(d.outer_ip, port)


R1 = "a line of another code with a blank ends a multi-line reply, and all that follows pairs"


@BOTH
@field(1, R1)
def test_r01_ended_by_150(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.command(b"STOR x\r\n")
        d.reply(b"553-\r\n553- no\r\n150 go\r\n226 ok\r\n")
        for _ in range(10):
            passive(d)
            d.ask(b"LIST\r\n", b"150 here\r\n226 sent\r\n")
        d.nothing_private() if d.client_inside else None


@BOTH
@field(1, R1)
def test_r01_ended_by_250_and_200(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"CWD x\r\n", b"550-\r\n550- no\r\n250 changed\r\n")
        passive(d)
        active(d, b"500-\r\n500- maybe\r\n200 PORT done\r\n")
        passive(d)


R2 = "a NOOP or ABOR that is never answered during a transfer shifts nothing; a refused PORT stays shut"


@BOTH
@pytest.mark.parametrize("word", [b"NOOP\r\n", b"ABOR\r\n", b"STAT\r\n"])
@field(2, R2)
def test_r02_passive(bed: Bed, inside: str, word: bytes) -> None:
    with dialogue(bed, inside) as d:
        for _ in range(3):
            passive(d)
            d.ask(b"RETR f\r\n", b"150 here\r\n")
            d.command(word)
            d.reply(b"226 sent\r\n")
        passive(d)
        d.ask(b"LIST\r\n", b"425 no\r\n")
        passive(d)


@BOTH
@field(2, R2)
def test_r02_active(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        for _ in range(3):
            active(d)
            d.ask(b"RETR f\r\n", b"150 here\r\n")
            d.command(b"NOOP\r\n")
            d.reply(b"226 sent\r\n")
        active(d)


@BOTH
@field(2, R2, kernel="the kernel's helper opens at the PORT, whatever the server says")
def test_r02_refused(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        for answers in (b"500 no PORT\r\n", b"200 NOOP, late\r\n500 no PORT\r\n"):
            d.ask(b"RETR f\r\n", b"150 here\r\n")
            d.command(b"NOOP\r\n")
            d.reply(b"226 sent\r\n")
            port = d.new_port()
            public = name(d, port)
            d.reply(answers)
            shut(d, public, port)
            d.ask(b"LIST\r\n", b"150 here\r\n226 sent\r\n")


@BOTH
@field(3, "EPSV answered by a 227 is treated as the 227 it is")
def test_r03_epsv_answered_by_227(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        passive(d, b"EPSV\r\n")
        passive(d)


@BOTH
@field(4, "PASV answered by a 229: its port is translated and opened")
def test_r04_pasv_answered_by_229(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        for _ in range(2):
            port = d.new_port()
            if d.client_inside:
                d.ask(b"PASV\r\n", b"229 Entering (|||%d|)\r\n" % port)
                d.goes_out(d.outer_ip, port)
            else:
                d.command(b"PASV\r\n")
                d.server.say(b"229 Entering (|||%d|)\r\n" % port)
                d.comes_in(d.told_extended(d.client, b"229 Entering (|||", b"|)\r\n"), port)


R5 = "a reply said twice is swallowed: what can't answer PASV or PORT is stray"


@BOTH
@field(5, R5)
def test_r05_said_twice(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"CWD b\r\n", b"250 ok\r\n")
        passive(d, strays=b"250 changed\r\n")
        d.ask(b"CWD c\r\n", b"250 ok\r\n")
        active(d, b"250 changed\r\n200 PORT done\r\n")
        d.ask(b"PASS again\r\n", b"230 in\r\n")
        passive(d, strays=b"230 in\r\n")
        passive(d, b"EPSV\r\n", strays=b"226 sent\r\n")


@BOTH
@field(5, R5, kernel="the kernel's helper opens at the PORT, whatever the server says")
def test_r05_refused(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        for strays in (b"250 changed\r\n", b"226 sent\r\n", b"200 ok\r\n"):
            d.ask(b"TYPE I\r\n", b"200 ok\r\n")
            port = d.new_port()
            public = name(d, port)
            d.reply(strays + b"500 no PORT\r\n")
            shut(d, public, port)


@BOTH
@field(9, "0.0.0.0 in a 227 is the address that the client reached the server at")
def test_r09_any_address(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        opens(d, b"227 Entering Passive Mode (", six("0.0.0.0", port), b").\r\n", port)
        d.alive()


@BOTH
@pytest.mark.parametrize("between", [b", ", b" , ", b",\t"])
@field(11, "blanks between the numbers of a 227: they are read and rewritten, the port opens")
def test_r11_blanks(bed: Bed, inside: str, between: bytes) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        opens(d, b"227 Entering (", six(server_ip(d), port).replace(b",", between), b")\r\n", port)
        d.alive()


@BOTH
@field(12, "lines without a code before 220, then a log-in, PORT and PASV")
def test_r12_legal_text(bed: Bed, inside: str) -> None:
    with Dialogue(bed, inside) as d:
        d.reply(b"".join(b"Paragraph %d: be careful.\r\n" % number for number in range(1, 21)) + b"\r\n")
        d.login()
        active(d)
        passive(d)


@BOTH
@pytest.mark.parametrize("policy", ["default", "deny"])
@field(15, "P@SW is a PASV, also where a policy reads every command")
def test_r15_p_at_sw(bed: Bed, inside: str, policy: str) -> None:
    with dialogue(bed, inside, policy) as d:
        passive(d, b"P@SW\r\n")
        passive(d, b"p@sw\r\n")


R19 = "after a line that servers read differently, PORT works once replies pair clearly again"


@pytest.mark.parametrize("odd", [b"NOOP a\rb\r\n", b" \r\n", b"NOOP a\r\0b\r\n"], ids=["CR", "blank", "CR NUL"])
@BOTH
@field(19, R19)
def test_r19_place_found_again(bed: Bed, inside: str, odd: bytes) -> None:
    with dialogue(bed, inside) as d:
        d.ask(odd, b"200 what?\r\n")
        active(d)
        active(d)
        d.ask(odd, b"200 what?\r\n")
        passive(d)
        active(d)


@BOTH
@field(19, R19, kernel="the kernel's helper opens at the PORT, whatever the server says")
def test_r19_an_answer_too_many(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"NOOP\rNOOP\r\n", b"200 one\r\n")
        port = d.new_port()
        public = name(d, port)
        d.reply(b"200 two\r\n500 no PORT\r\n")
        shut(d, public, port)
        d.ask(b"LIST\r\n", b"150 here\r\n226 sent\r\n")
        active(d)


@BOTH
@field(20, "a NUL in the middle of a session bars nothing: only one that begins so is no FTP")
def test_r20_nul_later(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"STOR a\0b\r\n", b"553 no\r\n")
        active(d)
        passive(d)


R21 = "a PORT behind an HTTP request to a silent server arrives within 2 s or ends the session; it opens nothing"


@pytest.mark.parametrize("form", [b"PORT %b\r\n", b"EPRT |1|%b|\r\n"])
@field(21, R21)
def test_r21_silent_server(bed: Bed, form: bytes) -> None:
    with Dialogue(bed) as d:
        port = d.new_port()
        line = form % (d.six(port) if b"PORT" in form else b"%b|%d" % (d.inner_ip.encode(), port))
        d.client.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + line)
        d.server.patience = 2.0
        d.server.hear(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + line)
        d.reply(b"200 fine\r\n" * 4)
        d.shut_in(port, port)


@field(21, R21)
def test_r21_server_falls_silent(bed: Bed) -> None:
    with Dialogue(bed) as d:
        port = d.new_port()
        d.reply(b"220 ready\r\n")
        said = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPORT " + d.six(port) + b"\r\n"
        d.client.say(said)
        d.server.patience = 2.0
        d.server.hear(said)
        d.shut_in(port, port)


@field(21, R21, kernel=NO_OPTION)
def test_r21_silent_server_under_a_policy(bed: Bed) -> None:
    with Dialogue(bed, policy="deny") as d:
        port = d.new_port()
        d.client.say(b"POST / HTTP/1.1\r\n\r\nPORT " + d.six(port) + b"\r\n")
        assert d.client.closed() == "reset"
        d.shut_in(port, port)


@field(22, "a 229 with a port below min_port: the client is told at once")
def test_r22_low_port(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        d.command(b"EPSV\r\n")
        d.server.say(b"229 Entering Extended Passive Mode (|||1|)\r\n")
        assert d.client.line().startswith(b"425 algate: ")
        d.told_reason("expectation-refused", "port-too-low")
        d.nothing_open(1)
        passive(d)


R25 = "221 answers QUIT: a PORT that was never answered opens nothing"


@BOTH
@pytest.mark.parametrize("before", [b"", b"200 NOOP\r\n"], ids=["alone", "behind a NOOP"])
@field(25, R25)
def test_r25_quit(bed: Bed, inside: str, before: bytes) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        if before:
            d.command(b"NOOP\r\n")
        public = name(d, port)
        d.command(b"QUIT\r\n")
        d.reply(before + b"221 bye\r\n")
        shut(d, public, port)
        assert not bed.algate or d.expectations() == []
        if d.client_inside:
            d.shut_in(public, port, STRANGER)
