"""README's pictures of top are of the present format: `sudo .venv/bin/python -m tests.pictures` makes them anew."""

from __future__ import annotations

import html
import re

import pytest
from rich.cells import cell_len

from algate.cli.top import screen
from algate.cli.top.all import VIEWS
from algate.cli.top.choices import TopChoices
from algate.cli.top.history import History
from tests import pictures

AGAIN = "the picture is old: sudo .venv/bin/python -m tests.pictures"
HEADER = 3  # the line of titles


def present(name: str, width: int, height: int) -> list[str]:
    """A frame of that size without traffic."""
    return [line.plain.rstrip() for line in screen.render(History(), TopChoices(name), "", "", width, height).lines]


def starts(line: str, name: str) -> bool:
    """Whether the line says the view's order, filter and lines as it does now."""
    wanted = f"{name}  sort {VIEWS[name].sort}" + ("  filter none" if VIEWS[name].names else "")
    return re.match(rf"{wanted}  lines [0-9,]+-[0-9,]+ of [0-9,]+", line) is not None


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_has_a_picture_of_the_present_format(name: str) -> None:
    lines = pictures.block(pictures.README.read_text(), name).splitlines()
    now = present(name, pictures.WIDTH, pictures.LINES[name])
    assert len(lines) == len(now) == pictures.LINES[name], AGAIN
    assert lines[HEADER] == now[HEADER], AGAIN
    assert lines[-1] == now[-1], AGAIN
    assert starts(lines[HEADER - 1], name), AGAIN
    assert re.match(r"algate translating  wan \S+ \S+  lan \S+  by \S+  up ", lines[0]), AGAIN
    assert max(map(cell_len, lines)) <= pictures.WIDTH
    assert lines[HEADER + 1].strip() not in ("", VIEWS[name].empty), "of a real run, with something to see"


def test_the_svg_is_of_the_present_format() -> None:
    text = html.unescape(re.sub(r"<[^>]*>", "", pictures.PICTURE.read_text())).replace("\xa0", " ")
    now = present("sessions", pictures.SVG_WIDTH, pictures.SVG_LINES)
    assert re.sub(r"\s+", "", now[HEADER]) in re.sub(r"\s+", "", text), AGAIN
    assert re.sub(r"\s+", "", now[-1]) in re.sub(r"\s+", "", text), AGAIN
    assert "deploy/top.svg" in pictures.README.read_text()
