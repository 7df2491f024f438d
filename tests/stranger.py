"""`algate` as another user: `python -m tests.stranger UID GID VERB ...`, or `-- PROGRAM ...` for any other program.

All that may be imported later is imported before the user changes, since the tree may lie where only root may read.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

from tests.imports import ROOT

STRANGER = 65534
READY = ("rich.console", "rich.text", "rich.cells", "jsonschema", "algate.cli.view", "algate.cli.top.top")


def algate(gid: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """`algate ARGV` as user STRANGER of that group alone."""
    command = [sys.executable, "-m", "tests.stranger", str(STRANGER), str(gid), *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def main() -> None:
    from algate.cli import app

    uid, gid, *argv = sys.argv[1:]
    for name in READY:
        importlib.import_module(name)
    if argv[:1] != ["--"]:
        for verb in app.VERBS:
            app.build(verb)
        from algate.alg.admin import check, doctor, down, live, moving, run  # noqa: F401  # verbs import these late
    os.chdir("/")
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    if argv[:1] == ["--"]:
        os.execvp(argv[1], argv[1:])
    sys.argv = ["algate", *argv]
    app.main()


if __name__ == "__main__":
    main()
