"""Servers that connect first and agree afterwards: their first packets wait once, not every time."""

from __future__ import annotations

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
    """A server that connects before it answers PORT."""

    def connects(self) -> list[fx.Effect]:
        """Its SYN meets the latest expectation."""
        *_, made = self.kernel.expectations.values()
        syn = FIRST._replace(dport=made.to.port)
        self.do(self.engine.data_syn(made.id, IN, frame_of(syn), 14, self.now))
        self.queue.clear()  # it isn't the control session's
        return self.effects

    def transfer(self, answer: bytes) -> float:
        """PORT, the connection, its use, the answer: how long the SYN waited."""
        self.say(OUT, PORT)
        (number,) = self.kernel.expectations
        since = self.now
        self.connects()
        while not any(isinstance(effect, fx.OpenExpectation) for effect in self.effects):
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


def test_a_server_that_answers_first_isnt_remembered() -> None:
    lab = Hasty()
    lab.say(OUT, PORT)
    lab.say(IN, b"200 ok\r\n")
    lab.connects()
    (number,) = lab.kernel.expectations
    lab.do(lab.engine.expectation_used(number, lab.now))
    lab.say(OUT, PORT)
    assert lab.connects() == []


def test_peers_are_told_apart_and_bounded() -> None:
    known = Early()
    for number in range(early.KNOWN_MOST + 1):
        known.agreed(Actor(1, number.to_bytes(4, "big"), 21), 0.0)
    assert not known.knows(Actor(1, bytes(4), 21), 1.0), "the oldest went"
    assert known.knows(Actor(1, bytes([0, 0, 0, 1]), 21), 1.0)
    for other in (Actor(2, bytes([0, 0, 0, 1]), 21), Actor(1, bytes([0, 0, 0, 1]), 22)):
        assert not known.knows(other, 1.0)
