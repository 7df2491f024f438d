"""vagrant/matrix.sh and what README claims of kernels: no more than the table (vagrant/matrix.md) shows.

The run itself boots virtual machines for hours; by hand. Here its words are held to its page.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from algate.alg.admin import doctor

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "vagrant" / "matrix.sh"
CELLS = ("kernel", "release", "loaded", "steps", "tests", "demo")


def table() -> dict[str, dict[str, str]]:
    """The page's rows by kernel series, such as "6.1" ("newest" by its release's)."""
    found = {}
    for line in (ROOT / "vagrant" / "matrix.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == len(CELLS) and re.match(r"[\d.]+|newest", cells[0]):
            row = dict(zip(CELLS, cells, strict=True))
            series = ".".join(row["release"].split(".")[:2]) if row["kernel"] == "newest" else row["kernel"]
            found[series] = row
    return found


def test_readme_claims_no_kernel_that_does_not_load_every_program() -> None:
    rows = table()
    claim = re.search(r"own kernel, (\d+\.\d+), or a newer one \(\[what was tried\]", (ROOT / "README.md").read_text())
    assert claim is not None and claim[1] in rows
    least = tuple(map(int, claim[1].split(".")))
    assert least == doctor.KERNEL_MIN
    for series, row in rows.items():
        if tuple(map(int, series.split("."))) >= least:
            assert row["loaded"].startswith("all "), series


def test_the_table_says_when_and_of_what() -> None:
    page = (ROOT / "vagrant" / "matrix.md").read_text()
    assert re.search(r"^Run on \d{4}-\d\d-\d\d at commit [0-9a-f]{7,}", page, re.M)


def test_an_unknown_kernel_is_a_matter_of_usage() -> None:
    done = subprocess.run([SCRIPT, "6.1", "4.4"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "matrix.sh: kernel '4.4' is not one of 5.10, 6.1, 6.12, newest\n"
