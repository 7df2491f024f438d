"""Why the kernel refuses a perf event, in words that say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from algate.bpf import perf
from algate.bpf.errors import UNSUPPORTED, AlgateError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "level", "told"),
    [
        (errno.EACCES, "4", "kernel.perf_event_paranoid is 4: run `sysctl"),
        (errno.EACCES, "2", "CAP_PERFMON is needed"),
        (errno.EPERM, "", "CAP_PERFMON is needed"),
    ],
)
def test_a_refusal_says_what_to_do(
    code: int, level: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(perf, "open_output", refuse)
    monkeypatch.setattr(perf, "PARANOID", tmp_path / "level")
    if level:
        (tmp_path / "level").write_text(level + "\n")
    assert told in (perf.refusal() or "")
    with pytest.raises(AlgateError) as failed:
        perf.need()
    assert failed.value.exit_code == UNSUPPORTED


def test_a_machine_whose_call_has_no_known_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert "pdp11" in (perf.refusal() or "")


def test_what_was_opened_to_ask_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = os.pipe()
    monkeypatch.setattr(perf, "open_output", lambda _: ours)
    assert perf.refusal() is None
    with pytest.raises(OSError):
        os.fstat(ours)
    os.close(other)
