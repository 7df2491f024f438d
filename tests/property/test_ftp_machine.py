"""The FTP machine: chunking changes nothing, no bytes raise, memory is bounded, and format and parse are inverse."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from algate.alg.plugin.model import Action, Control, EndPoint, Expect, Open, Refuse, Replace, Side, Withdraw
from algate.alg.protocols.base import merged
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.grammar import Form, Named, line, numbers, read
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.lines import LineReader
from algate.alg.testing import Stage, control

POLICIES = (
    FtpPolicy(max_line=64),
    FtpPolicy(max_line=64, read_only=True, deny=("SITE",), tls="refuse"),
    FtpPolicy(max_line=4096, commands_per_second=3.0),
)
CLIENT_LINES = (
    b"USER u\r\n", b"PASS p\r\n", b"NOOP\r\n", b"PASV\r\n", b"EPSV\r\n", b"EPSV ALL\r\n", b"LIST\r\n", b"RETR f\r\n",
    b"PORT 10,0,0,5,19,137\r\n", b"port 10,0,0,5,20,1\n", b"PORT 198,51,100,2,19,137\r\n", b"PORT 10,0,0,9,1,1\r\n",
    b"EPRT |1|10.0.0.5|6446|\r\n", b"EPRT |1|198.51.100.2|6446|\r\n", b"PORT 1\r\n", b"AUTH TLS\r\n", b"REIN\r\n",
    b"QUIT\r\n", b"STOR f\r\n", b"\xff\xf4\xff\xf2ABOR\r\n", b"\xff\xfaPORT 1\r\n", b"x\0y\r\n", b"a\rb\r\n", b"\r\n",
    b"y" * 100 + b"\r\n", b"GET / HTTP/1.1\r\n", b"227 (10,0,0,5,19,137)\r\n", b"DELE x\r\n", b"A\xff\r\n",
)  # fmt: skip
SERVER_LINES = (
    b"220 hi\r\n", b"220-hi\r\n", b"331 a\r\n", b"230 b\r\n", b"200 ok\r\n", b"150 c\r\n", b"226 d\r\n", b"500 e\r\n",
    b"227 (198,51,100,2,19,137)\r\n", b"227 (10,0,0,5,19,137)\r\n", b"229 (|||6446|)\r\n", b"227-x\r\n", b"227 bye\r\n",
    b"234 go\r\n", b"221 bye\r\n", b"421 away\r\n", b"text\r\n", b"PORT 10,0,0,5,19,137\r\n", b"2\0\r\n",
    b"z" * 100 + b"\n", b"SSH-2.0\r\n", b"\xff\xfb\x01\r\n", b"211 " + b"t" * 90 + b"\r\n", b"200\r\n",
)  # fmt: skip
alphabet = st.text(alphabet="PORTEA2791,|.( )\r\n\0\xff", max_size=40)
noise = st.one_of(st.binary(max_size=80), alphabet.map(lambda text: text.encode("latin-1")))
# Sides and bytes in the order of speaking.
turns = st.lists(
    st.one_of(
        st.tuples(st.just(Side.CLIENT), st.lists(st.sampled_from(CLIENT_LINES), min_size=1, max_size=6).map(b"".join)),
        st.tuples(st.just(Side.SERVER), st.lists(st.sampled_from(SERVER_LINES), min_size=1, max_size=6).map(b"".join)),
        st.tuples(st.sampled_from(Side), noise),
    ),
    max_size=14,
)
placements = st.sampled_from(Side)
policies = st.sampled_from(POLICIES)


def play(stage: Stage, spoken: list[tuple[Side, bytes]], cuts: list[int] | None) -> list[Action]:
    """All actions of a dialogue; each turn in one piece, or in pieces of the sizes `cuts`, again and again."""
    actions: list[Action] = []
    sizes = deque(cuts or [1 << 20])
    for side, data in spoken:
        pieces = []
        while data:
            pieces.append(data[: sizes[0]])
            data = data[sizes[0] :]
            sizes.rotate(-1)
        actions += stage.say(side, *pieces)
    return actions


@example([(Side.CLIENT, b"x\0y\r\nUSER u\r\n")], [1], Side.CLIENT, FtpPolicy())  # the first line is nobody's
@given(turns, st.lists(st.integers(1, 9), min_size=1, max_size=5), placements, policies)
def test_any_chunking_gives_equal_actions(
    spoken: list[tuple[Side, bytes]], cuts: list[int], inside: Side, policy: FtpPolicy
) -> None:
    """A turn of one side in any pieces; the other side answers when the turn is over, as on the wire."""
    whole, cut = (Stage(PLUGIN, policy, control(inside)) for _ in range(2))
    expected = merged(play(whole, spoken, None))
    assert merged(play(cut, spoken, cuts)) == expected
    assert (cut.reset, cut.bypassed) == (whole.reset, whole.bypassed)
    assert cut.expectations == whole.expectations and cut.events == whole.events
    if not whole.reset:
        assert cut.heard == whole.heard and cut.undecided == whole.undecided


@given(turns, placements, policies, st.booleans())
def test_no_bytes_raise_and_nothing_is_lost(
    spoken: list[tuple[Side, bytes]], inside: Side, policy: FtpPolicy, end: bool
) -> None:
    stage = Stage(PLUGIN, policy, control(inside))
    said = dict.fromkeys(Side, b"")
    edited = False
    for number, (side, data) in enumerate(spoken):
        if stage.reset:
            return
        said[side] += data
        actions = stage.say(side, data, end=end and number == len(spoken) - 1)
        edited |= any(isinstance(action, Replace | Refuse) for action in actions)
    if end and spoken and not stage.reset:
        assert stage.undecided[spoken[-1][0]] == b"" or stage.bypassed
    if not edited and not stage.reset:
        for side in Side:
            assert stage.heard[side.other] + stage.undecided[side] == said[side]


@given(turns, placements)
def test_only_own_peers_are_ever_expected(spoken: list[tuple[Side, bytes]], inside: Side) -> None:
    """Invariant 2: the peer is the other end of this control session, the port isn't low, and it expires."""
    stage = Stage(PLUGIN, FtpPolicy(), control(inside))
    opened = 0
    for action in play(stage, spoken, None):
        if isinstance(action, Expect):
            inwards = action.to is None
            assert action.peer == (stage.control.remote.ip if inwards else stage.control.inside.ip)
            assert action.to is None or (action.to.ip == stage.control.remote.ip and action.to.port >= 1024)
            assert action.once and action.proto == "tcp" and action.lifetime == 120.0
        opened += isinstance(action, Open)
    assert all(reserve.inside.ip == stage.control.inside.ip for reserve, _ in stage.reserved.values())
    assert sum(expected.open for expected in stage.expectations.values()) <= 1


