"""What threads read of the daemon: only the newest request counts, errands come back; and who may end sessions."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from algate.alg.admin import control
from algate.cli.top import feed as feeding
from algate.cli.top.choices import TopErrand
from algate.cli.top.feed import Feed, News, TopAnswer
from tests import fake_daemon
from tests.fake_daemon import CONTROL, SESSIONS


def until(feed: Feed, test: Callable[[News], bool], seconds: float = 20.0) -> News:
    """The first news that satisfies a test."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        select.select([feed], [], [], 0.1)
        news = feed.take()
        if test(news):
            return news
    raise AssertionError("nothing like it came")


def test_only_the_newest_request_counts(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    assert feed.take().trouble == "waiting for the daemon"
    with fake_daemon.running(tmp_path) as requests:
        feed.ask({"view": "sessions", "interval": 0.05})
        until(feed, lambda news: any(one.sessions for one in news.snapshots))
        feed.ask({"view": "hosts", "interval": 0.05})
        until(feed, lambda news: any(one.hosts for one in news.snapshots))
        for _ in range(5):
            assert all(one.view == "hosts" for one in until(feed, lambda news: bool(news.snapshots)).snapshots)
        feed.ask({"view": "hosts", "interval": 0.05})
        assert [args["view"] for verb, args in requests if verb == "top"] == ["sessions", "hosts"]
        feed.close()


def test_a_daemon_that_is_away_is_told_and_found(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.ask({"view": "sessions", "interval": 0.05})
    assert "no daemon on" in until(feed, lambda news: "retrying" in news.trouble).trouble
    with fake_daemon.running(tmp_path):
        assert until(feed, lambda news: bool(news.snapshots)).trouble == ""
    assert "retrying" in until(feed, lambda news: "retrying" in news.trouble).trouble
    feed.close()


def test_errands_come_back(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    with fake_daemon.running(tmp_path):
        kill = TopErrand("may-end", "kill", {"proto": "tcp", "dry_run": True})
        feed.run(kill)
        (answer,) = until(feed, lambda news: bool(news.answers)).answers
        assert answer.data == (3, [row for row in SESSIONS if row.proto == "tcp"])
        wrong = TopErrand("end", "sessions", {"proto": "tpc"})
        feed.run(wrong)
        (answer,) = until(feed, lambda news: bool(news.answers)).answers
        assert "the nearest is tcp" in answer.error
        feed.run(TopErrand("explain", "explain", {"subject": [CONTROL]}))
        assert until(feed, lambda news: bool(news.answers)).answers[0].data["subject"] == CONTROL
    feed.run(kill)
    (answer,) = until(feed, lambda news: bool(news.answers)).answers
    assert answer == TopAnswer(kill, error=answer.error)
    assert "no daemon" in answer.error
    feed.close()


def test_who_may_end_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, and whoever runs the daemon; the others are told before they are asked."""
    feed = Feed(tmp_path)
    assert feed.barred() == ""
    control.socket_path(tmp_path).touch()
    owner = os.stat(tmp_path).st_uid
    for user, may in ((0, True), (owner, True), (owner + 4711, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert (feed.barred() == "") == may
    assert "sudo algate top" in feed.barred()


def test_a_silent_daemon_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody answers any more is not all there is."""
    monkeypatch.setattr(feeding, "ANEW", 0.5)
    feed, asked = Feed(tmp_path), {"view": "sessions", "interval": 0.05}
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(control.socket_path(tmp_path)))
        silent.listen()
        feed.ask(asked)
        time.sleep(0.3)
        control.socket_path(tmp_path).unlink()
        with fake_daemon.running(tmp_path):
            end = time.monotonic() + 20
            while not feed.take().snapshots:
                feed.ask(asked)
                time.sleep(0.05)
                assert time.monotonic() < end
    feed.close()
