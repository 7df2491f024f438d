"""`algate stats`: every counter by its metric name."""

from __future__ import annotations

from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, show_object
from algate.client import Client


def stats(as_json: Json = False, as_tsv: Tsv = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Print every counter, named as in the Prometheus metrics."""
    show_object(Client(run_dir).stats(), OutputForm.of(as_json, as_tsv))
