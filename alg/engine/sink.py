"""What one call of the engine brings: its effects in the order in which they must be carried out.

The law of this file: a list and a moment. Order is the safety argument (see the page of this folder), so every module
of the engine appends to the one list of the call and nobody reorders it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from .effects import Effect


@final
class Sink:
    """The effects of a call. `now`: the clock value that it came with."""

    __slots__ = ("effects", "now")

    def __init__(self, now: float = 0.0) -> None:
        self.effects: Final[list[Effect]] = []
        self.now: Final = now

    def append(self, effect: Effect) -> None:
        """One more."""
        self.effects.append(effect)

    def extend(self, effects: Sequence[Effect]) -> None:
        """Some more."""
        self.effects.extend(effects)
