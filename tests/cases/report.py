"""The results of the cases, and their tables: tests/ftp-cases.md, tests/field-reports.md.

The law of this file: answers in, text out, and the process that makes the kernel's column. A case is "yes" if all its
tests passed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.cases.case import FIELD, Case, label
from tests.cases.faults import fault_of
from tests.tried import TRIED

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "tests" / "ftp-cases.md"
FIELD_DOCUMENT = ROOT / "tests" / "field-reports.md"
LONGEST = 240  # s for the whole of the kernel's column

HEAD = """# The 90 hard cases of FTP through a NAT: algate, and the kernel's helper

Written by `pytest -m cases` (the rung `cases`): each scripted dialogue went through algate and through nft masquerade
with nf_nat_ftp in the same network namespaces, under the same firewall (tcp/21 and tcp/2121 may leave, data
connections only as expected), judged by the bytes that left and by real connection attempts. Events and counters are
algate's alone and not asked of the kernel. "Nothing arrives" is how the kernel's helper treats lines that it half
understands: it drops the packet each time that TCP repeats it, so that the session hangs. The last column: a source
change under which the case's tests were seen to fail (`python -m tests.cases.faults`).

"""

FIELD_HEAD = """# What real servers, clients and links do: algate, and the kernel's helper

Written by `pytest -m cases` with the table of the 90 hard cases, in the same way: dialogues made from what people who
run such software reported in public, through algate and through nft masquerade with nf_nat_ftp, judged on the wire,
with both placements where the report holds for both.

"""

TRIED_HEAD = """
## Also tried

More dialogues of the kind, played to the plug-in with either side inside (`tests/unit/protocols/ftp/test_field.py`):
every 227 and 229 that was asked for must be rewritten and open, every PORT that was agreed to must connect. "Mended":
it failed when it was first tried. `{c}` and `{s}` are a port of the
client's and of the server's with its address, `{p}` a port alone.

| reported in | dialogue | |
| --- | --- | --- |
"""


@dataclass
class Answer:
    """One test's outcome. `broken`: it ended with an error that isn't a verdict."""

    number: int
    name: str
    yes: bool
    why: str
    broken: bool
    looks_for: str
    level: str
    kernel: str


class Book:
    """The answers of a run."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def note(self, case: Case, name: str, passed: bool, error: pytest.ExceptionInfo[BaseException] | None) -> None:
        why = "" if passed or error is None else _reason(error.value)
        broken = not passed and (error is None or not isinstance(error.value, AssertionError | OSError))
        self.answers.append(Answer(case.number, name, passed, why, broken, case.looks_for, case.level, case.kernel))

    def plain(self) -> list[dict[str, Any]]:
        """The answers as what JSON and xdist carry."""
        return [asdict(one) for one in self.answers]

    def add(self, plain: Iterable[Mapping[str, Any]]) -> None:
        """Take over what `plain` of another book gave."""
        self.answers += [Answer(**one) for one in plain]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.plain()))

    @classmethod
    def load(cls, path: Path) -> Book:
        made = cls()
        made.add(json.loads(path.read_text()))
        return made

    def of(self, number: int) -> list[Answer]:
        return [one for one in self.answers if one.number == number]


def _reason(error: BaseException) -> str:
    """The first words of a failure, without a private helper's value dump."""
    text = (str(error).splitlines() or [""])[0].removeprefix("AssertionError: ")
    return (text or type(error).__name__)[:160]


class KernelRun:
    """The same tests with `--gateway kernel`, in a separate process, at the same time as algate's."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="ag-cases-")
        self._answers = Path(self._folder.name) / "kernel.json"
        self._log = (Path(self._folder.name) / "log").open("w+")
        argv = [sys.executable, "-m", "pytest", "-m", "cases", "-q", "-p", "no:cacheprovider", "tests/cases"]
        self._process = subprocess.Popen(
            [*argv, "--gateway", "kernel", "--cases-json", str(self._answers)],
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def finish(self) -> Book:
        """Its answers. A failed test is an answer; a run without any is an AssertionError."""
        code = self._process.wait(LONGEST)
        self._log.seek(0)
        assert code in (0, 1) and self._answers.exists(), (
            f"the kernel's run ended with {code}: {self._log.read()[-2000:]}"
        )
        return Book.load(self._answers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        self._log.close()
        self._folder.cleanup()


def write_tables(algate: Book, kernel: Book) -> None:
    """Both documents, from the answers of a whole run."""
    DOCUMENT.write_text(table(algate, kernel))
    FIELD_DOCUMENT.write_text(table(algate, kernel, FIELD_HEAD, field=True))


def table(algate: Book, kernel: Book, head: str = HEAD, field: bool = False) -> str:
    """The whole document of the hard cases, or of the field reports."""
    lines = ["| case | level | looked for | algate | kernel | fails when |", "| --- | --- | --- | --- | --- | --- |"]
    numbers = sorted({one.number for one in algate.answers if (one.number > FIELD) is field})
    for number in numbers:
        answers = algate.of(number)
        looked_for = "; ".join(dict.fromkeys(one.looks_for for one in answers))
        cells = (answers[0].level, looked_for, said(answers), kernel_said(answers, kernel.of(number)))
        lines.append(f"| {label(number)} | " + " | ".join(_cell(one) for one in (*cells, fault_of(number))) + " |")
    yes = [sum(all(one.yes for one in book.of(n)) and bool(book.of(n)) for n in numbers) for book in (algate, kernel)]
    asked = sum(bool(kernel.of(number)) for number in numbers)
    count = f"{len(numbers)} cases: algate {yes[0]} yes; kernel {yes[1]} yes of {asked} that it can be asked.\n\n"
    return head + count + "\n".join(lines) + "\n" + (tried() if field else "")


def tried() -> str:
    """The dialogues that the unit rung plays to the plug-in, by where they were reported."""
    rows = [f"| {one.source} | {_cell(f'`{one.text}`')} | {one.outcome} |" for one in TRIED]
    return TRIED_HEAD + "\n".join(rows) + "\n"


def said(answers: list[Answer]) -> str:
    """yes, or the first no."""
    for one in answers:
        if not one.yes:
            return f"{'no verdict' if one.broken else 'no'}: {one.why}"
    return "yes"


def kernel_said(asked: list[Answer], answers: list[Answer]) -> str:
    """yes, no, or why it can't be tested; says so if only part can."""
    reasons = "; ".join(dict.fromkeys(one.kernel for one in asked if one.kernel))
    if not answers:
        return f"n/a: {reasons}" if reasons else "not run"
    return said(answers) + (f" (in part: {reasons})" if reasons else "")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
