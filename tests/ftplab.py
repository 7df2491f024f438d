"""An FTP dialogue through engine and kernel model: two TCP ends that answer each other, over any kind of wire.

The law of this file: the ends keep cause and effect in order (no reply before its whole command has
arrived) and nothing else; which segment is sent, lost, repeated or late is the caller's choice. `expected` comes from
the textbook, never from the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from algate.alg.engine import effects as fx
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Control, Conversation, EndPoint
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from tests.textbook import Exchange, SixTextbook, Textbook
from tests.wire import INFO, INSIDE, KEY, PUBLIC, REMOTE, End, Lab

CLIENT_INSIDE, SERVER_INSIDE = INFO, fx.SessionInfo(77, KEY, PUBLIC, 4000, fx.SESSION_FORWARD)


def dotted(ip: bytes) -> str:
    return ".".join(map(str, ip))


class SamePorts:
    """A broker that gives each inside port its own public number, so that asking twice changes nothing."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def reserve(self, proto: int, public_ip: object, inside: EndPoint, count: int, even: bool) -> EndPoint | None:
        self.asked.append(inside.port)
        return EndPoint(IPv4Address(PUBLIC), inside.port)


class FtpLab(Lab):
    """A `Lab` whose plug-in is FTP and whose ends speak `dialogue`.

    `waits`: the exchanges before which the client waits for the previous answer; elsewhere it speaks ahead.
    """

    def __init__(
        self,
        dialogue: Sequence[Exchange],
        client_inside: bool,
        waits: Sequence[bool] = (),
        isn: tuple[int, int] = (1000, 5000),
        mss: tuple[int, int] = (1460, 1460),
        stamps: bool = False,
        deny: Iterable[str] = (),
        limits: Limits | None = None,
        info: fx.SessionInfo | None = None,
    ) -> None:
        """`info`: a session of IPv6, with the client inside."""
        self.policy = FtpPolicy(deny=tuple(deny), expect_timeout=1e6)
        self.client_inside = client_inside
        broker: object = SamePorts()
        info = info or (CLIENT_INSIDE if client_inside else SERVER_INSIDE)
        super().__init__(isn, mss, stamps, limits, broker, info)  # type: ignore[arg-type]
        self.kernel.lasts = self.policy.expect_timeout
        self.client, self.server = self.ends if client_inside else self.ends[::-1]
        self.textbook: Textbook | SixTextbook = Textbook(
            client_inside, dotted(INSIDE), dotted(PUBLIC), dotted(REMOTE), deny=[word.encode() for word in deny]
        )
        if info.inside6:
            public = dotted(info.public_ip) if info.public_ip else ""
            self.textbook = SixTextbook(str(IPv6Address(info.inside6)), public)
        self.to_server = self.to_client = b""
        self._client_may: list[tuple[int, int]] = [(0, 0)]  # of its stream, once this much has come to it
        self._server_may: list[tuple[int, int]] = [(0, 0)]
        for number, one in enumerate(dialogue):
            self._write(one, number >= len(waits) or waits[number])

    def _write(self, one: Exchange, waits: bool) -> None:
        heard = len(self.to_client) if waits else self._client_may[-1][1]
        told = self.textbook.exchange(one)
        self.client.stream += one.command
        self._client_may.append((len(self.client.stream), heard))
        self.to_server += told.to_server
        self.to_client += told.to_client
        if told.to_server or not one.command:
            self.server.stream += one.reply
            self._server_may.append((len(self.server.stream), len(self.to_server)))

    def _open(self, control: Control) -> Conversation | None:
        return PLUGIN.open(control, self.policy)

    def allowed(self, side: int) -> int:
        """How far that end may have spoken, given what it has heard."""
        end = self.ends[side]
        steps = self._client_may if end is self.client else self._server_may
        return max(offset for offset, heard in steps if heard <= len(end.got))

    def speak(self, side: int, start: int, size: int) -> None:
        """Make an end send new or old bytes, as far as it may speak."""
        end = self.ends[side]
        stop = min(start + size, self.allowed(side))
        if stop > start:
            self.launch(side, end.send(start, stop - start))

    def goes_on(self, end: End, number: int) -> None:
        """As in Lab, as far as it may speak."""
        side = end.direction
        if number % 2 and end.una < end.sent:
            self.speak(side, end.una, end.most)
        else:
            self.speak(side, end.sent, 1 + number)

    def finish(self) -> None:
        """Both ends speak, and repeat what isn't acknowledged, until everything is said and has arrived."""
        for _ in range(800):
            self.run()
            done = all(end.una == len(end.stream) for end in self.ends)
            if done and not self._owes() and len(self.client.got) >= len(self.to_client):
                return
            for side, end in enumerate(self.ends):
                self.speak(side, end.una, end.mss - 40)
            self.run()
            self.tick(0.4)
        raise AssertionError("the dialogue never came to an end")

    def check(self) -> None:
        """Assert that both ends got what the textbook says."""
        assert not self.kernel.reset
        assert bytes(self.server.got) == self.to_server
        assert bytes(self.client.got) == self.to_client

    @property
    def opened(self) -> list[tuple[bool, int]]:
        """Expectations that were ever open, in order: inward or not, and the port that the connection first goes to."""
        return [(one.direction == fx.IN, one.to.port) for one in self.kernel.opened]

    @property
    def agreed(self) -> list[tuple[bool, int]]:
        """What the textbook says `opened` must be."""
        return [(by_client == self.client_inside, number) for by_client, number in self.textbook.agreed]


