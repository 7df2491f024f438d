"""TFTP and IRC on any bytes: they never raise, and how a stream is split changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from algate.alg.plugin.model import Direction, Side
from algate.alg.protocols.irc import PLUGIN as IRC
from algate.alg.protocols.irc import IrcPolicy, dcc
from algate.alg.protocols.tftp import PLUGIN as TFTP
from algate.alg.protocols.tftp import TftpPolicy
from algate.alg.testing import Stage, control

OWN = b"167772165"
words = st.sampled_from(
    [
        b"PRIVMSG", b"NOTICE", b"privmsg", b"NICK", b"USER", b"STARTTLS", b"POST", b" ", b" ", b" ", b"bob", b":",
        b"\x01", b"\x01DCC ", b"SEND", b"CHAT", b"chat", b"RESUME", b"ACCEPT", b"file", b'"a b"', OWN, b"3405803777",
        b"5000", b"5001", b"0", b"22", b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b":a!b@c ", b"670", b"@t=1 ",
        b"@", b'"', b"10.0.0.5", b"0xa000005", b"TSEND", b"REJECT",
    ]
)  # fmt: skip
before = st.sampled_from([b"", b"", b"@t=1 ", b":a!b@c ", b"@t=1;u  :a!b@c ", b"@", b"x"])
messages = st.builds(
    b"DCC %s %s %d%s".__mod__,
    st.tuples(
        st.sampled_from([b"SEND file", b'SEND "a b"', b"CHAT chat", b"SEND", b"tsend a b", b"MOVE 1 2", b"SCHAT x"]),
        st.sampled_from([OWN, b"10.0.0.5", b"167772166", b"3405803777", b"0", b"::ffff:10.0.0.5", b"0xA000005"]),
        st.sampled_from([5000, 5001, 0, 22, 65535, 65536]),
        st.sampled_from([b"", b" 7", b" 7 8", b" 7 T x"]),
    ),
)
offers = st.builds(
    b"%s%s bob :\x01%s%s%s".__mod__,
    st.tuples(
        before,
        st.sampled_from([b"PRIVMSG", b"NOTICE", b"PRIVMSGS"]),
        st.lists(messages, min_size=1, max_size=6).map(b"\x01\x01".join),
        st.sampled_from([b"\x01", b"", b"\x01 ok"]),
        st.sampled_from([b"\r\n", b"\r\n", b"\n", b" \r\n"]),
    ),
)
agreements = st.builds(
    b"%sPRIVMSG bob :\x01DCC %s %s %d 9\x01\r\n".__mod__,
    st.tuples(
        before,
        st.sampled_from([b"RESUME", b"ACCEPT", b"REJECT"]),
        st.sampled_from([b"file", b'"a b"', b"a 5000 b"]),
        st.sampled_from([5000, 41000, 41001]),
    ),
)
garbage = st.one_of(st.binary(max_size=40), st.lists(words, max_size=12).map(b"".join))
streams = st.lists(st.one_of(offers, agreements, garbage), max_size=8).map(b"".join)
begins = st.sampled_from([b"NICK a\r\nUSER a 0 * :a\r\n", b"", b"CAP LS\r\n", b"GET / HTTP/1.1\r\n"])
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, again and again."""
    made: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(made) % len(sizes)]
        made.append(data[at : at + size])
        at += size
    return made


def chat() -> Stage:
    ports = list(range(41000, 41200))
    return Stage(IRC, IrcPolicy(enabled=True, any_peer=True), control(remote="198.51.100.2:6667"), ports)


def told(client: list[bytes], server: list[bytes]) -> tuple[object, ...]:
    """What both sides got, what still waits, and what may come."""
    stage = chat()
    stage.say(Side.CLIENT, *client)
    stage.say(Side.SERVER, *server)
    heard = {side: stage.heard[side] + stage.undecided[side.other] for side in Side}
    return heard, stage.bypassed, {tag: (one.expect, one.public) for tag, one in stage.expectations.items()}


@given(begins, streams, streams, cuts)
def test_irc_any_chunking_comes_to_the_same(begin: bytes, client: bytes, server: bytes, sizes: list[int]) -> None:
    whole = told([begin + client] if begin + client else [], [server] if server else [])
    assert told(pieces(begin + client, sizes), pieces(server, sizes)) == whole


@given(offers, st.integers(0, 80))
def test_irc_every_beginning_of_an_offer_waits(line: bytes, size: int) -> None:
    text = line.removesuffix(b"\r\n")
    if dcc.offers(text, ()):
        assert dcc.may_become(text[:size])


@given(streams)
def test_irc_nothing_of_the_server_s_opens_anything(server: bytes) -> None:
    stage = chat()
    stage.say(Side.CLIENT, b"NICK a\r\nUSER a 0 * :a\r\n")
    stage.say(Side.SERVER, server, end=True)
    assert not stage.expectations and not stage.reserved
    assert stage.heard[Side.CLIENT] == server, "and no port that it names is known"


@given(begins, streams)
def test_irc_opens_for_the_own_address_and_allowed_ports_alone(begin: bytes, client: bytes) -> None:
    stage = chat()
    stage.say(Side.CLIENT, begin + client, end=True)
    for tag, one in stage.expectations.items():
        asked, public = stage.reserved[tag]
        assert asked.inside.ip == stage.control.inside.ip and 1024 <= asked.inside.port <= 65535
        assert one.expect.once and one.expect.direction is Direction.IN and one.public == public
    assert len(stage.expectations) <= 4


requests = st.lists(
    st.sampled_from([b"\0", b"\0", b"\x01", b"\x02", b"octet", b"NETASCII", b"file", b"blksize", b"\xff", b"f" * 300]),
    max_size=12,
).map(b"".join)


@given(
    st.sampled_from(Side), st.one_of(st.binary(max_size=60), requests, requests.map(b"\0\x01".__add__)), st.booleans()
)
def test_tftp_judges_any_datagram_wholly(side: Side, said: bytes, read_only: bool) -> None:
    stage = Stage(TFTP, TftpPolicy(enabled=True, read_only=read_only), control(remote="198.51.100.2:69", proto="udp"))
    if said:
        stage.say(side, said)
        assert stage.heard[side.other] in (said, b"")
        for one in stage.expectations.values():
            assert (one.expect.peer, one.expect.to) == (stage.control.remote.ip, stage.control.public)
            assert side is Side.CLIENT and one.expect.once
