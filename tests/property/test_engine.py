"""Whatever TCP does to a stream, the receiver gets its perfect rewriting, and each end's own numbers stay right."""

from __future__ import annotations

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from algate.alg.engine import effects as fx
from algate.alg.engine.limits import Limits
from tests.toy import ANSWER, rewrite
from tests.wire import Lab

LINES = st.one_of(
    st.just(b"noop\n"),
    st.just(b"same abc\n"),
    st.integers(0, 200).map(lambda n: b"grow %03d\n" % n),
    st.integers(0, 150).map(lambda n: b"shrink" + b"." * n + b"\n"),
    st.integers(0, 400).map(lambda n: b"x" * n + b"\n"),
    st.just(b"\n"),
)
CLIENT_LINES = st.one_of(LINES, st.just(b"expect\n"))
DENYING = st.one_of(LINES, st.integers(0, 30).map(lambda n: b"deny" + b"!" * n + b"\n"))
MSS = st.tuples(st.integers(88, 300), st.integers(88, 300)) | st.just((1460, 1460))
ISN = st.tuples(*[st.sampled_from([0, 1000, 0x7FFF_FFF0, 0xFFFF_FF00, 0xFFFF_FFFE])] * 2)
STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 2**16), st.integers(1, 400)), max_size=60
)


SIZES = (576, 600, 700, 1280, 1400, 1500)


def play(
    lab: Lab, steps: list[tuple[int, int, int, int]], restarts: bool = False, links: bool = False
) -> None:  # fmt: skip
    """Random traffic: new bytes, repetitions of any range, losses, duplicates, any order of arrival, time, restarts."""
    for what, side, where, size in steps:
        end = lab.ends[side]
        if what <= 2 and end.sent < len(end.stream):
            lab.launch(side, end.send(end.sent, size))
        elif what == 3 and end.sent > end.una:
            start = end.una + where % (end.sent - end.una)
            lab.launch(side, end.send(start, min(size, end.sent - start)))
        elif what == 4 and end.sent:
            start = where % end.sent
            lab.launch(side, end.send(start, min(size, end.sent - start)))
        elif what == 5 and lab.queue:
            lab.queue.pop(where % len(lab.queue))
        elif what == 6 and lab.queue:
            lab.queue.append(lab.queue[where % len(lab.queue)])
        elif what == 7:
            lab.tick(size / 400)
        elif what == 8 and links:
            way = lab.router if where % 3 == 0 else lab.kernel.mtu
            way[side] = SIZES[where % len(SIZES)]
        elif what == 8 and restarts:
            die(lab, size)
        elif lab.queue:
            lab.arrive(where % len(lab.queue))
        if where % 3:
            lab.think()


def die(lab: Lab, moment: int) -> None:
    """The helper dies while it carries out the effects of the next segment to the gateway; another takes over, at once
    or after a while in which the ends go on."""
    waiting = [n for n, (_, _, past) in enumerate(lab.queue) if not past]
    if waiting:
        lab.arrive(waiting[0])
    lab.kernel.stop_after = moment % 8
    lab.think()
    lab.outage(moment // 8 % 6, known=moment % 2 == 0)
    lab.restart()


def check_bounds(lab: Lab) -> None:
    assert lab.engine.memory(lab.kernel.info.session) < 3500 + 4 * 65536


def make(streams: tuple[list[bytes], list[bytes]], isn: tuple[int, int], mss: tuple[int, int], stamps: bool) -> Lab:
    lab = Lab(isn, mss, stamps)
    for end, lines in zip(lab.ends, streams, strict=True):
        end.stream = b"".join(lines)
    return lab


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CLIENT_LINES, max_size=12), st.lists(LINES, max_size=12), ISN, MSS, st.booleans(), STEPS, st.booleans())
def test_streams_arrive_perfectly_rewritten(
    client: list[bytes],
    server: list[bytes],
    isn: tuple[int, int],
    mss: tuple[int, int],
    stamps: bool,
    steps: list[tuple[int, int, int, int]],
    close: bool,
) -> None:
    lab = make((client, server), isn, mss, stamps)
    play(lab, steps)
    for end in lab.ends:
        end.fin_sent = close
    lab.finish()
    check_bounds(lab)
    assert not lab.kernel.reset
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    assert bytes(lab.inside.got) == rewrite(lab.outside.stream)
    assert lab.kernel.ever_expected == lab.inside.stream.count(b"expect\n")
    if close:
        assert lab.outside.fin_got and lab.inside.fin_got
    for end in lab.ends:
        options = 12 if stamps else 0
        assert all(size <= end.mss - options for size in end.sizes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DENYING, max_size=12), st.lists(LINES, max_size=8), ISN, STEPS)
