"""Recorded FTP dialogues through the whole helper: whatever TCP does, both ends get the textbook's bytes (invariant 1),
and the connections expected are the textbook's (invariant 2)."""

from __future__ import annotations

from itertools import count
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algate.alg.engine.limits import Limits
from tests.dialogues import DENIED, GREETING, LOGIN, NO_TLS, ORDINARY, QUIT, TLS, TRANSFER, eprt, epsv, pasv, port
from tests.ftplab import FtpLab, tell
from tests.textbook import Exchange
from tests.wire import INSIDE, REMOTE

IN_IP, OUT_IP = (".".join(map(str, ip)) for ip in (INSIDE, REMOTE))
ISN = st.tuples(*[st.sampled_from([0, 1000, 0x7FFF_FFF0, 0xFFFF_FF00, 0xFFFF_FFFE])] * 2)
MSS = st.tuples(st.integers(120, 400), st.integers(120, 400)) | st.just((1460, 1460))
STEPS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 1), st.integers(0, 2**16), st.integers(1, 200)), max_size=120
)
WAITS = st.lists(st.booleans(), min_size=24, max_size=24)
NAMING = (b"PORT", b"EPRT", b"PASV", b"EPSV")
CLASSIFY = st.booleans()  # whether lines of no interest pass without the helper: nobody may notice
SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def spoken(draw: st.DrawFn, client_inside: bool, secure: bool = False) -> list[Exchange]:
    """A dialogue in which all ports differ, and every line goes to an end that really exists."""
    client, server = (IN_IP, OUT_IP) if client_inside else (OUT_IP, IN_IP)
    numbers = count(draw(st.sampled_from([1024, 5000, 40000, 65400])))
    names = st.sampled_from((port, eprt)), st.sampled_from((pasv, epsv))
    made = [GREETING, *LOGIN]
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.integers(0, 5))
        if kind <= 1:
            made.append(draw(st.sampled_from(ORDINARY)))
        elif kind == 2:
            made.append(draw(st.sampled_from((TRANSFER, NO_TLS))))
        elif kind == 3:
            made.append(draw(names[0])(client, next(numbers), draw(st.booleans())))
        else:
            made.append(draw(names[1])(server, next(numbers)))
    if secure:
        made += [TLS, Exchange(draw(st.binary(max_size=300)), draw(st.binary(max_size=300)))]
    return [*made, QUIT]


@SLOW
@given(st.data(), st.booleans(), ISN, MSS, st.booleans(), STEPS, CLASSIFY)
def test_both_ends_get_the_textbook(
    data: st.DataObject,
    client_inside: bool,
    isn: tuple[int, int],
    mss: tuple[int, int],
    stamps: bool,
    steps: list[tuple[int, int, int, int]],
    classify: bool,
) -> None:
    """A client that waits for replies; any chunking, repetition, loss and order, lost samples and decisions."""
    limits = Limits(classify=classify)
    lab = FtpLab(data.draw(spoken(client_inside)), client_inside, (), isn, mss, stamps, limits=limits)
    tell(lab, steps, faults=True)
    lab.finish()
    lab.check()
    assert lab.opened == lab.agreed


@SLOW
@given(st.data(), st.booleans(), ISN, MSS, STEPS, WAITS)
def test_a_client_that_speaks_ahead(
    data: st.DataObject,
    client_inside: bool,
    isn: tuple[int, int],
    mss: tuple[int, int],
    steps: list[tuple[int, int, int, int]],
    waits: list[bool],
) -> None:
    """Any interleaving of both directions. A newer connection may withdraw an older one before that was agreed."""
    waits[1] = True  # the greeting decides whether it is FTP
    said = data.draw(spoken(client_inside))
    lab = FtpLab(said, client_inside, waits, isn, mss)
    tell(lab, steps, faults=True)
    lab.finish()
    lab.check()
    opened = lab.opened
    assert len(set(opened)) == len(opened) and set(opened) <= set(lab.agreed)
    named = [one for one in said if one.command[:4].upper() in NAMING]
    if named and named[-1].reply[:1] == b"2":  # if refused, it also ended the one before
        assert lab.agreed[-1] in opened


