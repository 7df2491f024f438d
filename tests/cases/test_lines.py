"""FTP-15 to FTP-22: where a line ends, what in it isn't text, and what only looks like a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from tests.cases.bed import Bed
from tests.cases.case import NO_OPTION, case
from tests.cases.dialogue import dialogue
from tests.cases.ends import six

LINE_ENDS = "a bare LF ends a line; a bare CR and CR NUL don't, and a PORT behind one opens nothing"


@case(15, LINE_ENDS)
def test_ftp_15_bare_lf(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.client.say(b"NOOP\nPORT " + d.six(port) + b"\n")
        d.server.hear(b"NOOP\n")
        public = d.told(d.server, b"PORT ", b"\n")
        d.reply(b"200 NOOP\n200 PORT\n")
        d.comes_in(public, port)
        d.alive()
        d.nothing_private()


@pytest.mark.parametrize("end", [b"\r", b"\r\0"], ids=["CR", "CR NUL"])
@case(15, LINE_ENDS)
def test_ftp_15_bare_cr(bed: Bed, end: bytes) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.ask(b"NOOP" + end + b"PORT " + d.six(port) + b"\r\n", b"200 ok\r\n")
        d.nothing_open(port)
        d.ask(b"PORT " + d.six(port) + end + b"\r\n", b"200 ok\r\n")
        d.nothing_open(port)


@case(15, LINE_ENDS)
def test_ftp_15_replies(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        d.server.say(b"227 mode (" + d.six(port) + b")\n")
        d.comes_in(d.told(d.client, b"227 mode (", b")\n"), port)
        port = d.new_port()
        d.ask(b"PASV\r\n", b"227 no\r227 mode (" + d.six(port) + b")\r\n")
        d.nothing_open(port)


@case(15, LINE_ENDS, kernel=NO_OPTION)
def test_ftp_15_strict_option(bed: Bed) -> None:
    """strict_lines: a command that doesn't end with CR LF opens nothing."""
    with dialogue(bed, policy="strict-lines") as d:
        port = d.new_port()
        d.ask(b"PORT " + d.six(port) + b"\n", b"200 ok\r\n")
        d.told_reason("violation", "bare-lf")
        d.nothing_open(port)
        d.comes_in(d.port(port), port)


TELNET = {
    "IP DM": (b"\xff\xf4\xff\xf2PORT ", b"\r\n"),
    "WILL": (b"\xff\xfb\x01PORT ", b"\r\n"),
    "in the verb": (b"PO\xff\xf1RT ", b"\r\n"),
    "WONT LF": (b"\xff\xfc\x18PO\xff\xf1RT  ", b"\xff\xf1\r\n"),
}


@pytest.mark.parametrize("where", TELNET)
@case(16, "Telnet commands before and inside a command are skipped in reading and kept in the bytes")
def test_ftp_16_telnet_commands(bed: Bed, where: str) -> None:
    before, after = TELNET[where]
    with dialogue(bed) as d:
        port = d.new_port()
        d.client.say(before + d.six(port) + after)
        public = d.told(d.server, before, after)
        d.reply(b"200 ok\r\n")
        d.comes_in(public, port)
        d.alive()
        d.nothing_private()


@pytest.mark.parametrize("name", [b"caf\xff\xff", b"\xc3\xa9t\xc3\xa9", b"227 Entering (%b)", b"x\xff\xff227 (%b)"])
@case(17, "a file name with 8-bit bytes, a doubled 0xFF or the text of a 227 is no announcement")
def test_ftp_17_file_names(bed: Bed, name: bytes) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        name = name % d.six(port) if b"%b" in name else name
        d.ask(b"PASV\r\n", b"500 not for " + name + b"\r\n")
        d.ask(b"STOR " + name + b"\r\n", b"550 " + name + b" can't be written\r\n")
        d.ask(b"RNFR " + name + b"\r\n", b"350-" + name + b"\r\n" + name + b"\r\n350 go on\r\n")
        d.ask(b"PWD\r\n", b'257 "' + name + b'"\r\n')
        d.nothing_open(port)


@pytest.mark.parametrize("form", [b"PORT %b\0\r\n", b"PO\0RT %b\r\n", b"\0PORT %b\r\n", b"PORT \0%b\r\n"])
@case(18, "a NUL in a line is a violation: the line passes and opens nothing")
def test_ftp_18_nul(bed: Bed, form: bytes) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.command(form % d.six(port))
        d.told_reason("violation", "nul-byte")
        d.reply(b"200 ok\r\n")
        d.nothing_open(port)


