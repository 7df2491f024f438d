"""The four address forms, read and written. Numbers in names are those of the hard cases."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

import pytest

from algate.alg.plugin.model import address
from algate.alg.protocols.ftp import grammar
from algate.alg.protocols.ftp.grammar import Fault, Form, Named, line, numbers, read, write
from algate.alg.testing import at


def named(form: Form, text: bytes, version: int = 4) -> tuple[str | None, int]:
    found = read(form, text, version)
    assert isinstance(found, Named), f"{text!r}: {found}"
    return (None if found.ip is None else str(found.ip)), found.port


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (b"PORT 10,0,0,5,19,137", b"PORT %b"),
        (b"port 10,0,0,5,19,137", b"port %b"),  # FTP-1
        (b"PoRt 10,0,0,5,19,137", b"PoRt %b"),
        (b"PORT   10,0,0,5,19,137", b"PORT   %b"),  # FTP-2
        (b"PORT\t10,0,0,5,19,137", b"PORT\t%b"),
        (b" PORT 10,0,0,5,19,137", b" PORT %b"),
        (b"PORT 10,0,0,5,19,137 ", b"PORT %b "),
        (b"PORT 010,0,00,005,019,137", b"PORT %b"),  # FTP-3: decimal, and canonical when written
    ],
)
def test_port_in_all_its_spellings_only_numbers_are_rewritten(text: bytes, spelling: bytes) -> None:
    found = read(Form.PORT, text)
    assert isinstance(found, Named)
    assert (str(found.ip), found.port) == ("10.0.0.5", 5001)
    new = text[: found.start] + write(found, at("203.0.113.1:50001")) + text[found.stop :]
    assert new == spelling % b"203,0,113,1,195,81"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("numbers_", [b"10,0,0,5,19,137", b"010,0,0,5,019,1", b"256,0,0,5,19,1", b"10,0,0,5,0,0"])
@pytest.mark.parametrize("frame", [b"227 %b", b"227 Entering Passive Mode (%b).", b"227 =%b\xff", b"227(%b) "])
def test_the_usual_passive_reply_is_read_as_any_other(
    monkeypatch: pytest.MonkeyPatch, frame: bytes, numbers_: bytes, version: int
) -> None:
    text = frame % numbers_
    assert grammar._USUAL.fullmatch(text)
    found = read(Form.PASSIVE, text, version)
    monkeypatch.setattr(grammar, "_USUAL", re.compile(b"nothing"))
    assert found == read(Form.PASSIVE, text, version)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"PORT 10, 0,0,5,19,137", Fault.BAD_SYNTAX),  # FTP-2: inner space
        (b"PORT 10,0,0,5,19,137x", Fault.BAD_SYNTAX),
        (b"PORT 10,0,0,5,0019,137", Fault.BAD_NUMBER),  # FTP-3
        (b"PORT 256,0,0,5,19,137", Fault.BAD_NUMBER),  # FTP-4
        (b"PORT 10,0,0,5,256,1", Fault.BAD_NUMBER),  # FTP-4, FTP-5: would wrap
        (b"PORT 10,0,0,5,19", Fault.BAD_SYNTAX),
        (b"PORT 10,0,0,5,19,137,1", Fault.BAD_SYNTAX),
        (b"PORT 10,0,0,5,,19", Fault.BAD_SYNTAX),
        (b"PORT 10,0,0,5,0,0", Fault.PORT_ZERO),  # FTP-5
        (b"PORT", Fault.BAD_SYNTAX),
        (b"PORT ", Fault.BAD_SYNTAX),
        (b"PORT10,0,0,5,19,137", Fault.BAD_SYNTAX),
        (b"SITE PORT 10,0,0,5,19,137", Fault.BAD_SYNTAX),  # FTP-20
        ("PORT ١0,0,0,5,19,137".encode(), Fault.BAD_SYNTAX),  # digits that aren't ASCII
    ],
)
def test_port_faults(text: bytes, fault: Fault) -> None:
    assert read(Form.PORT, text) is fault


def test_port_can_not_name_an_end_of_an_ipv6_session() -> None:
    assert read(Form.PORT, b"PORT 10,0,0,5,19,137", 6) is Fault.WRONG_FAMILY


@pytest.mark.parametrize(
    "text",
    [
        b"227 Entering Passive Mode (10,0,0,5,19,137).",
        b"227 Entering Passive Mode 10,0,0,5,19,137",  # FTP-7
        b"227 =10,0,0,5,19,137",
        b"227 ok [10,0,0,5,19,137]",
        b"227 10,0,0,5,19,137.",
        b"227 Passive mode, 10,0,0,5,19,137, go",
        b"227 Mode 2 (10,0,0,5,19,137)",  # FTP-9
        b"227 try 1,2,3 then (10,0,0,5,19,137)",
    ],
)
def test_passive_reply_in_any_words(text: bytes) -> None:
    found = read(Form.PASSIVE, text)
    assert isinstance(found, Named)
    assert (str(found.ip), found.port) == ("10.0.0.5", 5001)
    assert text[found.start : found.stop] == b"10,0,0,5,19,137"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"227 Logout.", Fault.NO_ADDRESS),  # FTP-8
        (b"227 ", Fault.NO_ADDRESS),
        (b"227", Fault.NO_ADDRESS),
        (b"227 Entering Passive Mode (1216,256,2,127,127,127)", Fault.BAD_NUMBER),  # FTP-10
        (b"227 Entering Passive Mode (10,0,0,5,19)", Fault.BAD_SYNTAX),
        (b"227 Entering Passive Mode (10,0,0,5,19,137,1)", Fault.BAD_SYNTAX),
        (b"227 (10,0,0,5,19,137) or (10,0,0,6,19,137)", Fault.BAD_SYNTAX),
        (b"227 (10,0,0,5,0,0)", Fault.PORT_ZERO),
    ],
)
def test_passive_reply_faults(text: bytes, fault: Fault) -> None:
    assert read(Form.PASSIVE, text) is fault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"229 Entering Extended Passive Mode (|||6446|)", 6446),
        (b"229 ok (!!!6446!)", 6446),  # FTP-11
        (b"229 (a) see (|||6446|).", 6446),
        (b"229 (|||06446|)", 6446),
        (b"229 (|||1000000|)", Fault.BAD_NUMBER),  # FTP-11
        (b"229 (|||65536|)", Fault.BAD_NUMBER),
        (b"229 (|||0|)", Fault.PORT_ZERO),
        (b"229 (|1|10.0.0.5|6446|)", Fault.BAD_SYNTAX),  # FTP-11
        (b"229 (|||6446)", Fault.BAD_SYNTAX),
        (b"229 (11164461)", Fault.BAD_SYNTAX),
        (b"229 (||!6446|)", Fault.BAD_SYNTAX),
        (b"229 (|||1|) (|||2|)", Fault.BAD_SYNTAX),
        (b"229 Logout", Fault.NO_ADDRESS),
    ],
)
def test_extended_passive_reply(text: bytes, expected: int | Fault) -> None:
    found = read(Form.EXTENDED, text)
    if isinstance(expected, Fault):
        assert found is expected
    else:
        assert isinstance(found, Named)
        assert (found.ip, found.port) == (None, expected)
        assert int(text[found.start : found.stop]) == expected


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (b"EPRT |1|10.0.0.5|6446|", 4, ("10.0.0.5", 6446)),
        (b"eprt  !1!10.0.0.5!6446! ", 4, ("10.0.0.5", 6446)),
        (b"EPRT |1|010.0.0.5|6446|", 4, ("10.0.0.5", 6446)),  # FTP-3
        (b"EPRT |2|2001:DB8::5|6446|", 6, ("2001:db8::5", 6446)),  # FTP-14
        (b"EPRT |2|::1|6446|", 6, ("::1", 6446)),
    ],
)
def test_eprt(text: bytes, version: int, expected: tuple[str, int]) -> None:
    assert named(Form.EPRT, text, version) == expected


@pytest.mark.parametrize(
    ("text", "version", "fault"),
    [
        (b"EPRT 1110.0.0.5164461", 4, Fault.BAD_SYNTAX),  # FTP-12: a digit as delimiter
        (b"EPRT  1 10.0.0.5 6446 ", 4, Fault.BAD_SYNTAX),
        (b"EPRT |1|10.0.0.5|6446", 4, Fault.BAD_SYNTAX),
        (b"EPRT .1.10.0.0.5.6446.", 4, Fault.BAD_SYNTAX),  # the delimiter within the address
        (b"EPRT |2|2001:db8::5|6446|", 4, Fault.WRONG_FAMILY),  # FTP-13
        (b"EPRT |1|10.0.0.5|6446|", 6, Fault.WRONG_FAMILY),
        (b"EPRT |3|10.0.0.5|6446|", 4, Fault.WRONG_FAMILY),
        (b"EPRT |2|::ffff:10.0.0.5|6446|", 6, Fault.BAD_SYNTAX),  # FTP-14: mapped, in both spellings
        (b"EPRT |2|::ffff:a00:5|6446|", 6, Fault.BAD_SYNTAX),
        (b"EPRT |2|fe80::1%eth0|6446|", 6, Fault.BAD_SYNTAX),  # FTP-14: a zone
        (b"EPRT |2|1:2:3|6446|", 6, Fault.BAD_SYNTAX),
        (b"EPRT |2|2001:db8::%b5|6446|" % (b"0" * 40), 6, Fault.BAD_SYNTAX),  # longer than any
        (b"EPRT |1|10.0.0.256|6446|", 4, Fault.BAD_NUMBER),
        (b"EPRT |1|10.0.0|6446|", 4, Fault.BAD_SYNTAX),
        (b"EPRT |1|10.0.0.5|65536|", 4, Fault.BAD_NUMBER),
        (b"EPRT |1|10.0.0.5|0|", 4, Fault.PORT_ZERO),
        (b"EPRT |1||6446|", 4, Fault.BAD_SYNTAX),
    ],
)
def test_eprt_faults(text: bytes, version: int, fault: Fault) -> None:
    assert read(Form.EPRT, text, version) is fault


def test_an_address_of_either_family_is_always_the_same_object() -> None:
    """That of its session, which is then known without comparing."""
    for text, version, own in (
        (b"EPRT |2|2001:DB8::5|6446|", 6, address(IPv6Address("2001:db8::5").packed)),
        (b"EPRT |2|2001:db8:0:0::5|6447|", 6, address(IPv6Address("2001:db8::5").packed)),
        (b"EPRT |1|10.0.0.5|6446|", 4, address(bytes((10, 0, 0, 5)))),
    ):
        found = read(Form.EPRT, text, version)
        assert isinstance(found, Named) and found.ip is own


def test_eprt_keeps_its_delimiter() -> None:
    text = b"EPRT ~1~10.0.0.5~6446~"
    found = read(Form.EPRT, text)
    assert isinstance(found, Named)
    assert text[: found.start] + write(found, at("203.0.113.1:50001")) + text[found.stop :] == (
        b"EPRT ~1~203.0.113.1~50001~"
    )


def test_whole_lines_are_what_rfc_959_and_2428_show() -> None:
    end = at("132.235.1.2:6275")
    assert line(Form.PORT, end) == b"PORT 132,235,1,2,24,131"
    assert line(Form.PASSIVE, end) == b"227 Entering Passive Mode (132,235,1,2,24,131)."
    assert line(Form.EPRT, end) == b"EPRT |1|132.235.1.2|6275|"
    assert line(Form.EPRT, at("[1080::8:800:200c:417a]:5282")) == b"EPRT |2|1080::8:800:200c:417a|5282|"
    assert line(Form.EXTENDED, at("132.235.1.2:6446")) == b"229 Entering Extended Passive Mode (|||6446|)"


def test_an_ipv6_end_in_rfc_959_form_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="no IPv6"):
        numbers(Form.PORT, at("[2001:db8::5]:4001"))


def test_ip_is_compared_by_value() -> None:
    assert named(Form.EPRT, b"EPRT |2|2001:db8:0:0::5|1|", 6)[0] == str(ip_address("2001:db8::5"))