def tell(lab: FtpLab, steps: Iterable[tuple[int, int, int, int]], faults: bool = False, restarts: bool = False) -> None:
    """Random traffic: new bytes, repetitions of any range, losses, duplicates, any order of arrival, time.

    `faults`: lost ring samples, lost and refused decisions. `restarts`: the helper dies between any two effects.
    """
    for what, side, where, size in steps:
        end = lab.ends[side]
        if what <= 3:
            lab.speak(side, end.sent, size)
        elif what == 4 and end.sent:
            start = where % end.sent
            lab.speak(side, start, min(size, end.sent - start))
        elif what == 5 and lab.queue:
            lab.queue.pop(where % len(lab.queue))
        elif what == 6 and lab.queue:
            lab.queue.append(lab.queue[where % len(lab.queue)])
        elif what == 7:
            lab.tick(size / 400)
        elif what == 8 and faults:
            fault(lab, where)
        elif what == 9 and restarts and where % 2 == 0:
            die(lab, size)
        elif lab.queue:
            lab.arrive(where % len(lab.queue))
        if where % 3:
            lab.think()


def fault(lab: FtpLab, where: int) -> None:
    """Something between the kernel and the helper goes wrong."""
    kept = lab.kernel.account.kept
    decisions = [key for key in lab.kernel.decisions if key[1:] not in kept[key[0]]]  # the helper's
    held = [at for at, one in enumerate(lab.punts) if not one.copied]
    if where % 4 == 3:
        lab.kernel.account.refused = where // 4 % 3  # no room for copies
    elif where % 3 == 0 and held:
        lab.punts.pop(held[where % len(held)])
    elif where % 3 == 1 and decisions:
        del lab.kernel.decisions[decisions[where % len(decisions)]]
    else:
        lab.kernel.refuse_decisions = where % 3


def die(lab: FtpLab, moment: int) -> None:
    """The helper dies while it handles the next segment at the gateway, and another takes over."""
    waiting = [n for n, (_, _, past) in enumerate(lab.queue) if not past]
    if waiting:
        lab.arrive(waiting[0])
    lab.kernel.stop_after = moment % 8
    lab.think()
    lab.outage(moment // 8 % 6, known=moment % 2 == 0)
    lab.now += 0.001
    lab.restart()
