"""The checks themselves: they see a planted error, and a rung that proves nothing counts as failed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bash(script: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"set -euo pipefail; source {ROOT}/deploy/rungs.sh; {script}"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the project's settings and one clean file per folder."""
    for name in ("pyproject.toml", ".clang-format", "deploy", "tests/conftest.py"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    for folder in ("bpf", "alg", "cli", "tests/unit", "tests/packaging", "vagrant", ".ci"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "clean.py").write_text('"""Clean."""\n')
    (tmp_path / "bpf/clean.h").write_text("static int one = 1;\n")
    for script in ("tests/packaging/clean.sh", "vagrant/clean.sh", ".ci/run", ".ci/clean.sh"):
        (tmp_path / script).write_text("#!/bin/bash\nexit 0\n")
    (tmp_path / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (tmp_path / ".venv" / name).symlink_to(ROOT / ".venv" / name)
    (tmp_path / ".venv/tree/algate").mkdir(parents=True)
    for part in ("bpf", "alg", "cli"):
        (tmp_path / ".venv/tree/algate" / part).symlink_to(tmp_path / part)
    return tmp_path


def test_lint_passes_on_a_clean_tree(tree: Path) -> None:
    result = bash("run_lint", tree)
    assert result.returncode == 0, result.stdout + result.stderr


PLANTED = (
    ("bpf/bad.py", 'WRONG: int = "text"\n', "bpf/bad.py:1: error: Incompatible types"),
    ("alg/bad.py", "def untyped(value):\n    return value\n", "alg/bad.py:1: error: Function is missing a type"),
    ("cli/bad.py", "from algate.alg import nothing\n", 'Module "algate.alg" has no attribute "nothing"'),
    ("tests/unit/bad.py", "def check() -> int:\n    return None\n", "tests/unit/bad.py:2: error: Incompatible return"),
    ("alg/unused.py", "import os\n", "F401"),
    ("alg/untidy.py", "WRONG  =  1\n", "--> alg/untidy.py:1"),
    ("bpf/bad.c", "int  main( ) { return 0; }\n", "bpf/bad.c:1:"),
    ("vagrant/bad.sh", "#!/bin/bash\nrm $1/*\n", "SC2086"),
    (".ci/bad.sh", "#!/bin/bash\nread line\n", "SC2162"),
)


def test_lint_sees_every_planted_error(tree: Path) -> None:
    for path, content, _ in PLANTED:
        (tree / path).write_text(content)
    result = bash("run_lint", tree)
    assert result.returncode != 0
    assert [said for _, _, said in PLANTED if said not in result.stdout + result.stderr] == []


@pytest.mark.parametrize("check", ["ruff format", "ruff check", "mypy", "clang-format-14", "shellcheck"])
def test_lint_fails_if_one_check_alone_does(tree: Path, check: str) -> None:
    """A check's exit code counts even when all others pass, and even in a pipe."""
    text = (tree / "deploy/rungs.sh").read_text()
    lint = text[text.index("run_lint() {") :].split("\n}\n")[0]
    checks = [line for line in lint.splitlines() if "|| code=1" in line]
    assert len(checks) == 5
    words = check.split()[0]
    (line,) = [line for line in checks if check in line] if " " in check else [line for line in checks if words in line]
    alone = line.replace(".venv/bin/ruff", "false").replace(".venv/bin/mypy", "false").replace("shellcheck", "false")
    result = bash(f"code=0; {alone.replace('clang-format-14', 'false').strip()}; echo $code", tree)
    assert result.stdout.splitlines()[-1] == "1"


PASSING = "def test_one() -> None:\n    assert True\n"
SKIPPING = "import pytest\n\n\ndef test_one() -> None:\n    pytest.skip('no such package')\n"
FAILING = "def test_one() -> None:\n    assert 1 == 2\n"


@pytest.mark.parametrize(
    ("content", "code", "said", "total"),
    [
        (PASSING, 0, "ok", "total: 1 passed, 0 failed"),
        (FAILING, 1, "exit code 1", "total: 0 passed, 1 failed"),
        (SKIPPING, 1, "skipped, which counts as failure here: no such package", "total: 0 passed, 1 failed"),
        ("", 1, "exit code 5", "total: 0 passed, 1 failed"),
        ("import nothing_at_all\n", 1, "exit code 2", "total: 0 passed, 1 failed"),
    ],
)
def test_rung(tree: Path, content: str, code: int, said: str, total: str) -> None:
    (tree / "tests/unit/test_planted.py").write_text(content)
    result = bash("tests unit 30 0; summary 0", tree)
    assert result.returncode == code
    assert said in result.stdout
    assert result.stdout.splitlines()[-1] == total


@pytest.mark.parametrize(("way", "joined"), [("rung", ""), ("beside", "joined unit-c; ")])
def test_a_rung_on_the_wrong_build_proves_nothing(tree: Path, way: str, joined: str) -> None:
    (tree / "tests/unit/test_planted.py").write_text(PASSING)
    result = bash(f"pytest_rung {way} unit-c unit .venv/bin/python 30 0 --build compiled; {joined}summary 0", tree)
    assert "the pure build of algate is what is imported here, not the compiled one" in result.stdout
    assert result.returncode == 1 and result.stdout.splitlines()[-1] == "total: 0 passed, 1 failed"


def test_rung_without_end_is_ended() -> None:
    result = bash("rung sleepy 1 sleep 60; summary 0")
    assert result.returncode == 1
    assert "ended after three times its budget" in result.stdout


def test_later_rungs_run_after_a_failed_one() -> None:
    result = bash("rung first 5 false; rung second 5 echo heard; summary 0")
    assert result.returncode == 1
    assert "heard" in result.stdout


@pytest.mark.parametrize(
    ("command", "said", "code"),
    [
        ("echo '5 passed in 0.1s'", "ok", 0),
        ("echo '5 passed, 1 skipped in 0.1s'", "1 tests skipped", 1),
        ("exit 7", "exit code 7", 1),
        ("kill -9 $$", "exit code 137", 1),
        ("sleep 60", "ended after three times its budget", 1),
    ],
)
def test_a_rung_beside_another_counts_as_one(command: str, said: str, code: int) -> None:
    """Its output comes when it is joined, after that of the rung that it ran beside."""
    begin = f"""beside first 1 bash -c "echo heard; {command}"; rung second 5 echo between; joined first; summary 0"""
    result = bash(begin.replace("$$", "\\$\\$"))
    assert result.returncode == code
    assert result.stdout.index("between") < result.stdout.index("heard")
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("first ")]
    assert row.endswith(said)
    assert "2 rungs" in result.stdout


def test_rungs_beside_each_other_run_at_once() -> None:
    started = time.monotonic()
    result = bash("beside first 9 sleep 3; rung second 9 sleep 3; joined first; summary 0")
    assert result.returncode == 0
    assert time.monotonic() - started < 5.8


def test_summary_adds_up() -> None:
    lines = "echo '== 3 failed, 4 passed, 1 error in 2.00s =='; exit 1"
    result = bash(f"""rung a 5 bash -c "echo '5 passed in 0.1s'"; rung b 5 bash -c "{lines}"; summary 0""")
    assert result.stdout.splitlines()[-1] == "total: 9 passed, 4 failed"


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (2, 1)])
def test_a_whole_ladder_as_a_rung(failed: int, code: int) -> None:
    """As CI runs it, in its own root: the counts in the last line are those of all rungs."""
    lines = f"echo '== 4 passed in 2.00s =='; echo 'total: 9 passed, {failed} failed'; exit {code}"
    result = bash(f"""rung test 5 bash -c "{lines}"; summary 0""")
    assert result.returncode == code
    assert result.stdout.splitlines()[-1] == f"total: 9 passed, {failed} failed"


@pytest.mark.parametrize("verb", ["", "dance", "setup moon", "test --most"])
def test_wrong_usage_is_code_2(verb: str) -> None:
    result = subprocess.run(["deploy/dev.sh", *verb.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr


@pytest.mark.parametrize("script", ["deploy/dev.sh setup", ".ci/empty-root.sh true"])
def test_not_root_is_one_line_and_code_3(script: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("deploy", ".ci"):
            shutil.copytree(ROOT / part, folder / part)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *f"{folder}/{script}".split()]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert result.returncode == 3, result.stderr
    assert result.stderr.count("\n") == 1
    assert "not root" in result.stderr
