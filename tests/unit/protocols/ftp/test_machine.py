"""The dialogue: every state with every event against the tables, and the plain cases of both placements."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from algate.alg.plugin.model import Bypass, Direction, Event, Expect, Open, Pass, Replace, Reserve, Side
from algate.alg.protocols.ftp import PLUGIN, FtpConversation
from algate.alg.protocols.ftp.dialogue import (
    COMMANDS,
    FINAL,
    ODD,
    PHASES,
    REPLIES,
    TURNS,
    USUAL,
    Effect,
    Kind,
    Phase,
    Reply,
    Turn,
    after,
)
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control

CLIENT, SERVER = Side.CLIENT, Side.SERVER
INSIDE_PORT = b"PORT 10,0,0,5,19,137\r\n"
PUBLIC_PORT = b"PORT 203,0,113,1,195,81\r\n"
OUTSIDE_PORT = b"PORT 198,51,100,2,19,137\r\n"


def stage(inside: Side = CLIENT, *, phase: Phase = Phase.READY, ports: list[int] | None = None) -> Stage:
    """A stage brought into a phase by an ordinary dialogue."""
    made = Stage(PLUGIN, FtpPolicy(before_login=True), control(inside), ports)  # see test_login
    words: dict[Phase, list[tuple[Side, bytes]]] = {
        Phase.GREETING: [],
        Phase.LOGIN: [(SERVER, b"220 ready\r\n")],
        Phase.READY: [(SERVER, b"220 ready\r\n"), (CLIENT, b"USER u\r\n"), (SERVER, b"230 in\r\n")],
    }
    words[Phase.CLOSING] = [*words[Phase.READY], (CLIENT, b"QUIT\r\n"), (SERVER, b"221 bye\r\n")]
    words[Phase.OPAQUE] = [*words[Phase.LOGIN], (CLIENT, b"AUTH TLS\r\n"), (SERVER, b"234 go\r\n")]
    for side, data in words[phase]:
        made.say(side, data)
    assert conversation(made).phase is phase
    made.events.clear()
    return made


def conversation(made: Stage) -> FtpConversation:
    assert isinstance(made.conversation, FtpConversation)
    return made.conversation


# -- the tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "turn"), list(itertools.product(Phase, Turn)))
def test_a_turn_goes_where_the_table_says_and_nowhere_else(phase: Phase, turn: Turn) -> None:
    assert after(phase, turn) is PHASES.get((phase, turn), phase)


def test_opaque_is_final() -> None:
    assert {after(Phase.OPAQUE, turn) for turn in Turn} == {Phase.OPAQUE}


def test_agreement_and_announcement_have_one_way_each() -> None:
    assert [pair for pair, effect in REPLIES.items() if effect is Effect.AGREE] == [
        (Kind.NAME, Reply.OK),
        (Kind.LEFT, Reply.OK),
    ]
    assert [pair for pair, effect in REPLIES.items() if effect is Effect.ANNOUNCE] == [
        (kind, reply)
        for kind in (Kind.PASV, Kind.EPSV, Kind.UNSEEN, Kind.LEFT)
        for reply in (Reply.PASSIVE, Reply.EXTENDED)
    ]


def test_only_what_can_answer_has_an_effect() -> None:
    assert not [pair for pair in REPLIES if pair[1] not in USUAL[pair[0]] | ODD[pair[0]]]
    assert not [kind for kind in Kind if USUAL[kind] & ODD[kind]]


def test_no_preliminary_reply_has_an_effect() -> None:
    assert not [kind for kind, reply in REPLIES if reply is Reply.PRELIMINARY]


# -- state x event, through the machine ---------------------------------------------------------------

SAID: dict[Kind, bytes] = {
    Kind.OTHER: b"NOOP\r\n",
    Kind.IDENTITY: b"PASS p\r\n",
    Kind.TRANSFER: b"LIST\r\n",
    Kind.NAME: INSIDE_PORT,
    Kind.PASV: b"PASV\r\n",
    Kind.EPSV: b"EPSV\r\n",
    Kind.EPSV_ALL: b"EPSV ALL\r\n",
    Kind.LONG: b"LPSV\r\n",
    Kind.AUTH: b"AUTH TLS\r\n",
    Kind.REIN: b"REIN\r\n",
    Kind.QUIT: b"QUIT\r\n",
}
ANSWERED: dict[Reply, bytes] = {
    Reply.PRELIMINARY: b"150 wait\r\n",
    Reply.OK: b"200 ok\r\n",
    Reply.ACTION: b"250 done\r\n",
    Reply.WELCOME: b"230 in\r\n",
    Reply.DONE: b"202 superfluous\r\n",
    Reply.MORE: b"331 more\r\n",
    Reply.PENDING: b"350 go on\r\n",
    Reply.FAILED: b"500 no\r\n",
    Reply.PROTECTED: b"631 secret\r\n",
    Reply.GREETING: b"220 hello\r\n",
    Reply.FAREWELL: b"221 bye\r\n",
    Reply.TRANSFERRED: b"226 done\r\n",
    Reply.PASSIVE: b"227 here (198,51,100,2,19,137)\r\n",
    Reply.EXTENDED: b"229 here (|||5001|)\r\n",
    Reply.SECURED: b"234 go\r\n",
    Reply.CLOSING: b"421 too long\r\n",
}
SPEAKABLE = set(Kind) - {Kind.UNSEEN, Kind.LEFT, Kind.SKIPPED, Kind.INSTEAD}
SPOKEN = [Phase.LOGIN, Phase.READY, Phase.CLOSING]


def test_the_walk_below_covers_all_kinds_and_replies() -> None:
    assert set(SAID) == SPEAKABLE and set(ANSWERED) == set(Reply)
    for kind, words in SAID.items():
        verb = words.split()[0]
        assert kind is Kind.EPSV_ALL or COMMANDS.get(verb, Kind.OTHER) is kind
    assert all(FINAL[words[:4]] is reply for reply, words in ANSWERED.items())


@pytest.mark.parametrize("phase", SPOKEN)
@pytest.mark.parametrize("kind", sorted(SPEAKABLE))
@pytest.mark.parametrize("reply", list(Reply))
def test_state_by_event(phase: Phase, kind: Kind, reply: Reply) -> None:
    """One command and one reply in each phase: the phase that follows, what opens, and what goes on waiting."""
    made = stage(phase=phase)
    made.say(CLIENT, SAID[kind])
    actions = made.say(SERVER, ANSWERED[reply])
    effect = REPLIES.get((kind, reply), Effect.NONE)

    expected = after(phase, TURNS[effect]) if effect in TURNS else phase
    assert conversation(made).phase is expected
    waits = reply not in USUAL[kind] | ODD[kind]
    assert conversation(made).unanswered == (1 if waits else 0)

    live = list(conversation(made).live.values())
    named = kind is Kind.NAME and phase is not Phase.CLOSING
    announced = effect is Effect.ANNOUNCE and phase is not Phase.CLOSING
    assert live == ([True] if announced or (named and effect is Effect.AGREE) else [False] if named and waits else [])
    assert [expected.open for expected in made.expectations.values()] == live
    assert any(isinstance(action, Open) for action in actions) == (named and effect is Effect.AGREE)
    assert any(isinstance(action, Bypass) for action in actions) == (effect is Effect.SECURE)
    assert made.undecided == {CLIENT: b"", SERVER: b""}
    assert made.heard[CLIENT].endswith(ANSWERED[reply])


@pytest.mark.parametrize("kind", sorted(SPEAKABLE))
@pytest.mark.parametrize("reply", list(Reply))
def test_the_first_reply_is_the_greeting_or_shows_a_session_in_the_middle(kind: Kind, reply: Reply) -> None:
    """A 227 or 229 as the very first line opens nothing, whatever was said before it (FTP-25)."""
    made = stage(phase=Phase.GREETING)
    made.say(CLIENT, SAID[kind])
    made.say(SERVER, ANSWERED[reply])
    greeting = reply in (Reply.GREETING, Reply.FAILED, Reply.CLOSING, Reply.PASSIVE, Reply.EXTENDED)
    if reply is Reply.PRELIMINARY:
        assert conversation(made).phase is Phase.GREETING
    elif greeting:
        assert conversation(made).phase is Phase.LOGIN
        assert conversation(made).unanswered == 1
    else:
        effect = REPLIES.get((kind, reply), Effect.NONE)
        assert conversation(made).unanswered == (0 if reply in USUAL[kind] | ODD[kind] else 1)
        assert conversation(made).phase is (after(Phase.READY, TURNS[effect]) if effect in TURNS else Phase.READY)
    if reply in (Reply.PASSIVE, Reply.EXTENDED):
        assert made.reasons("violation") == ["unasked-reply"]
        assert not any(conversation(made).live.values())


def resumed(inside: Side) -> Stage:
    return Stage(PLUGIN, FtpPolicy(), replace(control(inside), resumed=True), [50001, 50002])


def test_resumed_starts_in_the_middle() -> None:
    made = resumed(CLIENT)
    assert conversation(made).phase is Phase.READY
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (198,51,100,2,19,137)\r\n")
    assert list(conversation(made).live.values()) == [True]


def test_resumed_rewrites_the_answer_to_a_pasv_said_before() -> None:
    made = resumed(SERVER)
    made.say(SERVER, b"227 (10,0,0,5,19,137)\r\n")
    assert made.heard[CLIENT] == b"227 (203,0,113,1,195,81)\r\n"
    made.say(SERVER, b"227 (10,0,0,5,19,138)\r\n")  # that was one answer, there is no second
    assert made.reasons("violation") == ["unasked-reply"]


def test_resumed_counts_nothing_unseen_once_the_client_speaks() -> None:
    made = resumed(CLIENT)
    made.say(CLIENT, b"NOOP\r\n")
    made.say(SERVER, b"227 (198,51,100,2,19,137)\r\n")
    assert not conversation(made).live and conversation(made).unanswered == 1  # 227 can't answer NOOP


# -- transcripts: the four forms in both placements -----------------------------------------------------


def inward(tag: int, opened: bool = False, peer: str = "198.51.100.2:1") -> Expect:
    return Expect(tag, Direction.IN, at(peer).ip, None, 120.0, open=opened, acts_after=None if opened else 0.05)


def outward(tag: int, to: str, opened: bool = False) -> Expect:
    return Expect(
        tag, Direction.OUT, at("10.0.0.5:1").ip, at(to), 120.0, open=opened, acts_after=None if opened else 0.05
    )


@pytest.mark.parametrize(
    ("said", "rewritten"),
    [(INSIDE_PORT, PUBLIC_PORT), (b"EPRT |1|10.0.0.5|5001|\r\n", b"EPRT |1|203.0.113.1|50001|\r\n")],
)
def test_client_inside_names_a_connection(said: bytes, rewritten: bytes) -> None:
    made = stage(ports=[50001])
    made.client << said >> Reserve(1, at("10.0.0.5:5001")) >> inward(1) >> Replace(len(said), rewritten)
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.client << b"LIST\r\n" >> Pass(6)
    made.server << b"150 a\r\n226 b\r\n" >> Pass(14)
    made.done()
    assert made.heard[SERVER].endswith(rewritten + b"LIST\r\n")
    assert made.expectations[1].open and made.expectations[1].public == at("203.0.113.1:50001")


def test_client_outside_names_a_connection() -> None:
    made = stage(SERVER)
    made.client << OUTSIDE_PORT >> outward(1, "198.51.100.2:5001") >> Pass(len(OUTSIDE_PORT))
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.done()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(b"PASV\r\n", b"227 here (198,51,100,2,19,137).\r\n"), (b"EPSV\r\n", b"229 here (|||5001|)\r\n")],
)
def test_server_outside_announces_a_connection(asked: bytes, answer: bytes) -> None:
    made = stage()
    made.client << asked >> Pass(6)
    made.server << answer >> outward(1, "198.51.100.2:5001", opened=True) >> Pass(len(answer))
    made.done()


@pytest.mark.parametrize(
    ("asked", "answer", "rewritten"),
    [
        (b"PASV\r\n", b"227 here (10,0,0,5,19,137).\r\n", b"227 here (203,0,113,1,195,81).\r\n"),
        (b"EPSV 1\r\n", b"229 here (|||5001|)\r\n", b"229 here (|||50001|)\r\n"),  # FTP-31
    ],
)
def test_server_inside_announces_a_connection(asked: bytes, answer: bytes, rewritten: bytes) -> None:
    made = stage(SERVER, ports=[50001])
    made.client << asked >> Pass(len(asked))
    said = made.server << answer
    said >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=True) >> Replace(len(answer), rewritten)
    made.done()


def test_a_public_port_that_is_the_asked_one_needs_no_replacement_of_229() -> None:
    made = stage(SERVER)
    made.client << b"EPSV\r\n" >> Pass(6)
    made.server << b"229 (|||5001|)\r\n" >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=True) >> Pass(16)
    made.done()


def test_events_tell_what_was_made_opened_and_withdrawn() -> None:
    made = stage(ports=[50001, 50002])
    made.say(CLIENT, INSIDE_PORT)
    made.say(SERVER, b"200 ok\r\n")
    made.say(CLIENT, b"PASV\r\n")
    assert [event.event for event in made.events] == [
        "expectation-made",
        "expectation-opened",
        "expectation-withdrawn",
    ]
    assert made.events[0] == Event(
        "expectation-made",
        "PORT 10.0.0.5:5001 as 203.0.113.1:50001",
        fields=(("state", "pending"), ("from", "198.51.100.2"), ("to", "10.0.0.5:5001"), ("user", "u")),
    )
    assert made.events[2].reason == "superseded"


def test_an_answer_to_a_reservation_that_nobody_asked_for_does_nothing() -> None:
    made = stage()
    assert conversation(made).reserved(9, at("203.0.113.1:1"), 0.0) == ()


def test_used_and_expired_expectations_are_forgotten() -> None:
    made = stage(ports=[50001, 50002])
    made.say(CLIENT, INSIDE_PORT)
    made.outcome(1, "expired")
    made.server << b"200 ok\r\n" >> Pass(8)
    made.client << b"PASV\r\n" >> Pass(6)
    made.done()
    assert not made.expectations
    ends = (("from", "198.51.100.2"), ("to", "10.0.0.5:5001"), ("user", "u"))
    assert made.events[1] == Event("expectation-expired", "PORT 10.0.0.5:5001 as 203.0.113.1:50001", fields=ends)
