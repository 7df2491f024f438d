"""How anything in algate says no to an operator.

The law of this file: exceptions that carry one clear text (what, where, what to do) and an exit code. No I/O.
"""

from __future__ import annotations

DONE, FAILED, USAGE, MISSING = 0, 1, 2, 3
"""Exit codes: done, failed, wrong usage or configuration, missing privilege or kernel feature."""


class AlgateError(Exception):
    """A refusal meant for an operator. `message` is shown as it is (escaped), `exit_code` becomes the command's."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