NAT = IPv4Address("192.0.2.9")
CALLED = ("10.0.0.5", "203.0.113.1", str(NAT), "203.0.113.2", "198.51.100.2")
NAMING = tuple(
    (side, line(form, EndPoint(IPv4Address(ip), port)) + b"\r\n")
    for side, forms in ((Side.CLIENT, (Form.PORT, Form.EPRT)), (Side.SERVER, (Form.PASSIVE, Form.EXTENDED)))
    for form in forms
    for ip in CALLED
    for port in (5001, 22)
)
OTHERS = ((Side.CLIENT, b"PASV\r\n"), (Side.CLIENT, b"EPSV\r\n"), (Side.SERVER, b"200 ok\r\n"))
talks = st.lists(st.one_of(st.sampled_from(NAMING), st.sampled_from(OTHERS)), min_size=3, max_size=12)


@given(talks, placements)
def test_the_announced_address_changes_what_is_read_and_nothing_else(
    spoken: list[tuple[Side, bytes]], inside: Side
) -> None:
    """Naming the announced address has the same effect as naming the mapped one without the key: the same ports held,
    the same peers expected; what is heard differs only in the address."""

    def as_mapped(data: bytes) -> bytes:
        return data.replace(b"192,0,2,9", b"203,0,113,1").replace(b"|192.0.2.9|", b"|203.0.113.1|")

    plain, behind = Stage(PLUGIN, FtpPolicy(), control(inside)), Stage(PLUGIN, FtpPolicy(announce=NAT), control(inside))
    play(plain, [(side, as_mapped(data)) for side, data in spoken], None)
    play(behind, spoken, None)
    assert behind.expectations == plain.expectations and behind.reserved == plain.reserved
    assert {side: as_mapped(behind.heard[side]) for side in Side} == plain.heard
    assert [one.event for one in behind.events] == [one.event for one in plain.events]


