"""Field reports about IRC and TFTP (R7, R8, R13, R14) and similar cases, by what the outside sees and reaches."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from tests.cases.case import field
from tests.cases.plugin_bed import ANYBODY, PLAN, Chat, PluginBed, Transfer
from tests.topology import no_netfilter

R7 = "a DCC offer that names the gateway's public address is the client's own: rewritten and opened"
R8 = "an oddly formed TFTP request has its answer from the server's new port"
R13 = "IRCv3 tags are kept, the offer behind them is rewritten"
R14 = "TSEND, MOVE and other kinds of DCC offer are as SEND"


@pytest.fixture(scope="module")
def plugins(request: pytest.FixtureRequest) -> Iterator[PluginBed]:
    """One gateway for all."""
    with PluginBed(str(request.config.getoption("gateway"))) as made:
        yield made
        no_netfilter(made.lab, made.gateway)


@pytest.fixture
def chat(plugins: PluginBed) -> Iterator[Chat]:
    """alice inside and bob outside, registered."""
    with Chat(plugins) as made:
        yield made


def number(ip: str) -> int:
    """An address as DCC spells it."""
    return int(IPv4Address(ip))


# -- R7 ----------------------------------------------------------------------------------------------------------------


@field(7, R7)
def test_r07_dcc_send_names_the_public_address(chat: Chat) -> None:
    """The client asked the server, or its user, what its address is (weechat #2226, hexchat #2025)."""
    chat.takes(b"PRIVMSG bob :", b"SEND f", number(chat.public))


@field(7, R7)
@pytest.mark.parametrize("kind", [b"CHAT chat", b"TSEND f"])
@pytest.mark.parametrize("word", [b"PRIVMSG", b"NOTICE"])
def test_r07_whatever_is_offered_and_how(chat: Chat, word: bytes, kind: bytes) -> None:
    chat.takes(word + b" bob :", kind, number(chat.public))


@field(7, R7)
def test_r07_in_any_spelling(chat: Chat) -> None:
    """KVIrc writes dotted addresses (irssi #732), some clients 0 where they know none (weechat #126, hexchat #678)."""
    for ip in (chat.public, chat.me):
        for spelt in (ip, f"0{number(ip)}", hex(number(ip)), f"::ffff:{ip}"):
            chat.takes(b"PRIVMSG bob :", b"SEND f", spelt)
    for spelt in ("0", "0.0.0.0"):
        chat.takes(b"PRIVMSG bob :", b"SEND f", spelt)


@field(7, R7)
def test_r07_another_public_address_is_not_the_client_s(chat: Chat) -> None:
    """It may be what the outside sees for the other inside host."""
    (other,) = set(PLAN.public) - {chat.public}
    with chat.listening() as ear:
        port = ear.getsockname()[1]
        for ip in (other, ANYBODY, PLAN.clients[1]):
            line = b"PRIVMSG bob :\x01DCC SEND f %d %d 10\x01\r\n" % (number(ip), port)
            assert chat.say(line) == line
            chat.shut(port)


# -- R8 ----------------------------------------------------------------------------------------------------------------

EMPTY = b"\0\1cfg\0octet\0vendor\0\0"
ODD = [
    b"\0\1cfg\0octet\0multicast\0\0blksize\0" + b"1432\0",  # as RFC 2090 has it
    b"\0\2log\0octet\0vendor\0\0",
    b"\0\1cfg\0octet\0\0value\0",
    b"\0\1cfg\0octet\0tsize\0",
    b"\0\1cfg\0octet\0tsize\0" + b"0\0tsize\0" + b"0\0",
    b"\0\1cfg\0octet\0" + bytes(64),
    b"\0\1cfg\0octet\0junk",
    b"\0\1cfg\0octet",
    b"\0\1cfg\0",
    b"\0\1\0octet\0",
    b"\0\1cfg\0OCTET\0",
    b"\0\2root@h\0mail\0",
    b"\0\1cfg\0binary\0",
    b"\0\1" + b"f" * 510 + b"\0octet\0",
]
ANSWERS = [b"\0\3\0\1data", b"\0\6vendor\0\0", b"\0\4\0\0", b"\0\5\0\4no\0"]


@field(8, R8)
def test_r08_an_empty_option_value_is_answered_from_a_new_port(plugins: PluginBed) -> None:
    """Grandstream's phones (tftpy #141)."""
    with Transfer(plugins, inside="client") as talk:
        talk.answered(EMPTY, b"\0\3\0\1data")


@field(8, R8)
@pytest.mark.parametrize("inside", ["client", "server"])
def test_r08_so_is_whatever_else_is_odd(plugins: PluginBed, inside: str) -> None:
    for place, request in enumerate([EMPTY, *ODD]):
        with Transfer(plugins, inside=inside) as talk:
            talk.answered(request, ANSWERS[place % len(ANSWERS)])


@field(8, R8)
def test_r08_one_port_may_ask_again_and_again(plugins: PluginBed) -> None:
    """UEFI asks for the size first, abandons that transfer, and asks again from the same port."""
    with Transfer(plugins, inside="client") as talk:
        for answer in ANSWERS:
            talk.answered(EMPTY, answer)


@field(8, R8)
def test_r08_nobody_but_the_asked_server_may_answer(plugins: PluginBed) -> None:
    with Transfer(plugins, inside="client") as talk:
        asker = talk.ask(EMPTY)
        talk.at(ANYBODY, server=True).sendto(b"\0\3\0\1evil", asker)
        new = talk.at(talk.server_ip, server=True)
        new.sendto(b"\0\3\0\1other", (asker[0], asker[1] ^ 1))
        new.sendto(b"\0\3\0\1good", asker)
        assert talk.client.recvfrom(2000) == (b"\0\3\0\1good", new.getsockname())
        talk.at(talk.server_ip, server=True).sendto(b"\0\3\0\1late", asker)
        talk.client.settimeout(0.4)
        with pytest.raises(TimeoutError):
            talk.client.recv(2000)


# -- R13 ---------------------------------------------------------------------------------------------------------------


@field(13, R13)
def test_r13_tags_are_kept_and_the_offer_behind_them_is_rewritten(chat: Chat) -> None:
    chat.takes(b"@label=1 PRIVMSG bob :", b"SEND f", number(chat.me))


@field(13, R13)
def test_r13_so_is_the_offer_behind_other_tags_and_a_prefix(chat: Chat) -> None:
    """A client may send 4096 bytes of tags; with the server's own that makes 8191."""
    long = b"@" + b"t" * 4094 + b" "
    for before in (b"@+draft/reply=a;label=2  ", b":alice!u@h ", b":alice ", b"@label=3 :alice!u@h ", long):
        for kind in (b"SEND f", b"CHAT chat"):
            chat.takes(before + b"NOTICE bob :", kind, number(chat.me))


@field(13, R13)
def test_r13_resume_is_found_behind_the_server_s_tags(chat: Chat) -> None:
    with chat.listening() as ear:
        own = ear.getsockname()[1]
        got = chat.say(b"@label=1 PRIVMSG bob :\x01DCC SEND f %d %d 10\x01\r\n" % (number(chat.me), own))
        where = chat.public, int(got.split()[-2])
        chat.bob.say(b"@time=2024-01-01T00:00:00.000Z PRIVMSG alice :\x01DCC RESUME f %d 5\x01\r\n" % where[1])
        heard = chat.alice.hear()
        assert heard == b"@time=2024-01-01T00:00:00.000Z :bob!u@h PRIVMSG alice :\x01DCC RESUME f %d 5\x01\r\n" % own
        line = b"@label=2 PRIVMSG bob :\x01DCC ACCEPT f %d 5\x01\r\n"
        assert chat.say(line % own) == line % where[1]
        chat.reaches(where, ear)


# -- R14 ---------------------------------------------------------------------------------------------------------------


@field(14, R14)
def test_r14_tsend_and_move_are_treated_as_send(chat: Chat) -> None:
    for kind in (b"TSEND f", b"MOVE f"):
        chat.takes(b"PRIVMSG bob :", kind, number(chat.me))


@field(14, R14)
def test_r14_so_is_every_other_kind_of_that_form(chat: Chat) -> None:
    for kind in (b"SCHAT chat", b"SSEND f", b"TSSEND f", b"XMIT raw", b"RECV f", b"VOICE gsm", b"CHAT wboard"):
        chat.takes(b"PRIVMSG bob :", kind, number(chat.me))


@field(14, R14)
def test_r14_whatever_the_file_is_called_and_what_follows(chat: Chat) -> None:
    for name in (b'"my file"', b'"a 2 12 b"', b"my file", b"my 2 12 b", b'"a"b c"', b"f\xfc\xff", b"\x02b,:;", b'""'):
        chat.takes(b"PRIVMSG bob :", b"SEND " + name, number(chat.me))
    for after in (b"\x01", b"", b" 10", b" 10 7\x01", b" 10 T x\x01", b" 10\x01 ok", b" 10 \x01"):
        chat.takes(b"PRIVMSG bob :", b"SEND f", number(chat.me), after)


@field(14, R14)
def test_r14_several_in_one_line(chat: Chat) -> None:
    with chat.listening() as first, chat.listening() as second:
        ears = (first, second)
        line = b"PRIVMSG bob :\x01DCC SEND a %d %d 10\x01\x01DCC TSEND b %d %d 10\x01\r\n"
        own = [ear.getsockname()[1] for ear in ears]
        got = chat.say(line % (number(chat.me), own[0], number(chat.public), own[1]))
        words = got.split()
        told = int(words[6]), int(words[-2])
        assert got == line % (number(chat.public), told[0], number(chat.public), told[1])
        for port, ear in zip(told, ears, strict=True):
            chat.reaches((chat.public, port), ear)


@field(14, R14)
def test_r14_what_is_no_offer_or_not_at_its_place_opens_nothing(chat: Chat) -> None:
    """What others can make a client say (an answer to CTCP PING, a quotation) isn't its own word."""
    with chat.listening() as ear:
        port = ear.getsockname()[1]
        offer = b"\x01DCC TSEND f %d %d 10\x01" % (number(chat.me), port)
        for said in (
            b"see " + offer,
            b"\x01PING " + offer,
            offer.replace(b"TSEND f", b"REJECT f"),
            offer.replace(b"%d 10" % port, b"0 10 7"),
        ):
            line = b"NOTICE bob :" + said + b"\r\n"
            assert chat.say(line) == line
            chat.shut(port)
