"""`algate mappings`: inside end points and their public ones."""

from __future__ import annotations

from algate.alg.rows import MappingRow
from algate.cli.listing import lister

mappings = lister("mappings", MappingRow, "List inside end points and the public end points that stand for them.")
