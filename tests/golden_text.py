"""Golden texts: the output of a pure view, compared with a file that a person has read and approved."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def check(name: str, lines: Iterable[object]) -> None:
    """Compare with tests/golden/NAME. With ALGATE_GOLDEN=write in the environment the file is rewritten first."""
    text = "".join(f"{str(line).rstrip()}\n" for line in lines)
    path = GOLDEN / name
    if os.environ.get("ALGATE_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{path} says otherwise; ALGATE_GOLDEN=write accepts the new text"
