"""FTP-23 to FTP-31: which lines of one side count as the answer to which lines of the other."""

from __future__ import annotations

import pytest

from tests.cases.bed import Bed
from tests.cases.case import case
from tests.cases.dialogue import Dialogue, dialogue
from tests.cases.ends import six

UNASKED = "a 227 or 229 that nobody asked for opens nothing, whichever side is inside"


def announced(d: Dialogue, port: int) -> bytes:
    """The server's 227 with its own address."""
    ip = d.outer_ip if d.client_inside else d.inner_ip
    return b"227 Entering Passive Mode (" + six(ip, port) + b").\r\n"


def shut(d: Dialogue, port: int) -> None:
    """The announced port can't be reached through the gateway."""
    if d.client_inside:
        d.shut_out(d.outer_ip, port)
    else:
        d.shut_in(port, port)
    d.nothing_open()


@pytest.mark.parametrize("inside", ["client", "server"])
@pytest.mark.parametrize("code", [227, 229])
@case(23, UNASKED)
def test_ftp_23_unasked_replies(bed: Bed, inside: str, code: int) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        line = announced(d, port) if code == 227 else b"229 Extended Passive Mode (|||%d|)\r\n" % port
        d.ask(b"NOOP\r\n", line)
        d.told_reason("violation", "unasked-reply")
        shut(d, port)
        d.reply(line)  # and once more with no command waiting at all
        shut(d, port)


@pytest.mark.parametrize("inside", ["client", "server"])
@pytest.mark.parametrize("code", [b"214", b"211", b"220", b"250"])
@case(24, "a 227 within a multi-line reply counts for nothing; of PASV's own answer the last line counts alone")
def test_ftp_24_within_other_replies(bed: Bed, inside: str, code: bytes) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        d.ask(b"STAT\r\n", code + b"-text\r\n" + announced(d, port) + b" 227\r\n" + code + b" end\r\n")
        shut(d, port)


