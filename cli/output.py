"""Data to stdout, messages to stderr; every listing as a table, as --tsv or as --json.

The law of this file: the only place that writes what a verb prints. What it looks like comes from view and text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from typing import Any

from algate.alg.answers import SCHEMA
from algate.alg.errors import USAGE, AlgateError
from algate.alg.rows import Row
from algate.cli.text import field, printable

PAGE = 10_000  # rows that a table's columns are fitted to at a time


class OutputForm(Enum):
    """For people, or for programs in one of two formats."""

    HUMAN = "human"
    JSON = "json"
    TSV = "tsv"

    @classmethod
    def of(cls, as_json: bool, as_tsv: bool = False) -> OutputForm:
        """From the two options; AlgateError (usage) if both are given."""
        if as_json and as_tsv:
            raise AlgateError("--json and --tsv exclude each other", USAGE)
        return cls.JSON if as_json else cls.TSV if as_tsv else cls.HUMAN


def say(message: str) -> None:
    """Print a message on stderr. Line ends in `message` stay, anything else unprintable is escaped."""
    sys.stderr.write("".join(printable(line) + "\n" for line in message.split("\n")))
    sys.stderr.flush()


def show_rows(rows: Iterable[Row], kind: type[Row], voice: OutputForm) -> None:
    """Print a listing as the rows come; a table's column widths are fitted a page at a time."""
    if voice is OutputForm.JSON:
        show_json(json_object(row.as_dict()) for row in rows)
    elif voice is OutputForm.TSV:
        sys.stdout.write("\t".join(kind.names()) + "\n")
        sys.stdout.writelines(tsv_line(row) for row in rows)
    else:
        from algate.cli import view

        rest = iter(rows)
        show_lines(view.listing(list(islice(rest, PAGE)), kind, width()))
        while page := list(islice(rest, PAGE)):
            show_lines(view.listing(page, kind, width())[1:])


def show_object(data: Mapping[str, Any], voice: OutputForm) -> None:
    """Print one object: as JSON, or one name and value per line."""
    if voice is OutputForm.JSON:
        sys.stdout.write(json_object(data, indent=1) + "\n")
    elif voice is OutputForm.TSV:
        sys.stdout.write("name\tvalue\n")
        sys.stdout.writelines(f"{printable(name)}\t{_cell(value)}\n" for name, value in data.items())
    else:
        from algate.cli import view

        show_lines(view.pairs(data))


def show_lines(lines: Iterable[Any]) -> None:
    """Print lines of rich text, coloured if stdout is a terminal."""
    from rich.console import Console

    console = Console(width=width(), soft_wrap=True, highlight=False, markup=False, emoji=False)
    for line in lines:
        if console.is_terminal:
            console.print(line, soft_wrap=True)
        else:  # the same text; a million lines through rich take minutes
            sys.stdout.write(f"{line}\n")


def json_object(data: Mapping[str, Any], indent: int | None = None) -> str:
    """An object of --json, with the version of its schema."""
    return json.dumps({"schema": SCHEMA, **data}, indent=indent)


def tsv_line(row: Row) -> str:
    """A row as one line of --tsv."""
    return "\t".join(field(value) for value in row.as_dict().values()) + "\n"


def width() -> int:
    """Columns of the terminal; wide enough for anything if stdout isn't one."""
    if not sys.stdout.isatty():
        from algate.cli.grid import WIDE

        return WIDE
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _cell(value: Any) -> str:
    compound = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))
    return json.dumps(value) if compound else field(value)


def show_text(pieces: Iterable[str]) -> None:
    """Print text that is made of many lines at a time."""
    sys.stdout.writelines(pieces)


def show_json(pieces: Iterable[str]) -> None:
    """Print a JSON list, an object a line; each piece is some objects, with commas and line ends between them."""
    before = "[\n"
    for piece in pieces:
        sys.stdout.write(before + piece)
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")
