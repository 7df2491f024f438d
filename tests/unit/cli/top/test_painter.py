"""What is sent of a frame: only what changed, and the screen is the frame."""

from __future__ import annotations

import pyte
import pytest
from rich.text import Text

from algate.cli.top.painter import Painter
from tests.top_states import (
    console,
    frame,
    history,
    sent,
)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_only_what_changed_is_sent_and_the_screen_is_the_frame(width: int, height: int) -> None:
    painter, terminal = Painter(console()), pyte.Screen(width, height)
    whole = 0
    for step in range(3, 8):
        made = frame(width, height, made=history(*range(step)))
        octets = sent(painter, terminal, made.lines, width, height)
        wanted = [line.plain.rstrip() for line in made.lines]
        assert [line.rstrip() for line in terminal.display] == wanted
        whole = whole or octets
    assert octets < whole / 10, "a later frame costs a fraction of the first one"
    assert sent(painter, terminal, made.lines, width, height) == 0, "nothing new: nothing sent"
    painter.forget()
    assert sent(painter, terminal, made.lines, width, height) > whole / 2


def test_wide_and_combining_characters_keep_their_place() -> None:
    painter, terminal = Painter(console()), pyte.Screen(12, 1)
    for text in ("a漢字b", "漢a字b", "e\u0301x", "漢字漢字漢字漢"):
        sent(painter, terminal, [Text(text)], 12, 1)
        again = pyte.Screen(12, 1)
        sent(Painter(console()), again, [Text(text)], 12, 1)
        assert terminal.display == again.display


def test_without_colours_the_selection_is_still_seen() -> None:
    painter = Painter(console(no_color=True))
    sent = painter.paint(frame(80, 24).lines, 80, 24)
    codes = {one for part in sent.split(b"\x1b[")[1:] if b"m" in part for one in part.partition(b"m")[0].split(b";")}
    assert b"7" in codes
    assert not any(one.startswith((b"3", b"4", b"9")) and len(one) > 1 for one in codes)
