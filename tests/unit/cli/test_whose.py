"""`whose` and `follow --sessions` as an operator calls them: processes, with what they print where, and their codes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algate.alg.audit import record
from algate.alg.audit.syslog import message
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind
from algate.alg.rows import SessionEventRow
from tests import fake_daemon

pytestmark = pytest.mark.unit

K = TranslationKind
PUBLIC = PackedEnd(bytes([203, 0, 113, 1]), 40001)
BEFORE = PackedEnd(bytes([10, 0, 0, 9]), 4000)
AT = 1_600_000_000.0  # 2020-09-13T12:26:40Z


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    with fake_daemon.running(tmp_path):
        yield tmp_path


def algate(run_dir: Path, *argv: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "algate.cli.app", *argv], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "ALGATE_RUN_DIR": str(run_dir), **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def write(path: Path, *records: Translation) -> None:
    path.write_text("".join(record.line(one) + "\n" for one in records))


def held(kind: K = K.MAPPING_ENDED, **fields: Any) -> Translation:
    return Translation(kind, AT + 60, 6, BEFORE, PUBLIC, since=AT - 60, **fields)


def test_now(run_dir: Path) -> None:
    assert algate(run_dir, "whose", "203.0.113.1:40001") == (
        0, "203.0.113.1:40001 tcp: 10.0.0.2:40001, from 2023-11-14 22:13:20 UTC until now (live)\n", "",
    )  # fmt: skip
    code, out, _ = algate(run_dir, "whose", "203.0.113.1:40001", "--json")
    assert code == 0 and json.loads(out) == [{"schema": 1, **fake_daemon.HOLDER.as_dict()}]


def test_nobody_now(run_dir: Path) -> None:
    assert algate(run_dir, "whose", "203.0.113.1:9") == (
        1, "", "algate: nobody inside has 203.0.113.1:9 now: ask for a time by --at\n",
    )  # fmt: skip
    assert algate(run_dir, "whose", "203.0.113.1:40001", "--proto", "udp")[0] == 1
    told = algate(run_dir, "whose", "192.0.2.1:9")[2]
    assert told == "algate: 192.0.2.1:9 is no public address of this gateway\n"


def test_at_a_time_the_log_answers(run_dir: Path) -> None:
    write(run_dir / "log", held())
    told = "203.0.113.1:40001 tcp: 10.0.0.9:4000, from 2020-09-13 12:25:40 UTC until 2020-09-13 12:27:40 UTC"
    for moment in ("2020-09-13T12:26:40Z", "2020-09-13 14:26:40+02:00", "1600000000"):
        got = algate(run_dir, "whose", "203.0.113.1:40001", "--at", moment)
        assert got == (0, f"{told} (mapping-ended)\n", ""), moment
    code, out, err = algate(run_dir, "whose", "203.0.113.1:40001", "--at", "2020-09-13T13:00:00Z")
    assert (code, out) == (1, "")
    assert err.startswith("algate: nobody had 203.0.113.1:40001 then; nearest: 203.0.113.1:40001 tcp: 10.0.0.9:4000")


def test_many_sessions_of_one_end_point_are_one_line(run_dir: Path) -> None:
    remotes = [PackedEnd(bytes([198, 51, 100, last]), 443) for last in range(3)]
    write(run_dir / "log", *(held(K.SESSION_ENDED, session=remote.ip[3] + 1, remote=remote) for remote in remotes))
    code, out, _ = algate(run_dir, "whose", "203.0.113.1:40001", "--at", str(AT), "--json")
    (row,) = json.loads(out)
    assert code == 0 and (row["inside"], row["outside"]) == ("10.0.0.9:4000", None)


def test_a_log_without_a_daemon(tmp_path: Path) -> None:
    write(tmp_path / "old", held())
    asked = ("whose", "203.0.113.1:40001", "--at", str(AT))
    code, out, err = algate(tmp_path, *asked, "--log", str(tmp_path / "old"))
    assert (code, err) == (0, "") and "10.0.0.9:4000" in out
    assert algate(tmp_path, *asked)[::2] == (1, "algate: no daemon tells where the log is: give --log FILE\n")
    code, _, err = algate(tmp_path, *asked, "--log", "none")
    assert code == 1 and err.startswith("algate: no log at none: give --log FILE")


def test_a_gap_is_told(run_dir: Path) -> None:
    write(run_dir / "log", held())
    with (run_dir / "log").open("a") as log:
        log.write(record.gap(12, AT) + "\n")
    err = algate(run_dir, "whose", "203.0.113.1:40001", "--at", str(AT))[2]
    assert err == "algate: the log lacks 12 records: others may have had it too\n"


def test_a_block_names_the_host(run_dir: Path) -> None:
    block = Translation(K.BLOCK_ASSIGNED, AT, 0, BEFORE._replace(port=0), PUBLIC._replace(port=0), ports=(40000, 40511))
    write(run_dir / "log", block)
    out = algate(run_dir, "whose", "203.0.113.1:40001", "--at", str(AT + 5))[1]
    assert out.startswith("203.0.113.1:40001 any: 10.0.0.9, from 2020-09-13 12:26:40 UTC until an end not logged")


def test_the_journal_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By journalctl, here a stand-in that prints what JournalLog sends."""
    answer = fake_daemon.whose({"public": "203.0.113.1:40001"}, tmp_path)
    answer |= {"holders": [], "log": {"level": "mappings", "sinks": ["journal"], "file": None}}
    monkeypatch.setattr(fake_daemon, "whose", lambda _args, _run_dir: answer)
    at, _, told = record.line(held()).partition(" ")
    entry = json.dumps({"ALGATE_TIME": at, "MESSAGE": told})
    path = journalctl(tmp_path, "ALGATE_PUBLIC=203.0.113.1:40001", entry)
    with fake_daemon.running(tmp_path):
        code, out, err = algate(tmp_path, "whose", "203.0.113.1:40001", "--at", str(AT), PATH=path)
    assert (code, err) == (0, "") and "10.0.0.9:4000" in out


