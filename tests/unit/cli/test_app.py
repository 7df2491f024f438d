"""The command line: verbs against a fake daemon, exit codes, what goes to stdout and to stderr."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from algate.alg.errors import AlgateError
from algate.alg.findings import CheckRow
from algate.alg.rows import AllowRow, ExpectationRow, ForwardRow, HostRow, MappingRow, PortRow, SessionRow
from algate.cli import app as command
from tests import fake_daemon
from tests.fake_daemon import CONTROL, EVENTS, MAPPINGS, SESSIONS


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """A fake daemon that ALGATE_RUN_DIR points to; what it was asked."""
    monkeypatch.setenv("ALGATE_RUN_DIR", str(tmp_path))
    with fake_daemon.running(tmp_path) as requests:
        yield requests


def run(*argv: str) -> Result:
    """`algate ARGV` in this process."""
    return CliRunner().invoke(command.app, list(argv))


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """Replace a module by a fake one."""
    made = types.ModuleType(name)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)
    package, _, last = name.rpartition(".")
    monkeypatch.setattr(importlib.import_module(package), last, made, raising=False)


@pytest.mark.parametrize(
    ("argv", "kind", "count"),
    [
        (("sessions",), SessionRow, 5),
        (("mappings",), MappingRow, 1),
        (("expectations",), ExpectationRow, 2),
        (("forward", "list"), ForwardRow, 1),
        (("allow", "list"), AllowRow, 1),
        (("hosts",), HostRow, 2),
        (("ports",), PortRow, 2),
    ],
)
def test_each_listing_has_three_voices(daemon: Any, argv: tuple[str, ...], kind: Any, count: int) -> None:
    objects = json.loads(run(*argv, "--json").stdout)
    assert [list(one) for one in objects] == [["schema", *kind.names()]] * count
    tsv = [line.split("\t") for line in run(*argv, "--tsv").stdout.splitlines()]
    assert tsv[0] == list(kind.names())
    assert [len(line) for line in tsv] == [len(kind.names())] * (count + 1)
    human = run(*argv)
    assert human.exit_code == 0
    assert len(human.stdout.splitlines()) == count + 1
    assert human.stderr == ""


def test_filters_reach_the_daemon(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    argv = ["sessions", "--json", "--proto", "tcp", "--inside", "10.0.0.2:40002", "--related-to", CONTROL]
    assert [one["id"] for one in json.loads(run(*argv).stdout)] == [SESSIONS[1].id]
    asked = {"proto": "tcp", "inside": "10.0.0.2:40002", "related_to": CONTROL, "packed": True}
    assert daemon == [("sessions", asked)]


def test_hosts_and_ports_for_people(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    hosts = run(
        "hosts", "--inside", "10.0.0.0/24", "--sort", "refused", "--limit", "5", "--reverse"
    ).stdout.splitlines()
    assert hosts[0].split() == ["INSIDE", "SESSIONS", "PORTS", "OUT", "IN", "NEW/S", "REFUSED", "OLDEST"]
    assert hosts[2].split() == ["10.0.0.3", "500/500", "480", "0bit/s", "100bit/s", "21.0", "1.7k", "1h00"]
    ports = run("ports", "--proto", "tcp").stdout.splitlines()
    assert ports[1].split() == ["203.0.113.1", "tcp", "51000", "12512", "900", "100", "79.2%", "2h00"]
    assert [line.split()[-1] for line in run("ports").stdout.splitlines()[1:]] == ["2h00", "-"]
    assert daemon[:2] == [
        ("hosts", {"inside": "10.0.0.0/24", "limit": 5, "sort": "refused", "reverse": True}),
        ("ports", {"proto": "tcp"}),
    ]


def test_an_empty_listing_is_an_empty_list(daemon: Any) -> None:
    made = run("sessions", "--json", "--inside", "192.0.2.1")
    assert (made.exit_code, json.loads(made.stdout)) == (0, [])


def test_a_filter_that_can_match_nothing_is_told(daemon: Any) -> None:
    made = run("mappings", "--json", "--state", "open")
    assert (made.exit_code, json.loads(made.stdout)) == (0, [])
    assert made.stderr == "algate: mappings have no state: --state matches none of them\n"


@pytest.mark.parametrize("verb", ["status", "stats"])
def test_objects(daemon: Any, verb: str) -> None:
    data = json.loads(run(verb, "--json").stdout)
    assert data.pop("schema") == 1
    assert len(run(verb).stdout.splitlines()) == len(data) - (verb == "status")  # sessions of max_sessions is one line
    assert len(run(verb, "--tsv").stdout.splitlines()) == len(data) + 1


def test_status_has_units_and_says_what_to_do(daemon: Any) -> None:
    """Times and sizes for people, plain numbers for programs."""
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in run("status").stdout.splitlines()}
    assert (lines["uptime"], lines["control_memory"], lines["sessions"]) == ("1h01", "12KiB", "5 of 1048576")
    assert lines["ipv6"] == "passes"
    assert lines["plugins"] == "ftp: watches tcp/21 (algate)"
    assert lines["drops"] == "41 unsolicited: nobody inside wants it -> add a [[forward]]"
    assert lines["ha"] == "a leads, in step; epoch 3; 12 sessions told; 0 changes wait"
    assert lines["unconfirmed"] == "timeouts.udp: undone in 42s unless you `algate reload --confirm`"
    said = json.loads(run("status", "--json").stdout)
    assert (said["uptime"], said["control_memory"]) == (3661.0, 12345)


def test_settings_say_where_each_key_comes_from(daemon: Any) -> None:
    lines = [line.split() for line in run("status", "--settings").stdout.splitlines()]
    assert lines == [
        ["KEY", "VALUE", "FROM"],
        ["nat.ports", '"1024-65535"', "default"],
        ["timeouts.udp", "60", "/etc/algate/config.toml:12"],
        ["gateway.lan", '["eth1"]', "command", "line"],
        ["forward", "tcp/8080", "{", "to", "=", '"10.0.0.9:80"', "}", "forward", "add"],
    ]
    said = json.loads(run("status", "--settings", "--json").stdout)
    assert said[1] == {"schema": 1, "key": "timeouts.udp", "value": 60, "origin": "file",
                       "file": "/etc/algate/config.toml", "line": 12}  # fmt: skip


def test_follow_writes_json_lines_where_no_terminal_reads(daemon: Any) -> None:
    made = run("follow", "--count", "2")
    assert made.exit_code == 0
    assert [json.loads(line) for line in made.stdout.splitlines()] == [{"schema": 1, **one.as_dict()} for one in EVENTS]
    ended = run("follow", "--json")
    assert (ended.exit_code, "has stopped" in ended.stderr) == (1, True)
    assert run("follow", "--tsv").stdout.splitlines()[0] == "time\tevent\tcontrol\talg\tdetail\treason\tfields"


def test_forward_add_and_del(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    made = run("forward", "add", "tcp", "2121", "10.0.0.9:21", "--from", "192.0.2.0/24", "--alg", "ftp", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)[0]["to"] == "10.0.0.9:21"
    sent = {"proto": "tcp", "wan_port": "2121", "to": "10.0.0.9:21", "from": ["192.0.2.0/24"], "alg": "ftp"}
    assert daemon[-1] == ("forward-add", sent)
    gone = run("forward", "del", "tcp", "7")
    assert gone.exit_code == 1
    assert gone.stderr == "algate: no forward of tcp port 7: see `algate forward list`\n"


def test_allow_add_and_del(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    made = run("allow", "add", "tcp", "9000", "[2001:db8:1::5]", "--from", "2001:db8:9::/48", "--json")
    assert made.exit_code == 0
    sent = {"proto": "tcp", "port": "9000", "to": "2001:db8:1::5", "from": ["2001:db8:9::/48"]}
    assert daemon[-1] == ("allow-add", sent)
    assert json.loads(made.stdout)[0]["to"] == "2001:db8:1::5"
    assert made.stderr == "algate: tcp port 9000 of 2001:db8:1::5 may be opened from 2001:db8:9::/48 now\n"
    run("allow", "add", "tcp", "9000", "[2001:db8:1::5]:9000")  # not half of it: the daemon refuses it as it is
    assert daemon[-1][1]["to"] == "[2001:db8:1::5]:9000"
    gone = run("allow", "del", "tcp", "7", "2001:db8:1::5")
    assert (gone.exit_code, daemon[-1][1]) == (1, {"proto": "tcp", "port": "7", "to": "2001:db8:1::5"})
    assert gone.stderr == "algate: tcp port 7 of 2001:db8:1::5 isn't let in: see `algate allow list`\n"


def test_allow_save(daemon: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("# mine\n")
    words = ("allow", "add", "tcp", "6000-6009", "2001:db8:1::5", "--save")
    assert "saved in" in run(*words).stderr
    assert daemon[-1][1]["save"] is True
    assert file.read_text() == ('# mine\n\n[[allow_in]]\nproto = "tcp"\nport = "6000-6009"\nto = "2001:db8:1::5"\n')
    asked = len(daemon)
    other = run("allow", "add", "tcp", "6009", "2001:db8:1::5", "--save")
    assert other.exit_code == 1 and "has an entry of tcp port 6000-6009 of 2001:db8:1::5" in other.stderr
    assert [verb for verb, _ in daemon[asked:]] == ["forward-file"], "told before anything is let in"
    gone = run("allow", "del", "tcp", "6000-6009", "[2001:db8:1::5]", "--save")  # this daemon doesn't have it
    assert gone.exit_code == 0 and file.read_text() == "# mine\n"
    assert run("allow", "del", "tcp", "6000-6009", "2001:db8:1::5", "--save").exit_code == 1


def test_a_file_that_cant_be_written_undoes_what_was_let_in(
    daemon: list[tuple[str, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    file = tmp_path / "config.toml"
    file.write_text("# mine\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        patch.setattr(Path, "unlink", refuse)
        made = run("allow", "add", "tcp", "9100", "2001:db8:1::5", "--save")
    assert made.exit_code == 1
    assert made.stderr == f"algate: can't write {file}: Read-only file system; nothing saved\n"
    assert (daemon[-1][0], file.read_text()) == ("allow-del", "# mine\n")


def test_forward_save(daemon: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    """Written only after the daemon has accepted it; the file keeps its mode, and no other file is left."""
    file = tmp_path / "config.toml"
    words = ("forward", "add", "tcp", "2121", "10.0.0.9:21", "--save")
    missing = run(*words)
    assert (missing.exit_code, missing.stderr) == (1, f"algate: can't read {file}: No such file or directory\n")
    file.write_text("# mine\n")
    file.chmod(0o640)
    made = run(*words)
    assert made.exit_code == 0, made.stderr
    assert made.stderr == f"algate: tcp port 2121 now leads to 10.0.0.9:21; saved in {file}\n"
    assert daemon[-1][1]["save"] is True
    assert file.read_text().startswith("# mine\n\n[[forward]]\n")
    assert file.stat().st_mode & 0o777 == 0o640
    gone = run("forward", "del", "tcp", "2121", "--save")  # this daemon doesn't have it
    assert gone.exit_code == 0, gone.stderr
    assert file.read_text() == "# mine\n"
    again = run("forward", "del", "tcp", "2121", "--save")
    assert again.exit_code == 1 and "no forward of tcp port 2121" in again.stderr
    assert sorted(one.name for one in tmp_path.iterdir() if "config" in one.name) == ["config.toml"]


def test_reload(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    made = run("reload", "--json")
    said = json.loads(made.stdout)
    assert (said["schema"], said["changed"]) == (1, ["timeouts.udp"])
    assert "read again" in made.stderr
    told = run("reload")
    assert told.stdout == "timeouts.udp: 300 -> 60 (at once)\n"
    assert daemon[-1] == ("reload", {})


def test_reload_may_be_looked_at_tried_and_confirmed(daemon: list[tuple[str, dict[str, Any]]]) -> None:
    for words, sent in (
        (["--dry-run"], {"dry_run": True}), (["--for", "60"], {"seconds": 60.0}), (["--confirm"], {"confirm": True}),
    ):  # fmt: skip
        assert run("reload", *words).exit_code == 0
        assert daemon[-1] == ("reload", sent)
    for words in (["--dry-run", "--confirm"], ["--for", "5", "--dry-run"]):
        made = run("reload", *words)
        assert (made.exit_code, made.stderr) == (2, "algate: --dry-run, --for and --confirm exclude each other\n")
    assert run("reload", "--for", "0.5").exit_code == 2


def test_top_once_is_a_frame_and_without_a_terminal_top_says_what_to_do(daemon: Any) -> None:
    frame = run("top", "--once", "--columns", "80", "--lines", "24")
    assert (frame.exit_code, len(frame.stdout.splitlines())) == (0, 24)
    assert all(len(line) <= 80 for line in frame.stdout.splitlines())
    live = run("top")
    assert (live.exit_code, live.stdout) == (2, "")
    assert live.stderr.startswith("algate: top needs a terminal")
    assert live.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("sesions",), 2, "no verb 'sesions'; the nearest is `sessions`"),
        (("explian",), 2, "the nearest is `explain`"),
        (("sessions", "--jsn"), 2, "no such option: --jsn; the nearest is --json"),
        (("sessions", "extra"), 2, "extra"),
        (("sessions", "--json", "--tsv"), 2, "--json and --tsv exclude each other"),
        (("sessions", "--proto", "tpc"), 2, "the nearest is tcp"),
        (("sessions", "--inside", "\x1b[2J"), 2, "'\\x1b[2j' is not a network"),
        (("follow", "--count", "0"), 2, "--count"),
        (("forward", "add", "tcp"), 2, "forward add: missing argument 'WAN_PORT'"),
        (("run", "--wait", "-1"), 2, "--wait"),
        (("forward",), 2, "forward: forward what? list, add, del (`"),
    ],
)
def test_wrong_usage(daemon: list[Any], argv: tuple[str, ...], code: int, said: str) -> None:
    made = run(*argv)
    assert made.exit_code == code
    assert said in made.output
    assert made.stdout == "" and made.stderr.count("\n") == 1
    assert daemon == []


@pytest.mark.parametrize("verb", ["status", "sessions", "mappings", "expectations", "stats", "reload", "follow"])
def test_without_a_daemon(tmp_path: Path, verb: str) -> None:
    made = run(verb, "--run-dir", str(tmp_path))
    assert (made.exit_code, made.stdout) == (1, "")
    assert made.stderr == f"algate: no daemon on {tmp_path}: start it with `algate run`, or give --run-dir\n"


def test_every_verb_of_this_version_and_no_other() -> None:
    listed = run("--help").stdout
    for verb in command.VERBS:
        assert f"  {verb} " in listed
    expected = (
        "run down status sessions mappings expectations hosts ports forward allow top follow stats capture whose"
        " explain reload upgrade kill doctor check export import help ha demo bench"
    )
    assert " ".join(command.VERBS) == expected


@pytest.mark.parametrize("verb", [name for name in command.VERBS if name not in ("help", "demo")])
def test_each_verb_has_help_with_its_run_dir(verb: str) -> None:
    made = run(verb, "--help")
    assert made.exit_code == 0
    assert "--run-dir" in made.stdout or verb in ("forward", "allow", "bench", "check", "ha")
    assert len(made.stdout.splitlines()) > 5


@pytest.mark.parametrize("words", [(), ("forward", "add"), ("kill",)])
def test_help_is_a_verb_and_an_option(words: tuple[str, ...]) -> None:
    assert run("help", *words).stdout == run(*words, "-h").stdout == run(*words, "--help").stdout


def test_help_names_the_nearest_verb() -> None:
    made = run("help", "sesions")
    assert (made.exit_code, "the nearest is `sessions`" in made.output) == (2, True)


def test_no_verb_shows_the_gateway_or_the_help(daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().stdout == run("status").stdout != ""
    monkeypatch.setenv("ALGATE_RUN_DIR", str(tmp_path / "none"))
    made = run()
    assert (made.exit_code, made.stdout) == (2, "")
    assert made.stderr == run("--help").stdout


def test_usage_shows_arguments_as_they_were_declared() -> None:
    for verb in command.VERBS:
        built = command.build(verb)
        for one in getattr(built, "commands", {verb: built}).values():
            assert not re.search(r"[{<]|\[\[", " ".join(one.collect_usage_pieces(None)))
    assert run("kill", "-h").stdout.splitlines()[0].endswith(" [OPTIONS] [ID]...")
    assert run("forward", "add", "-h").stdout.splitlines()[0].endswith(" [OPTIONS] PROTO WAN_PORT IP:PORT")


def test_help_needs_no_bcc_and_imports_no_verb() -> None:
    """How fast --help is, judged by what it imports instead of by a clock."""
    code = (
        "import sys; sys.argv = ['algate', '--help']\n"
        "from algate.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'bcc', 'pyroute2', 'prometheus_client', 'asyncio', 'rich.live'} & set(sys.modules)\n"
        "verbs = [name for name in sys.modules if name.startswith('algate.cli.commands.')]\n"
        "print(code, sorted(heavy), verbs, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "0 [] []\n"


def test_run_hands_everything_to_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def service_run(*args: Any) -> int:
        calls.append(args)
        return 7

    module(monkeypatch, "algate.alg.admin.run", run=service_run)
    monkeypatch.setattr("algate.cli.commands.run.log_to_stderr", lambda verbose: None)
    file = tmp_path / "a.toml"
    file.write_text('[gateway]\nwan = "eth9"\n[nat]\nhairpin = false')
    argv = ["--lan", "eth1", "--lan", "eth2", "--config", str(file), "--run-dir", str(tmp_path), "--wait", "0"]
    made = run("run", *argv, "--datapath", "tc")
    assert made.exit_code == 7, made.output
    ((config, run_dir, wait, replace),) = calls
    assert (config.gateway.lan, config.gateway.wan, config.gateway.datapath) == (("eth1", "eth2"), "eth9", "tc")
    assert (config.nat.hairpin, run_dir, wait, config.path) == (False, tmp_path, 0.0, file)
    assert replace is False


def test_run_tells_all_errors_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, "algate.alg.admin.run", run=None)
    file = tmp_path / "a.toml"
    file.write_text("[nat]\nport = 1\n[alg]\nfail = 'x'\n[alg.ftpp]\nenabled = true")
    made = run("run", "--lan", "eth1", "--wan", "eth1", "--config", str(file))
    assert (made.exit_code, made.stdout) == (2, "")
    lines = made.stderr.splitlines()
    assert lines[0] == f"algate: {file}: 4 errors"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["nat.port", "alg.ftpp", "alg.fail", "gateway.wan"]


def test_down_hands_over_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    module(monkeypatch, "algate.alg.admin.down", down=lambda *args: calls.append(args))
    assert run("down", "--purge", "--run-dir", str(tmp_path)).exit_code == 0
    assert calls == [(tmp_path, True)]


def test_doctor_fails_if_a_check_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = CheckRow("kernel", True, "6.1"), CheckRow("bpffs", False, "not mounted", "mount it")
    module(monkeypatch, "algate.alg.admin.doctor", checks=lambda run_dir: [good])
    assert run("doctor", "--run-dir", str(tmp_path)).exit_code == 0
    module(monkeypatch, "algate.alg.admin.doctor", checks=lambda run_dir: [good, bad])
    made = run("doctor", "--json", "--run-dir", str(tmp_path))
    assert (made.exit_code, json.loads(made.stdout)) == (1, [{"schema": 1, **one.as_dict()} for one in (good, bad)])
    assert "bpffs: mount it" in run("doctor").stdout


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AlgateError("no \x1b[2J root\nsecond line", 3), 3, "algate: no \\x1b[2J root\nsecond line\n"),
        (OSError("oops"), 1, "algate: a bug in algate: OSError: oops (ALGATE_DEBUG=1 shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_no_traceback_reaches_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def down(*_: Any) -> int:
        raise error

    module(monkeypatch, "algate.alg.admin.down", down=down)
    made = run("down", "--run-dir", str(tmp_path))
    assert (made.exit_code, made.stderr, made.stdout) == (code, said, "")


def test_a_verb_that_cannot_be_loaded_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["algate", "stats"])
    monkeypatch.setitem(sys.modules, "algate.cli.commands.stats", None)
    monkeypatch.setattr(command, "build", lambda verb: (_ for _ in ()).throw(ImportError("no module")))
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert capfd.readouterr().err.startswith("algate: a bug in algate: ImportError")


def test_a_reader_that_leaves_early_ends_it_quietly(daemon: Any) -> None:
    read, write = os.pipe()
    code = "from algate.cli.app import main; main()"
    done = subprocess.Popen(
        [sys.executable, "-c", code, "sessions", "--json"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.close(read)
    assert done.communicate(timeout=60)[1] == ""
    assert done.returncode == 1


def test_an_order_reaches_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    from algate.alg.admin import control
    from algate.alg.rows import GroupRow

    asked: list[dict[str, Any]] = []

    def request(run_dir: Path, verb: str, args: dict[str, Any], *_: object) -> dict[str, int]:
        asked.append(args)
        return {"count": 153_000}

    def rows(run_dir: Path, verb: str, args: dict[str, Any], *_: object) -> list[dict[str, Any]]:
        asked.append(args)
        return [GroupRow("10.0.0.2", 5, 1, 2, 3, 4).as_dict()] if args.get("by") else [MAPPINGS[0].as_dict()]

    monkeypatch.setattr(control, "request", request)
    monkeypatch.setattr(control, "rows", rows)
    assert run("sessions", "--count", "--proto", "tcp").stdout == "153000\n"
    assert run("sessions", "--count", "--json").stdout == '{"schema": 1, "count": 153000}\n'
    grouped = run("sessions", "--by", "host", "--sort", "bytes", "--tsv").stdout.splitlines()
    assert [line.split("\t")[:2] for line in grouped] == [["key", "sessions"], ["10.0.0.2", "5"]]
    assert [line.split() for line in run("mappings", "--by", "host").stdout.splitlines()] == [
        ["KEY", "MAPPINGS"], ["10.0.0.2", "5"]
    ]  # fmt: skip
    assert len(run("mappings", "--limit", "1", "--reverse", "--age", "5").stdout.splitlines()) == 2
    assert asked == [
        {"proto": "tcp", "count": True},
        {"count": True},
        {"sort": "bytes", "by": "host"},
        {"by": "host"},
        {"age": 5.0, "limit": 1, "reverse": True},
    ]


def test_bare_algate_ends_as_status_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that nobody answers on: the failure is the exit code, as for `algate status`."""
    monkeypatch.setenv("ALGATE_RUN_DIR", str(tmp_path))
    (tmp_path / "control.sock").write_text("")
    made = run()
    assert made.exit_code == run("status").exit_code == 1
    assert made.stderr.startswith("algate: ")


def test_what_a_forward_brought_is_meant_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from algate.alg.admin import control

    asked: list[tuple[str, dict[str, Any]]] = []

    def request(run_dir: Path, verb: str, args: dict[str, Any], *_: object) -> Any:
        asked.append((verb, args))
        return {"ended": 1} if verb == "forward-del" else [SESSIONS[0].as_dict()]

    monkeypatch.setattr(control, "request", request)
    monkeypatch.setattr(control, "packed", lambda *given: iter([None, *request(*given)]))
    assert run("sessions", "--forward", "any").exit_code == 0
    assert run("kill", "--forward", "tcp/8080", "--idle", "60").stderr == "algate: 1 session ended\n"
    gone = run("forward", "del", "tcp", "8080", "--kill")
    assert (gone.exit_code, gone.stderr) == (0, "algate: tcp port 8080 now leads nowhere; 1 session ended\n")
    assert asked == [
        ("sessions", {"forward": "any"}),
        ("kill", {"idle": 60.0, "forward": "tcp/8080", "ids": [], "reset": False, "dry_run": False}),
        ("forward-del", {"proto": "tcp", "wan_port": "8080", "kill": True}),
    ]
