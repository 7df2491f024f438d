"""The last test of the rung: both columns are there, and the tables are written down."""

from __future__ import annotations

from tests.cases.report import DOCUMENT, FIELD_DOCUMENT, FIELD_HEAD, Book, KernelRun, table


def test_the_table(book: Book, kernel_run: KernelRun | None) -> None:
    """Only a whole run writes it: a part of the cases would leave the others out."""
    if kernel_run is None:
        return
    kernel = kernel_run.finish()
    DOCUMENT.write_text(table(book, kernel))
    FIELD_DOCUMENT.write_text(table(book, kernel, FIELD_HEAD, field=True))
    broken = [one.name for one in kernel.answers if one.broken]
    assert not broken, f"no verdict on the kernel by {', '.join(broken)}"