def journalctl(folder: Path, wanted: str, entry: str) -> str:
    """A stand-in that prints the entry if it is asked for that; the PATH by which it is found."""
    script = folder / "journalctl"
    script.write_text(f"#!/bin/sh\ncase \"$*\" in *'{wanted}'*) ;; *) exit 3 ;; esac\necho '{entry}'\n")
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def syslog_lines(*records: Translation) -> list[str]:
    """As Debian's rsyslog writes them: its own header, no structured data; and as RSYSLOG_SyslogProtocol23Format does.
    The one before is about another port."""
    other = message(replace(records[0], public=PUBLIC._replace(port=4000)), "gate").decode()
    plain = [f"2020-09-13T12:28:00.1+00:00 gate algate[7]: {record.line(one)}" for one in records]
    return [other, *plain, *(message(one, "gate").decode() for one in records)]


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("name", ["syslog", "syslog.1", "syslog.2.gz"])
def test_a_file_of_a_syslog_daemon_answers(tmp_path: Path, which: int, name: str) -> None:
    other, *lines = syslog_lines(held())
    text = f"<6>1 nothing of ours\n{other}\n{lines[which - 1]}\n".encode()
    (tmp_path / "syslog").touch()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    asked = ("whose", "203.0.113.1:40001", "--log", str(tmp_path / "syslog"), "--at")
    code, out, err = algate(tmp_path, *asked, str(AT), "--json")
    (row,) = json.loads(out)
    assert (code, err, row["inside"], row["since"], row["until"]) == (0, "", "10.0.0.9:4000", AT - 60, AT + 60)
    assert algate(tmp_path, *asked, str(AT + 500))[0] == 1


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    for damaged in (b"no gzip", gzip.compress(b"much " * 1000)[:40]):
        (tmp_path / "log.1.gz").write_bytes(damaged)
        code, out, err = algate(tmp_path, "whose", "203.0.113.1:1", "--at", str(AT), "--log", str(tmp_path / "log"))
        assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith("algate: can't read ")


def to_syslog(monkeypatch: pytest.MonkeyPatch, folder: Path, where: str | None = None) -> None:
    """From here on the daemon says that it logs to syslog."""
    answer = fake_daemon.whose({"public": "203.0.113.1:40001"}, folder)
    answer |= {"holders": [], "log": {"level": "mappings", "sinks": ["syslog"], "file": None, "syslog": where}}
    monkeypatch.setattr(fake_daemon, "whose", lambda _args, _run_dir: answer)


