"""The bench's small C programs, so that clients and servers aren't what is measured.

The law of this file: it compiles; whoever runs a program reads its output.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from algate.alg.errors import MISSING
from algate.cli.lab.host import LabError

COMPILERS = ("cc", "gcc", "clang", "clang-14")
SOURCES = Path(__file__).parent


def build(folder: Path, name: str, *, shared: bool = False) -> Path:
    """Compile one of the C programs, or a library to preload. LabError if there is no compiler or it complains."""
    compiler = next((found for found in map(shutil.which, COMPILERS) if found), None)
    if compiler is None:
        raise LabError(f"no C compiler for the bench ({', '.join(COMPILERS)}): apt-get install clang-14", MISSING)
    program = folder / name
    argv = [compiler, "-O2", *(("-shared", "-fPIC") if shared else ()), "-o", str(program), str(SOURCES / f"{name}.c")]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{name}.c doesn't compile: {(done.stderr.strip().splitlines() or ['?'])[0]}")
    return program
