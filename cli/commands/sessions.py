"""`algate sessions`: conversations through the gateway."""

from __future__ import annotations

from algate.alg.rows import SessionRow
from algate.cli import listing
from algate.cli.options import DEFAULT_RUN_DIR, AlgName, Inside, Json, Outside, Proto, RelatedTo, RunDir, State, Tsv
from algate.cli.output import Voice


def sessions(
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
    """Conversations through the gateway, with their state, counters and control session."""
    wanted = {
        "proto": proto,
        "state": state,
        "inside": inside,
        "outside": outside,
        "alg": alg,
        "related_to": related_to,
    }
    listing.show("sessions", SessionRow, run_dir, wanted, Voice.of(as_json, as_tsv))
