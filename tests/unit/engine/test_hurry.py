"""After an outage a sender repeats at once what nobody took, not when its backed-off timer runs out."""

from __future__ import annotations

import pytest

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


def test_who_waits_for_nothing_is_not_told() -> None:
    lab = Lab()
    lab.inside.stream = b"noop\n"
    lab.launch(0, lab.inside.send(0, 5))
    lab.run()
    lab.restart()
    assert not lab.inside.hurried and not lab.outside.hurried