@case(24, "a 227 within a multi-line reply counts for nothing; of PASV's own answer the last line counts alone")
def test_ftp_24_within_its_own_reply(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port, other = d.new_port(), d.new_port()
        d.command(b"PASV\r\n")
        before = b"227-first (" + d.six(other) + b")\r\n 227 then (" + d.six(other) + b")\r\n220 no\r\n"
        d.server.say(before + announced(d, port))
        d.client.hear(before)
        public = d.told(d.client, b"227 Entering Passive Mode (", b").\r\n")
        d.shut_in(other, other)
        d.comes_in(public, port)
        d.alive()


@pytest.mark.parametrize("inside", ["client", "server"])
@pytest.mark.parametrize("early", [b"", b"PASV\r\n"], ids=["alone", "asked too early"])
@case(25, "a 227 as the banner, or in it, opens nothing, also for a PASV said before the greeting")
def test_ftp_25_banner(bed: Bed, inside: str, early: bytes) -> None:
    for many in (False, True):
        with Dialogue(bed, inside) as d:
            port = d.new_port()
            if early:
                d.command(early)
            line = announced(d, port)
            d.reply(b"220-welcome\r\n" + line + b"220 ready\r\n" if many else line)
            if early:
                d.reply(b"530 log in first\r\n")
            shut(d, port)


@pytest.mark.parametrize("inside", ["client", "server"])
@case(26, "a 227 said by the client and a PORT said by the server open nothing and are told as violations")
def test_ftp_26_wrong_side(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        own = d.inner_ip if d.client_inside else d.outer_ip
        d.command(b"PASV\r\n")
        d.command(b"227 Entering Passive Mode (" + six(own, port) + b").\r\n")
        d.told_reason("violation", "wrong-side")
        d.reply(b"500 no\r\n500 what?\r\n")
        (d.shut_in if d.client_inside else lambda a, b: d.shut_out(d.outer_ip, a))(port, port)
        d.ask(b"NOOP\r\n", b"PORT " + six(d.outer_ip if d.client_inside else d.inner_ip, port) + b"\r\n200 ok\r\n")
        shut(d, port)
        if bed.algate:
            bed.until(lambda: len([e for e in d.told_events("violation") if e["reason"] == "wrong-side"]) == 2)


@pytest.mark.parametrize("answer", [b"500 no PORT\r\n", b"421 going\r\n", b"530 log in\r\n", b"331 and?\r\n"])
@case(27, "a PORT that the server declines opens nothing; until its 2xx no stranger gets in; the port is given back")
def test_ftp_27_declined(bed: Bed, answer: bytes) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        public = d.port(port, agree=False)
        assert not bed.algate or [row["state"] for row in d.expectations()] == ["pending"]
        d.shut_in(public, port, "203.0.113.40")
        d.reply(answer)
        d.told_reason("expectation-withdrawn", "declined")
        d.shut_in(public, port)
        assert not bed.algate or d.expectations() == []
        again = d.port(port)
        assert bed.algate or again == public, "the port was not given back"  # algate's rests: see test_field_ports
        d.comes_in(again, port)


@case(28, "two PASV in a row, or PASV then PORT: the newest counts alone, nothing leaks")
def test_ftp_28_two_pasv(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        first, second = d.new_port(), d.new_port()
        one, two = d.pasv(first), d.pasv(second)
        assert not bed.algate or len(d.expectations()) == 1
        d.shut_in(one, first)
        d.comes_in(two, second)
        d.nothing_open()


@case(28, "two PASV in a row, or PASV then PORT: the newest counts alone, nothing leaks")
def test_ftp_28_pasv_then_port(bed: Bed) -> None:
    with dialogue(bed) as d:
        first, second, third = d.new_port(), d.new_port(), d.new_port()
        d.ask(b"PASV\r\n", announced(d, first))
        public = d.port(second)
        assert not bed.algate or len(d.expectations()) == 1
        d.shut_out(d.outer_ip, first)
        d.comes_in(public, second)
        d.port(third)
        d.ask(b"PASV\r\n", announced(d, first))
        d.goes_out(d.outer_ip, first)
        d.shut_in(third, third)
        d.nothing_open()


@case(29, "EPRT refused then PORT, EPSV refused then PASV, EPSV unused then PASV: each step works and cleans up")
def test_ftp_29_fallback_of_the_client(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        public = d.eprt(port, agree=False)
        d.reply(b"500 EPRT not understood\r\n")
        d.shut_in(public, port)
        d.comes_in(d.port(port), port)
        d.nothing_open(port)


@case(29, "EPRT refused then PORT, EPSV refused then PASV, EPSV unused then PASV: each step works and cleans up")
def test_ftp_29_fallback_of_the_server(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        first, second = d.new_port(), d.new_port()
        d.ask(b"EPSV\r\n", b"500 EPSV not understood\r\n")
        d.comes_in(d.pasv(first), first)
        unused = d.epsv(second)
        assert d.inward(unused, 1, seconds=0.3) is None  # nobody listens where it leads
        d.alive()
        third = d.new_port()
        d.comes_in(d.pasv(third), third)
        d.nothing_open(second)


@case(30, "after EPSV ALL the server refuses PORT and PASV: nothing opens, and EPSV goes on working")
def test_ftp_30_epsv_all(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.ask(b"EPSV ALL\r\n", b"200 EPSV ALL ok\r\n")
        d.ask(b"PASV\r\n", b"503 only EPSV\r\n")
        d.ask(b"PORT " + six(d.outer_ip, port) + b"\r\n", b"503 only EPSV\r\n")
        d.shut_out(d.outer_ip, port)
        d.nothing_open(port)
        d.comes_in(d.epsv(port), port)


@case(30, "after EPSV ALL the server refuses PORT and PASV: nothing opens, and EPSV goes on working")
def test_ftp_30_epsv_all_is_no_epsv(bed: Bed) -> None:
    """A 229 that answers EPSV ALL announces nothing."""
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.ask(b"EPSV ALL\r\n", b"229 Extended Passive Mode (|||%d|)\r\n" % port)
        d.nothing_open(port)


@case(31, "EPSV 1 and EPSV 2; behind a forward the port in the 229 is the public one, also where they differ")
def test_ftp_31_epsv_behind_a_forward(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.comes_in(d.epsv(port, command=b"EPSV 1\r\n"), port)
        d.ask(b"EPSV 2\r\n", b"522 use (1)\r\n")
        d.nothing_open(port)
        taken = d.new_port()
        with bed.taken(taken):
            public = d.epsv(taken)
            # The kernel may give one public port to two hosts, told apart by their peers.
            assert public != taken or not bed.algate, "that public port belongs to another host"
            d.comes_in(public, taken)
            d.comes_in(d.pasv(taken), taken)
        d.alive()