def weight(thing: Any, seen: set[int]) -> int:
    """How many objects and bytes a conversation holds, without what all share (tables, policy)."""
    if id(thing) in seen or isinstance(thing, Enum | type | FtpPolicy | LineReader):
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | str):
        return len(thing) + 1
    if isinstance(thing, dict):
        return 1 + sum(weight(key, seen) + weight(value, seen) for key, value in thing.items())
    if isinstance(thing, tuple | list | set | frozenset | deque):
        return 1 + sum(weight(item, seen) for item in thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return 1 + sum(weight(getattr(thing, name, None), seen) for name in slots)


@given(turns, st.integers(1, 40), placements, policies)
def test_memory_is_bounded(spoken: list[tuple[Side, bytes]], times: int, inside: Side, policy: FtpPolicy) -> None:
    """However often the same is said: the engine keeps unfinished bytes, the machine a bounded rest."""
    stage = Stage(PLUGIN, policy, control(inside))
    for _ in range(times):
        for side, data in spoken:
            if stage.reset or len(stage.undecided[side]) > 60_000:
                return
            stage.say(side, data)
            assert weight(stage.conversation, set()) < 700
            stage.heard = dict.fromkeys(Side, b"")


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
ports = st.integers(1, 65535)


@given(st.sampled_from(Form), addresses, ports, st.sampled_from("|!~#"))
def test_format_and_parse_are_inverse(form: Form, ip: IPv4Address, port: int, delimiter: str) -> None:
    text = line(form, EndPoint(ip, port), delimiter)
    named = read(form, text)
    assert isinstance(named, Named)
    assert (named.ip, named.port) == (None if form is Form.EXTENDED else ip, port)
    assert text[named.start : named.stop] == numbers(form, EndPoint(ip, port), named.delimiter)


@given(st.integers(0, 2**128 - 1).map(IPv6Address), ports)
def test_format_and_parse_are_inverse_for_ipv6(ip: IPv6Address, port: int) -> None:
    assume(ip.ipv4_mapped is None)
    named = read(Form.EPRT, line(Form.EPRT, EndPoint(ip, port)), 6)
    assert isinstance(named, Named) and (named.ip, named.port) == (ip, port)


@given(st.sampled_from(Form), noise, st.sampled_from((4, 6)))
def test_whatever_parses_can_be_rewritten_and_parsed_again(form: Form, text: bytes, version: int) -> None:
    for words in (text, form.value.encode() + b" " + text):
        named = read(form, words, version)
        if isinstance(named, Named):
            ip = IPv4Address("203.0.113.1") if version == 4 else IPv6Address("2001:db8::1")
            to = EndPoint(ip, 50001)
            again = words[: named.start] + numbers(form, to, named.delimiter) + words[named.stop :]
            assert read(form, again, version)[1:3] == (None if named.ip is None else to.ip, 50001)  # type: ignore[index]


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(4, 64))
def test_lines_add_up_to_the_stream_however_cut(data: bytes, cuts: list[int], limit: int) -> None:
    def cut_up(sizes: list[int]) -> list[tuple[bytes, Any]]:
        reader, pending = LineReader(limit), b""
        found: list[tuple[bytes, Any]] = []
        left, turn = data, deque(sizes)
        while left:
            pending, left = pending + left[: turn[0]], left[turn[0] :]
            turn.rotate(-1)
            while (taken := reader.next(pending, 0, not left)) is not None:
                reader.accept(taken)
                pending = pending[len(taken.raw) :]
                if taken.flaw is not None and taken.flaw.name == "REST":
                    found[-1] = (found[-1][0] + taken.raw, found[-1][1])
                else:
                    found.append((taken.raw, (taken.text, taken.flaw)))
        assert pending == b""
        return found

    whole = cut_up([1000])
    assert b"".join(raw for raw, _ in whole) == data
    assert cut_up(cuts) == whole


LOGGED_IN = ((Side.SERVER, b"220 hi\r\n"), (Side.CLIENT, b"USER u\r\n"), (Side.SERVER, b"331 a\r\n"),
             (Side.CLIENT, b"PASS p\r\n"), (Side.SERVER, b"230 b\r\n"))  # fmt: skip
AROUND_PORT = st.lists(
    st.tuples(st.just(Side.CLIENT), st.sampled_from((b"PORT 10,0,0,5,19,137\r\n", b"EPRT |1|10.0.0.5|6446|\r\n",
                                                     b"EPRT |2|2001:db8:1::5|6446|\r\n", b"EPSV\r\n",
                                                     b"NOOP\r\n", b"LIST\r\n", b"PASV\r\n", b"EPSV ALL\r\n")))
    | st.tuples(st.just(Side.SERVER), st.sampled_from((b"200 ok\r\n", b"500 no\r\n", b"150 c\r\n", b"226 d\r\n",
                                                       b"200-x\r\n", b"211-x\r\n", b"211 x\r\n",
                                                       b"227 (198,51,100,2,19,137)\r\n"))),
    max_size=10,
)  # fmt: skip


NAMES = (Side.CLIENT, b"PORT 10,0,0,5,19,137\r\n")
LISTS, AGREES, DONE = (Side.CLIENT, b"LIST\r\n"), (Side.SERVER, b"200 ok\r\n"), (Side.SERVER, b"226 d\r\n")

ASKS = (Side.CLIENT, b"PASV\r\n")
NAMES_64 = (Side.CLIENT, b"EPRT |2|2001:db8:1::5|5001|\r\n")
BY_NAT64 = replace(control(inside="[2001:db8:1::5]:40000"), prefix=IPv6Network("64:ff9b::/96"))


