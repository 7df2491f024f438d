"""The last test of the rung: both columns are there, and the tables are written."""

from __future__ import annotations

from tests.cases.report import DOCUMENT, FIELD_DOCUMENT, FIELD_HEAD, Book, KernelRun, table


def test_the_table(book: Book, kernel_run: KernelRun | None) -> None:
    """Only a full run writes it: a run of some cases would omit the others."""
    if kernel_run is None:
        return
    kernel = kernel_run.finish()
    DOCUMENT.write_text(table(book, kernel))
    FIELD_DOCUMENT.write_text(table(book, kernel, FIELD_HEAD, field=True))
    broken = [one.name for one in kernel.answers if one.broken]
    assert not broken, f"no verdict on the kernel by {', '.join(broken)}"
