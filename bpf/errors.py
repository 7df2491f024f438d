"""The error that every part of algate raises for the operator: what, where, what to do, and an exit code.

The law of this file: no import from the rest of the project, so that everything may use it.
"""

from __future__ import annotations

FAILED = 1
USAGE = 2
UNSUPPORTED = 3


class AlgateError(Exception):
    """One line that an operator can act on.

    `exit_code`: 1 failed, 2 usage, 3 missing privilege, package or kernel feature.
    """

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
