"""How anything in algate says no to an operator: one class for kernel side and helper alike.

The law of this file: names only; the class lives where both sides may import it.
"""

from __future__ import annotations

from algate.bpf.errors import FAILED, USAGE, AlgateError

DONE, MISSING = 0, 3
"""Exit codes beside FAILED (1) and USAGE (2): done; missing privilege, package or kernel feature."""

__all__ = ["DONE", "FAILED", "MISSING", "USAGE", "AlgateError"]
