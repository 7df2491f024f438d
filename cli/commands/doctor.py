"""`algate doctor`: does this machine have what the gateway needs?"""

from __future__ import annotations

from algate.alg.errors import FAILED
from algate.alg.findings import CheckRow
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, show_lines, show_rows


def doctor(as_json: Json = False, as_tsv: Tsv = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> int:
    """Check kernel, privileges, headers and devices, and say how to fix what is missing. Exits with 1 if one fails."""
    from algate.alg.admin import doctor as checks

    voice = OutputForm.of(as_json, as_tsv)
    rows = list(checks.checks(run_dir))
    if voice is OutputForm.HUMAN:
        from algate.cli import view

        show_lines(view.checks(rows))
    else:
        show_rows(rows, CheckRow, voice)
    return 0 if all(row.ok for row in rows) else FAILED
