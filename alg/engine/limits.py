"""What one control session may cost and how long the gateway waits for its ends.

The law of this file: numbers with their reasons, no behaviour.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .stream import AHEAD_MAX

SEGMENT_MAX: Final = 65535  # payload of one held segment, GSO or not


class Limits(NamedTuple):
    """Sizes in bytes, times in seconds."""

    pending: int = 65536  # without a verdict, per direction; more is a fault of the plug-in
    held: int = 8192  # of an unfinished line that the gateway acknowledges
    verdicts: int = 1024  # that wait to be carried out, per direction: refusals take their turns
    retained: int = 262144  # decided and not acknowledged, per direction, with what it takes to keep (Chunk.cost)
    answer: int = 1024  # of one refusal
    expectations_per_session: int = 64
    expectations: int = 65536
    resend_first: float = 0.3
    resend_max: float = 5.0
    give_up: float = 30.0
    answer_resends: int = 6  # where the kernel can't tell that an answer arrived
    poll_first: float = 0.05  # while something waits for an acknowledgement, doubling
    poll_max: float = 1.0
    idle: float = 4.0  # until the decisions of a silent session are looked at
    classify: bool = True  # lines of no interest pass without the helper, where a plug-in says so
    on_failure: str = "bypass"  # or "reset": a session whose plug-in failed

    @property
    def session(self) -> int:
        """Bytes that one control session may cost at most, all its Python objects included, both directions.

        A segment may come on top of `pending` and of what is kept beyond gaps. Half as much again is for the objects.
        """
        per_direction = self.pending + self.retained + 2 * SEGMENT_MAX + AHEAD_MAX + 256 * self.verdicts
        return 3 * per_direction + 256 * self.expectations_per_session
