"""What one call of the engine brings: its effects in the order in which they must be carried out.

The law of this file: a list and a moment. Order is the safety argument (see the page of this folder), so every module
of the engine appends to the one list of the call and nobody reorders it.
"""

from __future__ import annotations

from .effects import Effect


class Sink(list[Effect]):
    """The effects of a call. `now`: the clock value that it came with; the engine sets it before anything else."""

    __slots__ = ("now",)
    now: float
