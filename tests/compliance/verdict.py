"""Rows of the compliance table, and what a run says about each.

The law of this file: the table and its rules; no packet, no gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MUST, SHOULD, MAY = "MUST", "SHOULD", "MAY"


class No(Exception):  # noqa: N818 - an answer, not an error
    """The gateway doesn't do it: what was seen."""


@dataclass(frozen=True)
class Requirement:
    """One row. `config`: its group. `alone`: it changes what other rows rely on. `excuse`: why a MUST may say no."""

    id: str
    level: str
    text: str
    scenario: Callable[[Any], Awaitable[str | None]]
    config: str = "default"
    alone: bool = False
    excuse: str = ""

    @property
    def must(self) -> bool:
        return self.level.startswith("MUST")


@dataclass
class Answer:
    """What one gateway did in one row. `broken`: the scenario itself failed."""

    yes: bool
    why: str = ""
    broken: bool = False
    seconds: float = 0.0


ROWS: list[Requirement] = []


def requirement(
    number: str, level: str, text: str, *, config: str = "default", alone: bool = False, excuse: str = ""
) -> Callable[[Callable[[Any], Awaitable[str | None]]], Callable[[Any], Awaitable[str | None]]]:
    """Declare the scenario of a row. It returns a remark for the table, or nothing, or raises No."""

    def declare(scenario: Callable[[Any], Awaitable[str | None]]) -> Callable[[Any], Awaitable[str | None]]:
        ROWS.append(Requirement(number, level, text, scenario, config, alone, excuse))
        return scenario

    return declare


def need(condition: object, why: str) -> None:
    """No(why) unless the condition holds."""
    if not condition:
        raise No(why)


def fault(row: Requirement, algate: Answer, kernel: Answer) -> str:
    """How a row's outcome breaks the project's promise; empty if it doesn't."""
    if algate.broken or kernel.broken:
        return f"the scenario failed: {algate.why if algate.broken else 'kernel: ' + kernel.why}"
    if algate.yes or row.excuse:
        return ""
    if row.must:
        return f"{row.level} is not met: {algate.why}"
    if row.level != MAY and kernel.yes:
        return f"{row.level} is not met, and the kernel's NAT does it: {algate.why}"
    return ""
