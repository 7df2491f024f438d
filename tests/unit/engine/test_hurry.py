"""After an outage a sender repeats at once what nobody took, not when its backed-off timer runs out."""

from __future__ import annotations

import pytest

from algate.alg.engine.account import passed
from tests.dialogues import GREETING, LOGIN, ORDINARY
from tests.ftplab import FtpLab
from tests.wire import Lab


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("half", [0, 3])
def test_who_was_not_taken_is_told_which_byte(side: int, half: int) -> None:
    lab = Lab(stamps=True)
    end = lab.ends[side]
    end.stream = b"noop\n"
    lab.launch(side, end.send(0, half) if half else end.acknowledgement())
    lab.run()
    assert end.una == half
    lab.outage(0, known=True)
    lab.launch(side, end.send(half, 5))
    lab.arrive(0)
    lab.restart()
    assert end.hurried and not lab.ends[1 - side].hurried


def test_lines_that_passed_without_the_helper_are_counted() -> None:
    """The adjust record is older than they are: the byte that is missing is behind them."""
    lab = FtpLab([GREETING, *LOGIN, *ORDINARY], True)

    def uncounted() -> list[int]:
        record = lab.kernel.adjust
        sizes = passed(record.lines, lab.kernel.account.word).size if record else (0, 0)
        return [side for side in (0, 1) if sizes[side] and lab.allowed(side) > lab.ends[side].sent]

    for turn in range(200):
        if uncounted():
            break
        lab.speak(turn % 2, lab.ends[turn % 2].una, 400)
        lab.run()
    (side,) = uncounted()
    lab.kernel.reads, lab.kernel.alive = False, False
    lab.speak(side, lab.ends[side].una, 400)
    lab.arrive(0)
    lab.restart()
    assert lab.ends[side].hurried


def test_who_waits_for_nothing_is_not_told() -> None:
    lab = Lab()
    lab.inside.stream = b"noop\n"
    lab.launch(0, lab.inside.send(0, 5))
    lab.run()
    lab.restart()
    assert not lab.inside.hurried and not lab.outside.hurried
