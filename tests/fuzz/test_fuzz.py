"""The corpus passes, and a few seconds of fuzzing find nothing. `deploy/dev.sh fuzz 600` looks longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import CORPUS, NAMES, WEIGHTS, run
from tests.fuzz.targets import TARGETS

SECONDS = 2  # times a target's weight


def test_every_target_is_run() -> None:
    assert set(TARGETS) == set(NAMES) == {folder.name for folder in CORPUS.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_holds(name: str) -> None:
    """Replay the corpus, including everything that once crashed."""
    files = sorted(Path(CORPUS / name).iterdir())
    assert files
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_new_is_found(name: str) -> None:
    assert run(name, SECONDS * WEIGHTS.get(name, 1), seed=1)


def test_a_crash_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The fuzzer's own test: an input that fails ends the run."""
    folder = tmp_path / "corpus" / "grammar"
    folder.mkdir(parents=True)
    monkeypatch.setattr("tests.fuzz.__main__.CORPUS", folder.parent)
    monkeypatch.setattr("tests.fuzz.__main__.ARTIFACTS", tmp_path)
    monkeypatch.setenv("ALGATE_FUZZ_PLANTED", "1")
    assert not run("grammar", 5, seed=1)
    assert "planted" in capfd.readouterr().out