def test_refusals_leave_the_stream_and_are_answered_once(
    client: list[bytes], server: list[bytes], isn: tuple[int, int], steps: list[tuple[int, int, int, int]]
) -> None:
    lab = make((client, server), isn, (1460, 1460), False)
    play(lab, steps)
    lab.finish()
    assert not lab.kernel.reset
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    answers = sum(line.startswith(b"deny") for line in client)
    assert lab.inside.got.count(ANSWER) == answers
    assert bytes(lab.inside.got).replace(ANSWER, b"") == rewrite(lab.outside.stream)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DENYING, max_size=8), st.lists(LINES, max_size=8), ISN, st.booleans(), STEPS)
def test_a_restart_loses_nothing_that_was_acknowledged(
    client: list[bytes], server: list[bytes], isn: tuple[int, int], stamps: bool, steps: list[tuple[int, int, int, int]]
) -> None:
    lab = make((client, server), isn, (1460, 1460), stamps)
    play(lab, steps, restarts=True)
    lab.finish()
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    answers = sum(line.startswith(b"deny") for line in client)
    assert lab.inside.got.count(ANSWER) == answers
    assert bytes(lab.inside.got).replace(ANSWER, b"") == rewrite(lab.outside.stream)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=8), st.lists(LINES, max_size=8), ISN, st.booleans(), STEPS)
@example([], [b"\n", b"noop\n"], (0, 0xFFFF_FFFE), False, [(0, 1, 0, 1), (0, 0, 1, 1), (8, 0, 0, 1)])  # decided to 0
def test_without_a_helper_lines_pass_as_they_are_or_rewritten(
    client: list[bytes], server: list[bytes], isn: tuple[int, int], stamps: bool, steps: list[tuple[int, int, int, int]]
) -> None:
    """fail = "open": what nobody could judge passes; no byte is lost that was acknowledged for the receiver."""
    lab = make((client, server), isn, (1460, 1460), stamps)
    lab.kernel.fail_open = True
    play(lab, steps, restarts=True)
    lab.finish()
    event(f"left alone {lab.kernel.untouchable}")
    for got, lines in ((lab.outside.got, client), (lab.inside.got, server)):
        rest = bytes(got)
        for line in lines:
            new = rewrite(line)
            assert rest.startswith((line, new))
            rest = rest[len(new if rest.startswith(new) else line) :]
        assert not rest


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), STEPS)
def test_no_bytes_break_the_engine(noise: bytes, steps: list[tuple[int, int, int, int]]) -> None:
    lab = Lab(limits=Limits(pending=200, held=100))
    lab.inside.stream = noise.replace(b"grow", b"")
    play(lab, steps)
    event(f"reset {lab.kernel.reset}")
    assert lab.kernel.undecided_drops == 0 or lab.kernel.reset
    assert max(map(len, lab.kernel.held.values()), default=0) <= fx.HELD_MAX


LONG = st.one_of(
    LINES,
    st.integers(0, 3000).map(lambda n: b"y" * n + b"\n"),
    st.tuples(st.integers(300, 1400), st.integers(0, 200)).map(
        lambda two: b"grow %03d" % two[1] + b"g" * two[0] + b"\n"
    ),
)
FAR = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 2**16), st.integers(1, 3000)), max_size=60
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(LONG, max_size=10), st.lists(LONG, max_size=10), ISN, st.booleans(), FAR,
    st.tuples(*[st.sampled_from(SIZES)] * 4), st.booleans(),
)  # fmt: skip
def test_links_that_change_their_size_lose_nothing(
    client: list[bytes],
    server: list[bytes],
    isn: tuple[int, int],
    stamps: bool,
    steps: list[tuple[int, int, int, int]],
    last: tuple[int, int, int, int],
    deaf: bool,
) -> None:
    """Nothing beyond the MTU of a moment is sent (the wire asserts it), and all arrives, whoever hears of it or not."""
    lab = make((client, server), isn, (1460, 1460), stamps)
    lab.outside.deaf = deaf
    for end in lab.ends:
        end.fin_sent = True
    play(lab, steps, links=True)
    lab.kernel.mtu[:], lab.router[:] = last[:2], last[2:]
    if deaf:
        lab.router[fx.IN] = 1500  # else nobody could help it
    lab.finish()
    assert not lab.kernel.reset
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    assert bytes(lab.inside.got) == rewrite(lab.outside.stream)
    event(f"cut smaller {bool(lab.engine.counts['cut-smaller'])}")
    event(f"frag-needed {bool(lab.engine.counts['frag-needed'])}")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(LONG, DENYING), max_size=8), st.lists(LONG, max_size=8), FAR, st.sampled_from(SIZES))
def test_small_links_refusals_and_restarts(
    client: list[bytes], server: list[bytes], steps: list[tuple[int, int, int, int]], size: int
) -> None:
    lab = make((client, server), (1000, 5000), (1460, 1460), False)
    lab.kernel.mtu[:] = [size, 576]
    play(lab, steps, restarts=True)
    lab.kernel.mtu[:] = [576, size]
    lab.finish()
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    assert bytes(lab.inside.got).replace(ANSWER, b"") == rewrite(lab.outside.stream)
