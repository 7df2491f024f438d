"""How algate reports an error to an operator: one class for the kernel side and the helper.

The law of this file: names only; the class is defined where both sides may import it.
"""

from __future__ import annotations

from algate.bpf.errors import FAILED, USAGE, AlgateError

DONE, MISSING = 0, 3
"""Exit codes other than FAILED (1) and USAGE (2): done; missing privilege, package or kernel feature."""

__all__ = ["DONE", "FAILED", "MISSING", "USAGE", "AlgateError"]
