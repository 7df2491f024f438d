"""A frame as a picture: SVG, by rich.

The law of this file: the picture needs nothing from elsewhere: no font is fetched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

NAME = "algate-top"  # of styles inside the picture: always the same, so that only what is shown changes


def svg(lines: Sequence[Text], width: int, title: str) -> str:
    """The picture of a screen with these lines."""
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor",
        legacy_windows=False, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    for line in lines:
        console.print(line, soft_wrap=True)
    code = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=title, code_format=code, unique_id=NAME)
