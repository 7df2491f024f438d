"""A planted fault: a change of one text of the source, and a copy of the tree that has it.

The law of this file: the tree itself is only read. What must notice a fault, and the note that it did, is each table's
own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("alg", "bpf", "cli", "tests", "deploy", "vagrant", "pyproject.toml")
LONGEST = 170  # s for one fault


class Planted:
    """Replace `old`, which is in `file` exactly once, by `new`. Tables of such are dataclasses that also say what must
    notice it."""

    file: str
    old: str
    new: str

    @property
    def digest(self) -> str:
        """Of the change only, not of the file's place: what was shown holds while the change is the same."""
        return hashlib.sha256("\0".join((self.old, self.new)).encode()).hexdigest()[:12]

    def apply(self, root: Path) -> None:
        """Change the tree at `root`. Raises ValueError if the text isn't there exactly once."""
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands there {text.count(self.old)} times, wanted once")
        path.write_text(text.replace(self.old, self.new))


@contextmanager
def tree_with(fault: Planted) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the tree with that fault, and the environment in which Python imports algate from it."""
    with tempfile.TemporaryDirectory(prefix="ag-fault-") as name:
        tree = Path(name)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / part)
        fault.apply(tree)
        packages = tree / "packages" / "algate"
        packages.mkdir(parents=True)
        for part in ("alg", "bpf", "cli"):
            (packages / part).symlink_to(tree / part)
        yield tree, os.environ | {"PYTHONPATH": str(packages.parent), "PYTHONDONTWRITEBYTECODE": "1"}
