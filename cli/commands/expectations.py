"""`algate expectations`: data connections that may arrive."""

from __future__ import annotations

from algate.alg.rows import ExpectationRow
from algate.cli import listing
from algate.cli.options import DEFAULT_RUN_DIR, AlgName, Inside, Json, Outside, Proto, RelatedTo, RunDir, State, Tsv
from algate.cli.output import Voice


def expectations(
    proto: Proto = None,
    state: State = None,
    inside: Inside = None,
    outside: Outside = None,
    alg: AlgName = None,
    related_to: RelatedTo = None,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Data connections that an ALG expects: from whom, to what, until when."""
    wanted = {
        "proto": proto,
        "state": state,
        "inside": inside,
        "outside": outside,
        "alg": alg,
        "related_to": related_to,
    }
    listing.show("expectations", ExpectationRow, run_dir, wanted, Voice.of(as_json, as_tsv))
