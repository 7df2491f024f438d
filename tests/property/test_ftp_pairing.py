"""Against a server that omits, doubles, delays, reorders and invents replies: nothing opens that wasn't asked for and
agreed to, and whatever an honest client and server agreed on is rewritten and connects."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, control
from tests.adversary import Mischief, Step, Truth, learn, told

INSIDE, OUTSIDE = b"10,0,0,5", b"198,51,100,2"
PLAIN = (
    Step(b"NOOP\r\n", b"200 Fine.\r\n"),
    Step(b"TYPE I\r\n", b"200 Binary.\r\n"),
    Step(b"CWD d\r\n", b"250 There.\r\n"),
    Step(b"DELE f\r\n", b"550 No.\r\n"),
    Step(b"SYST\r\n", b"215 UNIX\r\n"),
    Step(b"REST 0\r\n", b"350 Go on.\r\n"),
    Step(b"LIST\r\n", b"226 Sent.\r\n", b"150 Here.\r\n"),
    Step(b"RETR f\r\n", b"550 None.\r\n"),
    Step(b"RETR f\r\n", b"425 No connection.\r\n"),
    Step(b"PASS p\r\n", b"230 In.\r\n"),
    Step(b"XYZZY\r\n", b"500 What?\r\n"),
)
STRAYS = (b"226 Again.\r\n", b"250 Changed.\r\n", b"230 In.\r\n", b"331 Who?\r\n", b"150 Go.\r\n", b"211 End\r\n")
NUMBERS = st.integers(1024, 65535)
MISCHIEF = st.sampled_from(Mischief)
IN_ORDER = st.sampled_from([one for one in Mischief if one is not Mischief.SWAPPED])
SETTINGS = settings(max_examples=400, deadline=None)


def six(ip: bytes, port: int) -> bytes:
    return ip + b",%d,%d" % (port >> 8, port & 255)


def port_step(client: bytes, port: int, granted: bool, mischief: Mischief = Mischief.HONEST) -> Step:
    reply = b"200 Done.\r\n" if granted else b"500 Not that.\r\n"
    return Step(b"PORT " + six(client, port) + b"\r\n", reply, port=port, mischief=mischief)


def passive_step(server: bytes, port: int, asked: bytes, extended: bool, mischief: Mischief = Mischief.HONEST) -> Step:
    reply = b"229 Here (|||%d|)\r\n" % port if extended else b"227 Here (" + six(server, port) + b")\r\n"
    return Step(asked + b"\r\n", reply, port=port, mischief=mischief)


@st.composite
def scripts(draw: st.DrawFn, client_inside: bool, mischief: st.SearchStrategy[Mischief]) -> list[Step]:
    """Exchanges of a client that waits, each with something that goes wrong, all with different ports."""
    client, server = (INSIDE, OUTSIDE) if client_inside else (OUTSIDE, INSIDE)
    ports = iter(draw(st.lists(NUMBERS, min_size=10, max_size=10, unique=True)))
    made = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.integers(0, 4))
        what = draw(mischief)
        if kind == 0:
            made.append(port_step(client, next(ports), draw(st.booleans()), what))
        elif kind == 1:
            asked = draw(st.sampled_from((b"PASV", b"EPSV", b"P@SW")))
            made.append(passive_step(server, next(ports), asked, draw(st.booleans()), what))
        elif kind == 2:  # a NOOP while a transfer runs
            made.append(Step(b"RETR f\r\n", b"150 Here.\r\n"))
            made.append(Step(b"NOOP\r\n", b"200 Fine.\r\n", b"226 Sent.\r\n", mischief=what))
        else:
            plain = draw(st.sampled_from(PLAIN))
            made.append(Step(plain.command, plain.reply, plain.before, 0, what, draw(st.sampled_from(STRAYS))))
    return made


def begun(client_inside: bool) -> Stage:
    stage = Stage(PLUGIN, FtpPolicy(), control(Side.CLIENT if client_inside else Side.SERVER))
    for side, line in ((Side.SERVER, b"220 Hi.\r\n"), (Side.CLIENT, b"USER u\r\n"), (Side.SERVER, b"230 In.\r\n")):
        stage.say(side, line)
    return stage


def target(stage: Stage, tag: int) -> int:
    """The port that the speaker named."""
    expect = stage.expectations[tag].expect
    return stage.reserved[tag][0].inside.port if expect.to is None else expect.to.port


def opened(stage: Stage) -> set[int]:
    return {target(stage, tag) for tag, one in stage.expectations.items() if one.open}


def connects(stage: Stage) -> set[int]:
    """The ports that the peer reaches: open ones, and those where its connecting counts as agreement."""
    return opened(stage) | {
        target(stage, tag) for tag, one in stage.expectations.items() if one.expect.acts_after is not None
    }


def check_agreed(stage: Stage, step: Step) -> None:
    """Both sides just agreed: the peer gets there, and the outside was told how."""
    if step.names and step.reply.startswith(b"200"):
        assert step.port in connects(stage), f"{step.command!r} was agreed to"
    if step.asks:
        assert step.port in opened(stage), f"{step.reply!r} was asked for"
    outside = stage.control.inside_side.other
    assert INSIDE not in stage.heard[outside], "a private address went out"


def run(stage: Stage, steps: list[Step], clouded: bool = True) -> Truth:
    """The script through the stage; after every line, what is open is compared with what was said.

    Not `clouded`: what was agreed to must be there at once.
    """
    truth, announced = Truth(), 0
    commands = iter(steps)
    for said in told(steps):
        by_client, line, answered = said
        before = set(stage.expectations)
        learn(truth, said, next(commands) if by_client else None)
        stage.say(Side.CLIENT if by_client else Side.SERVER, line)
        for tag in set(stage.expectations) - before:
            announced += stage.expectations[tag].expect.acts_after is None and not by_client
        assert announced <= truth.asked, "more 227 and 229 counted than were asked for"
        if answered is not None and not clouded:
            check_agreed(stage, answered)
        for port in opened(stage) & set(truth.named):
            assert truth.named[port], f"PORT {port} is open, and no 200 was said since"
        assert not stage.undecided[Side.SERVER]
    return truth


@SETTINGS
@given(st.data(), st.booleans())
def test_nothing_opens_that_was_not_agreed_to(data: st.DataObject, client_inside: bool) -> None:
    """Any mischief, as often as the server likes."""
    run(begun(client_inside), data.draw(scripts(client_inside, MISCHIEF)))


@SETTINGS
@given(st.data(), st.booleans(), st.integers(0, 6), IN_ORDER)
def test_what_the_server_refused_is_shut(data: st.DataObject, client_inside: bool, at: int, mischief: Mischief) -> None:
    """One thing goes wrong, at any place: a refused PORT isn't open after the server has said so.

    Except for swapped replies: whoever hears PORT, NOOP, 200, 500 can't know that the 200 was meant for the NOOP.
    """
    steps = data.draw(scripts(client_inside, st.just(Mischief.HONEST)))
    wrong = steps[at % len(steps)]
    stray = data.draw(st.sampled_from(STRAYS))
    steps[at % len(steps)] = Step(wrong.command, wrong.reply, wrong.before, wrong.port, mischief, stray)
    stage = begun(client_inside)
    truth = run(stage, steps)
    assert not opened(stage) & truth.refused - truth.agreed


def honest(step: Step) -> Step:
    refusal = step.reply[:1] in b"45" and step.mischief is Mischief.AGAIN
    return replace(step, mischief=Mischief.HONEST) if step.names or step.asks or refusal else step


@SETTINGS
@given(st.data(), st.booleans())
def test_whatever_was_agreed_to_connects(data: st.DataObject, client_inside: bool) -> None:
    """Commands that name or ask for a connection get their answers, whatever happens to others.

    Except for a refusal repeated after a PORT: the client takes it for the answer too, so they don't agree.
    """
    steps = data.draw(scripts(client_inside, MISCHIEF))
    run(begun(client_inside), [honest(one) for one in steps], clouded=False)
