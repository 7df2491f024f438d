"""Faults for the cases FTP-46 to FTP-90."""

from __future__ import annotations

from tests.cases.faults import Fault

FAULTS: tuple[Fault, ...] = ()
