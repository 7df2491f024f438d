"""`algate` as another user: `python -m tests.stranger UID GID VERB ...`, or `-- PROGRAM ...` for any other program.

The tree may lie where only root may go, as in /root: in a mount namespace of its own the way to it is open.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.imports import ROOT

STRANGER = 65534


def algate(gid: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """`algate ARGV` as user STRANGER of that group alone."""
    apart = ["unshare", "--mount", "--propagation", "private"]
    command = [*apart, sys.executable, "-m", "tests.stranger", str(STRANGER), str(gid), *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def open_way() -> None:
    """In place of the outermost folder that others may not enter, one with nothing but the tree in it."""
    closed = [folder for folder in ROOT.parents if not folder.stat().st_mode & 0o001]
    if not closed:
        return
    aside = tempfile.mkdtemp(dir="/run")
    mount("--bind", ROOT, aside)
    mount("-t", "tmpfs", "-o", "mode=755", "none", closed[-1])
    ROOT.mkdir(parents=True)
    mount("--move", aside, ROOT)
    os.rmdir(aside)


def main() -> None:
    from algate.cli import app

    uid, gid, *argv = sys.argv[1:]
    open_way()
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
