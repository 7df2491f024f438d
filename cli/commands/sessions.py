"""`algate sessions`: conversations through the gateway."""

from __future__ import annotations

from algate.alg.rows import SessionRow
from algate.cli.listing import lister

sessions = lister(
    "sessions", SessionRow, "List the sessions through the gateway, with their state, counters and control session."
)
