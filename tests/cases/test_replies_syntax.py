"""FTP-7 to FTP-11: what a server's 227 and 229 may look like."""

from __future__ import annotations

import pytest

from tests.cases.bed import Bed
from tests.cases.case import case
from tests.cases.dialogue import INSIDE, dialogue

WORDINGS = {
    "bare": (b"227 Entering Passive Mode ", b"\r\n"),
    "equals": (b"227 Entering Passive Mode =", b"\r\n"),
    "brackets": (b"227 Entering Passive Mode [", b"]\r\n"),
    "dot": (b"227 Entering Passive Mode (", b").\r\n"),
    "other words": (b"227 ok, connect to <", b"> now\r\n"),
    "none": (b"227 ", b"\r\n"),
}


@pytest.mark.parametrize("wording", WORDINGS)
@case(7, "a 227 without parentheses, with =, [ ], a trailing dot, other words: only its six numbers are rewritten")
def test_ftp_07_227_without_parentheses(bed: Bed, wording: str) -> None:
    before, after = WORDINGS[wording]
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        d.server.say(before + d.six(port) + after)
        public = d.told(d.client, before, after)
        d.comes_in(public, port)
        d.alive()
        d.nothing_private()


@pytest.mark.parametrize("inside", ["server", "client"])
@pytest.mark.parametrize("line", [b"227 Logout.\r\n", b"227 \r\n", b"227\r\n", b"227 see you at 10, or 11\r\n"])
@case(8, "a 227 without numbers, as the answer to QUIT or to PASV, passes at once and unchanged")
def test_ftp_08_227_without_numbers(bed: Bed, line: bytes, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"PASV\r\n", line)
        d.alive()
        d.ask(b"QUIT\r\n", line)
        d.server.socket.close()
        assert d.client.closed() == "fin"


@pytest.mark.parametrize("before", [b"227 Mode 2 (", b"227 1,2 or 3 (", b"227 Passive mode 227 at 7.5 ("])
@case(9, "digits before the address in a 227: the group of six is taken, not the first digits")
def test_ftp_09_digits_before_the_address(bed: Bed, before: bytes) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        d.server.say(before + d.six(port) + b")\r\n")
        public = d.told(d.client, before, b")\r\n")
        d.comes_in(public, port)
        d.alive()


@pytest.mark.parametrize("inside", ["server", "client"])
@case(10, "a 227 with 1216,256,2,127,127,127: passes unchanged, nothing opens")
def test_ftp_10_227_with_impossible_numbers(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        d.ask(b"PASV\r\n", b"227 Entering Passive Mode (1216,256,2,127,127,127)\r\n")
        d.told_reason("expectation-refused", "bad-number")
        d.nothing_open(127 * 256 + 127)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"|||1000000|", "bad-number"),
        (b"|||0|", "port-zero"),
        (b"|1|%b|%d|", "bad-syntax"),
        (b"||%b|%d|", "bad-syntax"),
    ],
)
@case(11, "a 229 with a port of 1000000 or with address fields filled in opens nothing; other delimiters are taken")
def test_ftp_11_229_that_names_nothing(bed: Bed, text: bytes, reason: str) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        said = text % (INSIDE.encode(), port) if b"%b" in text else text
        d.ask(b"EPSV\r\n", b"229 Extended Passive Mode (" + said + b")\r\n")
        d.told_reason("expectation-refused", reason)
        d.nothing_open(port)


@pytest.mark.parametrize("delimiter", [b"!", b"#", b"~", b"A"])
@case(11, "a 229 with a port of 1000000 or with address fields filled in opens nothing; other delimiters are taken")
def test_ftp_11_229_with_other_delimiters(bed: Bed, delimiter: bytes) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.comes_in(d.epsv(port, delimiter), port)
        d.alive()