@pytest.mark.parametrize("on", [control(), BY_NAT64], ids=["one family", "nat64"])
@example([NAMES])
@example([NAMES_64])
@example([(Side.CLIENT, b"EPSV\r\n"), NAMES_64])
@example([(Side.CLIENT, b"EPSV ALL\r\n"), NAMES_64])  # the gateway's own NOOP is answered first
@example([NAMES, AGREES, LISTS, NAMES, DONE])  # the first one goes when the second is agreed to
@example([NAMES, LISTS])
@example([(Side.CLIENT, b"NOOP\r\n"), (Side.SERVER, b"200-x\r\n"), (Side.SERVER, b"500 no\r\n"), NAMES])
@example([ASKS, NAMES, (Side.SERVER, b"227 (198,51,100,2,19,137)\r\n")])  # two may bring a connection
@example([(Side.SERVER, b"200-x\r\n"), ASKS, NAMES, (Side.SERVER, b"227 no\r\n")])  # 200 may end that text
@given(AROUND_PORT)
def test_a_200_agrees_for_certain_where_that_is_said(on: Control, spoken: list[tuple[Side, bytes]]) -> None:
    """It opens what is named and ends nothing else, and with the client's next line nothing matters any more."""
    for number in range(len(spoken) + 1):
        stage = Stage(PLUGIN, FtpPolicy(), on)
        play(stage, [*LOGGED_IN, *spoken[:number]], None)
        conversation: Any = stage.conversation
        said = conversation.unattended()
        if said is None or not said.agrees:
            continue
        assert said.read and said.unanswered == 1 and conversation.live == {said.agrees: False}
        actions = stage.say(Side.SERVER, b"200 ok\r\n")
        assert Open(said.agrees) in actions
        assert not [one for one in actions if isinstance(one, Withdraw | Replace | Refuse | Expect)]
        stage.say(Side.CLIENT, b"NOOP\r\n")
        after = conversation.unattended()
        assert after is not None and not after.read


SERVED = {
    b"USER u": b"230 331 530", b"PASS p": b"230 331 332 530", b"PASV": b"227 500", b"EPSV": b"229 500",
    b"LIST": b"226 250 425", b"CWD x": b"250 550", b"NOOP": b"200 500", b"SYST": b"215",
}  # fmt: skip
NAMED = {b"227": b"227 (198,51,100,2,19,137)", b"229": b"229 (|||5001|)"}
EXCHANGE = st.sampled_from(sorted(SERVED)).flatmap(
    lambda command: st.tuples(st.just(command), st.sampled_from(SERVED[command].split()), st.booleans())
)


@example(0, [], [(b"USER u", b"331", False), (b"PASS p", b"230", False), (b"PASV", b"227", False)], [])
@example(5, [ASKS], [(b"CWD x", b"250", False), (b"PASV", b"227", False)], [0, 1])
@given(st.integers(0, 5), AROUND_PORT, st.lists(EXCHANGE, max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_what_settles_all_leaves_nothing_that_matters(
    first: int, before: list[tuple[Side, bytes]], spoken: list[tuple[bytes, bytes, bool]], ahead: list[int]
) -> None:
    """As the kernel counts, from any moment of which the machine says so: behind such a reply nothing is to be read.

    `ahead`: how many of its next commands a client says that doesn't wait for an answer."""
    stage = Stage(PLUGIN, FtpPolicy(), control())
    play(stage, [*LOGGED_IN[:first], *(before if first else ())], None)
    conversation: Any = stage.conversation
    said = conversation.unattended()
    if said is None or not said.settles or said.unanswered > (not first or said.read):
        return
    lines, commands, replies, place = said.lines, said.unanswered, 0, 0
    if said.read:  # for a PASV's sake, or an EPSV's
        spoken, place = [(b"", b"227", False), *spoken], 1
    if not first:
        stage.say(*LOGGED_IN[0])
        replies = 1
    for number, (_, code, begins) in enumerate(spoken):
        upto = max(place, number + 1 + (ahead[number] if number < len(ahead) else 0))
        for command, _, _ in spoken[place:upto]:
            stage.say(Side.CLIENT, command + b"\r\n")
            commands += 1
        place = min(upto, len(spoken))
        if begins and spoken[number][0] == b"LIST":
            stage.say(Side.SERVER, b"150 here\r\n")
        actions = stage.say(Side.SERVER, NAMED.get(code, code + b" x") + b"\r\n")
        replies += 1
        expected = code not in lines.names or any(isinstance(one, Expect) for one in actions)
        if code in lines.settling and commands == replies and expected:
            stage.say(Side.CLIENT, b"NOOP\r\n")  # if there was a doubt, it ends with what the client says next
            after = conversation.unattended()
            assert after is not None and not after.read and after.lines is (lines.then or lines)
            return
