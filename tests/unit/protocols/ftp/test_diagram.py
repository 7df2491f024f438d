"""The README's tables are the code's."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.alg.protocols.ftp import diagram
from algate.alg.protocols.ftp.dialogue import Phase

README = Path(__file__).parents[4] / "alg/README.md"


@pytest.mark.parametrize("name", ["phases", "answers", "replies"])
def test_the_readme_shows_the_tables_that_the_code_consults(name: str) -> None:
    shown = README.read_text().partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0]
    assert shown.strip() == getattr(diagram, name)(), f"paste what `python -m {diagram.__name__}` prints"


def test_every_phase_is_shown() -> None:
    assert all(phase.name.lower() in diagram.phases() for phase in Phase)