@SLOW
@given(st.data(), st.booleans(), ISN, STEPS, WAITS)
def test_a_restart_in_the_middle(
    data: st.DataObject,
    client_inside: bool,
    isn: tuple[int, int],
    steps: list[tuple[int, int, int, int]],
    waits: list[bool],
) -> None:
    """Another helper takes over from what is pinned, between any two effects: nothing is lost, no more is opened."""
    waits[1] = True
    lab = FtpLab(data.draw(spoken(client_inside)), client_inside, waits, isn)
    tell(lab, steps, faults=True, restarts=True)
    lab.finish()
    lab.check()
    assert set(lab.opened) <= set(lab.agreed)


@SLOW
@given(st.data(), st.booleans(), ISN, STEPS)
def test_tls_is_carried_untouched(
    data: st.DataObject, client_inside: bool, isn: tuple[int, int], steps: list[tuple[int, int, int, int]]
) -> None:
    """After 234 every byte passes, whatever it looks like."""
    lab = FtpLab(data.draw(spoken(client_inside, secure=True)), client_inside, (), isn)
    tell(lab, steps, faults=True)
    lab.finish()
    lab.check()


@SLOW
@given(st.data(), st.booleans(), ISN, STEPS, WAITS, st.booleans())
def test_denied_commands_never_arrive(
    data: st.DataObject,
    client_inside: bool,
    isn: tuple[int, int],
    steps: list[tuple[int, int, int, int]],
    waits: list[bool],
    restarts: bool,
) -> None:
    """FTP-88: the answer comes where the server's would, and both streams stay in step."""
    waits[1] = True
    told = data.draw(spoken(client_inside))
    for place in data.draw(st.lists(st.integers(1, len(told)), max_size=4)):
        told.insert(place, DENIED)
    lab = FtpLab(told, client_inside, waits, isn, deny=("DELE",))
    tell(lab, steps, faults=True, restarts=restarts)
    lab.finish()
    lab.check()


def read_ring(lab: FtpLab, side: int) -> None:
    """The helper takes the oldest sample of one of two rings, one for each direction."""
    ring = [at for at, one in enumerate(lab.punts) if one.direction == side]
    if ring:
        lab.do(lab.engine.segment(lab.punts.pop(ring[0]), lab.now))


@SLOW
@given(st.data(), st.booleans(), ISN, st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_whichever_ring_is_read_first(
    data: st.DataObject, client_inside: bool, isn: tuple[int, int], stamps: bool, ahead: bool, seed: int
) -> None:
    """Copies and held segments of one session are judged as the kernel saw them, however late the helper looks."""
    chance = Random(seed)
    waits = [at < 2 or chance.random() < 0.6 for at in range(24)] if ahead else []
    lab = FtpLab(data.draw(spoken(client_inside)), client_inside, waits, isn, stamps=stamps)
    for _ in range(300):
        move, side = chance.random(), chance.randint(0, 1)
        if move < 0.3:
            lab.speak(side, lab.ends[side].sent, chance.choice((20, 1000)))
        elif move < 0.85 and lab.queue:
            lab.arrive(0)
        else:
            read_ring(lab, side)
    lab.finish()
    lab.check()
    assert len(set(lab.opened)) == len(lab.opened) and set(lab.opened) <= set(lab.agreed)
    counts = lab.engine.counts
    assert not (counts["copy-lost"] or counts["copy-late"] or counts["copy-misplaced"] or counts["plugin-failed"])
    assert ahead or lab.opened == lab.agreed


@SLOW
@given(st.data(), st.booleans(), ISN, STEPS)
def test_a_copy_that_never_comes(
    data: st.DataObject, client_inside: bool, isn: tuple[int, int], steps: list[tuple[int, int, int, int]]
) -> None:
    """The helper lost it: nothing is sent wrong and nothing is opened that wasn't agreed to."""
    lab = FtpLab(data.draw(spoken(client_inside)), client_inside, (), isn)
    for step in steps:
        copies = [at for at, one in enumerate(lab.punts) if one.copied]
        if step[0] == 8 and copies:
            lab.punts.pop(copies[step[2] % len(copies)])
        tell(lab, [step])
    lab.finish()
    lab.check()
    assert set(lab.opened) <= set(lab.agreed)
