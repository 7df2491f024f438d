"""The demo's report: a table where it fits, else paragraphs that cut nothing."""

from __future__ import annotations

import io

import pytest
import rich.console

from algate.cli.commands import demo
from algate.cli.lab.demonstration import Act, DemoRow

ROW = DemoRow(
    "client", "PORT", "PORT 10,20,1,2,195,80", "PORT 198,51,100,100,195,80", 50000,
    "tcp 198.51.100.2 -> 198.51.100.100:50000 to 10.20.1.2:50000, open, 119 s",
    "198.51.100.2:20 -> 10.20.1.2:50000, 33 MB in",
    67_108_864, 210e6, True, True,
)  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80, 119, 120, 200])
def test_the_evidence_is_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    out = io.StringIO()
    made = rich.console.Console(file=out, width=columns, force_terminal=True, color_system=None)
    monkeypatch.setattr(rich.console, "Console", lambda **options: made)
    demo.show([Act(ROW, ())])
    shown = "".join(out.getvalue().replace("│", " ").split())
    if columns < demo.TABLE_WIDTH:
        for text in (ROW.inside_line, ROW.outside_line, ROW.expectation, ROW.data, "sha256 equal", "50000", "ok"):
            assert "".join(text.split()) in shown
    assert "…" not in shown
    assert ROW.inside_line.replace(" ", "") in shown


def test_a_failed_row_says_so() -> None:
    import dataclasses

    failed = dataclasses.replace(ROW, ok=False, sha256_ok=False, public_port=None, expectation="", data="")
    first, *_, expectation, data = demo.compact(failed)
    assert "FAILED" in first and "sha256 DIFFERS" in first and "public port -" in first
    assert (expectation, data) == ("  expectation   -", "  data session  -")
