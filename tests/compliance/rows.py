"""All rows, in the order of the table.

The law of this file: importing the modules that declare rows; the order of imports is the order of the table.
"""

from __future__ import annotations

# isort: off
from tests.compliance import rfc4787, fragments, mtu, transfer, rfc5382, rfc5508, rfc7857, rfc6888
from tests.compliance import scenarios, firewall, lans, rfc6092, chains6, rfc6146

# isort: on
from tests.compliance.verdict import ROWS

__all__ = [
    "ROWS", "chains6", "firewall", "fragments", "lans", "mtu", "rfc4787", "rfc5382", "rfc5508", "rfc6092", "rfc6146",
    "rfc6888", "rfc7857", "scenarios", "transfer",
]  # fmt: skip
