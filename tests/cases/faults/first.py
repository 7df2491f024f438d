"""Faults for the cases FTP-1 to FTP-45."""

from __future__ import annotations

from tests.cases.faults import Fault

FAULTS: tuple[Fault, ...] = (
    Fault(
        (7,),
        "a 227 is only read with its numbers in parentheses",
        "alg/protocols/ftp/grammar.py",
        'groups = [match for match in _NUMBERS.finditer(text, 3) if match[0].count(b",") == 5]',
        "groups = [match for match in _NUMBERS.finditer(text, 3) "
        'if match[0].count(b",") == 5 and text[match.start() - 1 : match.start()] == b"("]',
    ),
)
