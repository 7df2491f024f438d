"""Who may ask what: one table, which has every verb of the daemon."""

from __future__ import annotations

import os
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from algate.alg.admin import rights
from algate.alg.admin.run import handlers
from algate.alg.errors import MISSING, AlgateError

STRANGER = os.geteuid() + 4711


def test_the_table_has_every_verb_and_no_other() -> None:
    """A verb that isn't there changes, as far as rights go: say in rights.py what yours does."""
    assert set(handlers(cast(Any, MagicMock()), cast(Any, MagicMock()))) == set(rights.VERBS)


@pytest.mark.parametrize("verb", ["down", "reload", "kill", "forward-add", "forward-del", "allow-add", "allow-del",
                                  "upgrade", "give-way", "new"])  # fmt: skip
def test_what_changes_is_for_root(verb: str) -> None:
    words = verb.replace("-", " ")
    with pytest.raises(AlgateError) as refused:
        rights.judge(STRANGER, verb, {})
    assert refused.value.exit_code == MISSING
    assert str(refused.value) == f"{words} changes the gateway: run it as root (sudo algate {words} ...)"
    for uid in (0, os.geteuid()):
        rights.judge(uid, verb, {})


@pytest.mark.parametrize("verb", ["status", "stats", "sessions", "forward-list", "explain", "follow", "top"])
def test_what_reads_is_for_whoever_gets_as_far_as_the_socket(verb: str) -> None:
    rights.judge(STRANGER, verb, {})


def test_what_others_say_is_for_root() -> None:
    with pytest.raises(AlgateError, match="capture shows what others say: run it as root") as refused:
        rights.judge(STRANGER, "capture", {})
    assert refused.value.exit_code == MISSING


@pytest.mark.parametrize("verb", ["kill", "reload"])
@pytest.mark.parametrize("said", [True, 1, "yes", None])
def test_a_dry_run_only_reads(verb: str, said: Any) -> None:
    assert rights.changes(verb, {"dry_run": said}) is (said is not True)
    assert rights.changes("down", {"dry_run": True})