@pytest.mark.parametrize(("policy", "limit"), [("default", 4096), ("short-lines", 512)])
@case(19, "a line beyond the limit isn't read up to its LF: it passes, opens nothing, and memory stays bounded")
def test_ftp_19_long_line(bed: Bed, policy: str, limit: int) -> None:
    with dialogue(bed, policy=policy) as d:
        port = d.new_port()
        words = d.six(port)
        line = b"PORT" + b" " * limit + words + b"\r\n"
        d.command(line)
        d.told_reason("violation", "line-too-long")
        d.reply(b"200 ok\r\n")
        d.nothing_open(port)
        tail = b"SITE " + b"x" * limit + b"\rPORT " + words + b"\r\n"
        d.ask(tail, b"200 ok\r\n")
        d.nothing_open(port)
        d.comes_in(d.port(port), port)


@case(19, "a line beyond the limit isn't read up to its LF: it passes, opens nothing, and memory stays bounded")
def test_ftp_19_memory(bed: Bed) -> None:
    """Two megabytes without LF reach the server although the line never ends."""
    with dialogue(bed) as d:
        before = _resident(bed)
        piece = b"PORT 10,77,0,2,19,137," * 2979
        for _ in range(32):
            d.client.say(piece)
            assert d.server.read(len(piece)) == piece
        assert _resident(bed) - before < 4 << 20
        d.ask(b"\r\n", b"500 what?\r\n")
        d.alive()


def _resident(bed: Bed) -> int:
    """Bytes that the daemon holds in memory; 0 for the kernel."""
    if not isinstance(bed.gateway, AlgateGateway):
        return 0
    status = Path(f"/proc/{bed.gateway.ask('status')['pid']}/statm").read_text()
    return int(status.split()[1]) * 4096


@pytest.mark.parametrize("form", [b"SITE PORT %b\r\n", b"RETR PORT %b\r\n", b"X PORT %b\r\n", b"SITEPORT %b\r\n"])
@case(20, "text like a PORT inside an argument opens nothing and stays as it is")
def test_ftp_20_port_in_an_argument(bed: Bed, form: bytes) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.ask(form % d.six(port), b"200 ok\r\n")
        d.nothing_open(port)


@case(21, "a PORT injected behind CR LF is a command: address, port and pairing with its own reply protect")
def test_ftp_21_injected_lines(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        for words, reason in ((d.six(22), "port-too-low"), (six("10.77.0.3", port), "port-not-client")):
            d.command(b"RETR a\r\nPORT " + words + b"\r\n")
            d.told_reason("expectation-refused", reason)
            d.reply(b"550 no such file\r\n200 PORT done\r\n")
            d.nothing_open(port)
        d.shut_in(22, 22)
        # A 2xx to the command before it isn't agreement to the PORT.
        d.client.say(b"CWD a\r\nPORT " + d.six(port) + b"\r\n")
        d.server.hear(b"CWD a\r\n")
        public = d.told(d.server, b"PORT ", b"\r\n")
        d.reply(b"250 done\r\n")
        d.shut_in(public, port, "203.0.113.40")
        assert not bed.algate or [row["state"] for row in d.expectations()] == ["pending"]
        d.reply(b"500 no PORT here\r\n")
        d.nothing_open(port)


@case(22, "unknown and experimental commands pass; LPRT and LPSV pass and never open; option: answer them 502")
def test_ftp_22_unknown_commands(bed: Bed) -> None:
    with dialogue(bed) as d:
        for line in (b"XPWD\r\n", b"XCUP\r\n", b"FROB a b\r\n", b"XMKD d\r\n", b"\r\n"):
            d.command(line)
        d.reply(b"257 /\r\n200 ok\r\n500 what?\r\n257 made\r\n")
        port = d.new_port()
        numbers = b"4,4," + six("10.77.0.2", 0)[:-4] + b",2,%d,%d" % (port >> 8, port & 255)
        d.ask(b"LPRT " + numbers + b"\r\n", b"200 ok\r\n")
        d.nothing_open(port)


@pytest.mark.parametrize("line", [b"LPSV\r\n", b"lprt 4,4,10,77,0,2,2,19,137\r\n"])
@case(22, "unknown and experimental commands pass; LPRT and LPSV pass and never open; option: answer them 502",
      kernel=NO_OPTION)  # fmt: skip
def test_ftp_22_refused_by_option(bed: Bed, line: bytes) -> None:
    with dialogue(bed, policy="no-lprt") as d:
        d.client.say(line)
        assert d.client.line().startswith(b"502 algate:")
        d.server.silent()
        d.told_reason("command-refused", "rfc1639")
        d.ask(b"XPWD\r\n", b"257 /\r\n")
        port = d.new_port()
        d.comes_in(d.port(port), port)


@case(22, "unknown and experimental commands pass; LPRT and LPSV pass and never open; option: answer them 502")
def test_ftp_22_lpsv(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        numbers = b"4,4,10,77,0,2,2,%d,%d" % (port >> 8, port & 255)
        d.ask(b"LPSV\r\n", b"228 Entering Long Passive Mode (" + numbers + b")\r\n")
        d.nothing_open(port)
