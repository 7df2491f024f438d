"""What shells and man make of the shipped files: bash, zsh and fish complete a line; pages render without warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPLETION = ROOT / "deploy/completion"
BIN = Path(sys.executable).parent


def told(*argv: str) -> str:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_bash_completes() -> None:
    script = f"""
        source {COMPLETION}/bash/algate
        COMP_WORDS=(algate forward "") COMP_CWORD=2
        _algate_completion algate
        echo "${{COMPREPLY[@]}}"
        complete -p algate
    """
    offered, how = told("bash", "--norc", "-c", script).splitlines()
    assert offered == "list add del"
    assert "_algate_completion" in how


def test_zsh_reads_its_script() -> None:
    told("zsh", "-f", "-n", str(COMPLETION / "zsh/_algate"))
    assert (COMPLETION / "zsh/_algate").read_text().startswith("#compdef algate\n")


def test_fish_completes() -> None:
    script = f"source {COMPLETION}/fish/algate.fish; complete -C 'algate forward '"
    assert {line.partition("\t")[0] for line in told("fish", "--no-config", "-c", script).splitlines()} == {
        "list",
        "add",
        "del",
    }


@pytest.mark.parametrize("page", ["algate.8", "algate.toml.5"])
def test_man_pages_have_no_errors(page: str) -> None:
    made = told("groff", "-man", "-Tutf8", "-ww", str(ROOT / "deploy/man" / page))
    assert len(made.splitlines()) > 100