def test_journald_as_the_syslog_daemon_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It doesn't know RFC 5424, so that all but the priority is the message."""
    to_syslog(monkeypatch, tmp_path)
    entry = json.dumps({"MESSAGE": message(held(), "gate").decode().partition(">")[2]})
    path = journalctl(tmp_path, r"--grep=public=203\.0\.113\.1(:40001(?![0-9])| ports=)", entry)
    with fake_daemon.running(tmp_path):
        code, out, err = algate(tmp_path, "whose", "203.0.113.1:40001", "--at", str(AT), PATH=path)
    assert (code, err) == (0, "") and "10.0.0.9:4000" in out


def test_where_another_host_has_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_syslog(monkeypatch, tmp_path, "192.0.2.1:514")
    with fake_daemon.running(tmp_path):
        code, out, err = algate(tmp_path, "whose", "203.0.113.1:40001", "--at", str(AT))
    assert (code, out) == (1, "") and "the syslog daemon at 192.0.2.1:514: `algate whose --log FILE` there" in err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("whose", "203.0.113.1"), "'203.0.113.1' is not an address with a port"),
        (("whose", "[2001:db8:1::5]:21"), "'[2001:db8:1::5]:21' is a host's own address: IPv6 isn't translated"),
        (("whose", "203.0.113.1:1", "--at", "yesterday"), "--at: 'yesterday' is not a time: write it like 2026-"),
        (("whose", "203.0.113.1:1", "--proto", "tpc"), "--proto: 'tpc' is not one of tcp, udp, icmp"),
        (("follow", "--proto", "tcp"), "--proto: only sessions have one: add --sessions"),
    ],
)
def test_wrong_usage_in_one_line(run_dir: Path, argv: tuple[str, ...], told: str) -> None:
    code, out, err = algate(run_dir, *argv)
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1


def test_sessions_are_followed(run_dir: Path) -> None:
    code, out, err = algate(run_dir, "follow", "--sessions", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [one["event"] for one in rows] == ["session-created", "events-lost", "session-ended"]
    assert rows[2]["bytes_in"] == 1400 and rows[2]["alg"] == "ftp"
    assert err.splitlines()[0] == "algate: 7 the kernel's ring had no room" and code == 1
    only = algate(run_dir, "follow", "--sessions", "--proto", "udp", "--count", "1", "--json")
    assert only[0] == 0 and json.loads(only[1])["proto"] == "udp"


def test_followed_sessions_for_people(run_dir: Path) -> None:
    from algate.cli import view

    made, _, ended = fake_daemon.SESSION_EVENTS
    assert isinstance(made, SessionEventRow)
    assert isinstance(ended, SessionEventRow)
    assert str(view.session_event(made, "12:00")) == (
        "12:00 created udp 10.0.0.3:5353 → 203.0.113.1:5353 → 192.0.2.53:53 unreplied"
    )
    assert "ended   tcp 10.0.0.2:40001 →" in str(view.session_event(ended, "12:00"))


def test_a_configuration_alone_answers(tmp_path: Path) -> None:
    """Without a daemon, by the file of any one of several gateways: they differ in their number alone."""
    for number in (1, 2):
        file = tmp_path / f"{number}.toml"
        file.write_text(
            '[gateway]\nlan = ["l0"]\nwan = "w0"\n[nat]\naddresses = ["203.0.113.1", "203.0.113.2"]\n'
            f'port_block = 512\nport_block_hosts = ["10.0.0.0/25"]\nport_block_node = "{number}/2"\n'
        )
        ask = ("whose", "--config", str(file))
        code, out, _ = algate(tmp_path, *ask, "203.0.113.2:1600")
        assert (code, out.partition(",")[0]) == (0, "203.0.113.2:1600 any: 10.0.0.127")
        code, out, err = algate(tmp_path, *ask, "203.0.113.2:3000")
        assert (code, out) == (1, "") and "gateway 2/2 gives that block out" in err
        assert algate(tmp_path, *ask, "203.0.113.3:3000")[0] == 2
