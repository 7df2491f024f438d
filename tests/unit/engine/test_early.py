"""Servers that connect first and agree afterwards: their first packets wait once, not every time."""

from __future__ import annotations

import pytest

from algate.alg.engine import early
from algate.alg.engine import effects as fx
from algate.alg.engine.early import Actor, Early
from algate.alg.engine.frames import SYN
from tests.kernel_model import Packet, frame_of
from tests.walk import Dialogue
from tests.wire import PUBLIC, REMOTE

OUT, IN = fx.OUT, fx.IN
PORT = b"PORT 10,0,0,5,19,137\r\n"
FIRST = Packet(REMOTE, PUBLIC, 20, 40000, 1, 0, SYN, 500, b"")


class Hasty(Dialogue):
    """A server that connects before it answers PORT. `told`: the events of data connections."""

    def __init__(self) -> None:
        self.told: list[str] = []
        super().__init__()

    def do(self, effects: list[fx.Effect]) -> None:
        said = [effect.event.event for effect in effects if isinstance(effect, fx.Announce)]
        self.told += [event for event in said if event.startswith("expectation-")]
        super().do(effects)

    def connects(self) -> list[fx.Effect]:
        """Its SYN meets the latest expectation, which holds it if it is pending."""
        *_, made = self.kernel.expectations.values()
        if made.early:
            return []
        syn = FIRST._replace(dport=made.to.port)
        self.do(self.engine.data_syn(made.id, IN, frame_of(syn), 14, self.now))
        self.queue.clear()  # it isn't the control session's
        return self.effects

    def transfer(self, answer: bytes) -> float:
        """PORT, the connection, its use, the answer: how long the SYN waited."""
        self.say(OUT, PORT)
        ((number, made),) = self.kernel.expectations.items()
        assert made.state == fx.EXPECT_PENDING
        since = self.now
        self.connects()
        while not made.early and not any(isinstance(effect, fx.OpenExpectation) for effect in self.effects):
            self.tick(0.01)
            self.queue.clear()
        waited = self.now - since
        self.do(self.engine.expectation_used(number, self.now))
        self.say(IN, answer)
        return waited


def test_a_server_that_connects_first_waits_once() -> None:
    lab = Hasty()
    assert lab.transfer(b"200 ok\r\n") >= 0.05 - 1e-9
    assert lab.transfer(b"200 ok\r\n") == 0
    lab.tick(early.KNOWN_SECONDS + 1)
    assert lab.transfer(b"200 ok\r\n") >= 0.05 - 1e-9, "not for ever"


def test_a_server_that_refuses_afterwards_waits_again() -> None:
    lab = Hasty()
    assert lab.transfer(b"200 ok\r\n") and not lab.transfer(b"500 no\r\n")
    assert lab.transfer(b"200 ok\r\n") >= 0.05 - 1e-9


def test_a_refusal_before_the_connection_withdraws_and_is_remembered() -> None:
    lab = Hasty()
    assert lab.transfer(b"200 ok\r\n") and not lab.transfer(b"200 ok\r\n")
    lab.say(OUT, PORT)
    assert [one.early for one in lab.kernel.expectations.values()] == [True]
    lab.say(IN, b"500 no\r\n")
    assert not lab.kernel.expectations
    assert lab.transfer(b"200 ok\r\n") >= 0.05 - 1e-9


def test_a_server_that_answers_first_isnt_remembered() -> None:
    lab = Hasty()
    lab.say(OUT, PORT)
    lab.say(IN, b"200 ok\r\n")
    lab.connects()
    (number,) = lab.kernel.expectations
    lab.do(lab.engine.expectation_used(number, lab.now))
    lab.say(OUT, PORT)
    (made,) = lab.kernel.expectations.values()
    assert not made.early and lab.connects() == []


@pytest.mark.parametrize("connects_first", [True, False])
def test_what_is_told_is_told_once_and_in_the_order_in_which_it_was_agreed(connects_first: bool) -> None:
    """A peer that is known may also answer first, as any other."""
    lab = Hasty()
    lab.transfer(b"200 ok\r\n")
    lab.told.clear()
    lab.say(OUT, PORT)
    ((number, made),) = lab.kernel.expectations.items()
    assert made.early
    if connects_first:
        lab.do(lab.engine.expectation_used(number, lab.now))
    lab.say(IN, b"200 ok\r\n")
    if not connects_first:
        assert lab.kernel.expectations[number].state == fx.EXPECT_OPEN
        lab.do(lab.engine.expectation_used(number, lab.now))
    opened = [] if connects_first else ["expectation-opened"]
    assert lab.told == ["expectation-made", *opened, "expectation-used"]
    assert lab.engine.counts["peer-acted"] == 1 + connects_first


def test_a_helper_that_takes_over_goes_on_waiting_for_the_peers_word() -> None:
    lab = Hasty()
    lab.transfer(b"200 ok\r\n")
    lab.say(OUT, PORT)
    lab.restart()
    (made,) = lab.kernel.expectations.values()
    assert made.early and made.state == fx.EXPECT_PENDING
    lab.say(IN, b"500 no\r\n")
    assert not lab.kernel.expectations


def test_while_replies_are_uncertain_nobody_may_come_early() -> None:
    """A refusal may be the answer to PORT, or to the command before it: then connecting is no agreement either."""
    lab = Hasty()
    lab.transfer(b"200 ok\r\n")
    lab.say(OUT, b"NOOP\r\n")
    lab.say(OUT, PORT)
    assert [one.early for one in lab.kernel.expectations.values()] == [True]
    lab.say(IN, b"500 no\r\n")
    assert not any(one.early for one in lab.kernel.expectations.values())


def test_peers_are_told_apart_and_bounded() -> None:
    known = Early()
    for number in range(early.KNOWN_MOST + 1):
        known.agreed(Actor(1, number.to_bytes(4, "big"), 21), 0.0)
    assert not known.knows(Actor(1, bytes(4), 21), 1.0), "the oldest went"
    assert known.knows(Actor(1, bytes([0, 0, 0, 1]), 21), 1.0)
    for other in (Actor(2, bytes([0, 0, 0, 1]), 21), Actor(1, bytes([0, 0, 0, 1]), 22)):
        assert not known.knows(other, 1.0)
