"""`algate expectations`: data connections that may arrive."""

from __future__ import annotations

from algate.alg.rows import ExpectationRow
from algate.cli.listing import lister

expectations = lister(
    "expectations", ExpectationRow, "List the data connections that an ALG expects: from whom, to what, until when."
)
