"""On a wire that loses nothing and keeps the order nobody has to say anything twice (invariant 13), however late the
helper looks and however often the ends probe: all that was said arrives without a timer of theirs or ours."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algate.alg.engine import effects as fx
from algate.alg.engine.limits import Limits
from tests.ftplab import FtpLab
from tests.property.test_ftp_engine import CLASSIFY, ISN, spoken

STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(1, 80)), max_size=150)
REFUSED = ("stale-timestamp", "rst-out-of-window", "out-of-window", "bad-checksum", "retained-limit", "resent")


def arrive(lab: FtpLab, side: int, past: bool) -> None:
    """The first packet of that direction that is on this stretch of its way gets further."""
    waiting = [at for at, (direction, _, there) in enumerate(lab.queue) if (direction, there) == (side, past)]
    if waiting:
        lab.arrive(waiting[0])


def live(lab: FtpLab, steps: list[tuple[int, int, int]]) -> None:
    """New bytes, tail loss probes, arrivals, and a helper that takes one punt now and then."""
    last = [(0, 0), (0, 0)]
    for what, side, size in steps:
        end = lab.ends[side]
        if what <= 2:
            before = end.sent
            lab.speak(side, end.sent, size)
            last[side] = (before, end.sent - before) if end.sent > before else last[side]
        elif what == 3 and end.sent > end.una:
            lab.speak(side, *last[side])
        elif what == 4 and lab.punts:
            lab.do(lab.engine.segment(lab.punts.pop(0), lab.now))
        else:
            arrive(lab, side, bool(what & 1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.booleans(), ISN, st.booleans(), STEPS, CLASSIFY, st.integers(0, 2**16))
def test_nothing_is_dropped_that_its_sender_has_to_repeat(
    data: st.DataObject, client_inside: bool, isn: tuple[int, int], stamps: bool, steps: list[tuple[int, int, int]],
    classify: bool, seed: int,
) -> None:  # fmt: skip
    chance = Random(seed)
    said = data.draw(spoken(client_inside))
    lab = FtpLab(said, client_inside, (), isn, stamps=stamps, limits=Limits(classify=classify))
    live(lab, steps)
    while any(lab.allowed(side) > end.sent for side, end in enumerate(lab.ends)) or lab.queue or lab.punts:
        for side, end in enumerate(lab.ends):
            lab.speak(side, end.sent, chance.randint(1, 200))
            last = end is lab.server and end.sent == len(end.stream) and not end.fin_sent
            if last:  # its FIN is right behind its last word
                end.fin_sent = True
                lab.launch(side, end.send(end.sent, 0))
        while lab.queue:
            arrive(lab, chance.randint(0, 1), chance.random() < 0.5)
        lab.think()
    lab.check()
    assert lab.opened == lab.agreed
    assert lab.client.fin_got and not any(lab.engine.counts[reason] for reason in REFUSED), lab.engine.counts
    assert lab.kernel.tracked.flags & (fx.TRACK_FIN_IN if client_inside else fx.TRACK_FIN_OUT)
