"""Each verb of the table as a process: what it prints where, its exit code, its JSON by the shipped schema; and wrong
usage of each in one line that helps. A verb, or a verb of a verb, that stands in neither table below is a failure."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from typer.testing import CliRunner

from algate.cli import app as command
from algate.client import schema
from tests import fake_daemon
from tests.imports import ROOT

HOLDS = fake_daemon.HOLDER.public
BAD = "[nat]\nports = 1\n"


class Way(NamedTuple):
    """One use of a verb. `talk` begins the last line of stderr; "": it has none. `data`: whether stdout has any."""

    argv: str = ""
    code: int = 0
    talk: str = ""
    data: bool = True


RIGHT = {
    "run": Way("--lan no-lan --wan x --wait 0 --run-dir other", 1, "algate: no device no-lan; there are ", data=False),
    "down": Way("--run-dir none", 1, "algate: nothing was up on none: there is no such directory", data=False),
    "status": Way(), "sessions": Way(), "mappings": Way(), "expectations": Way(), "hosts": Way(), "ports": Way(),
    "forward list": Way(),
    "forward add": Way("tcp 2121 10.0.0.9:21", talk="algate: tcp port 2121 now leads to 10.0.0.9:21", data=False),
    "forward del": Way("tcp 7", 1, "algate: no forward of tcp port 7: see `algate forward list`", data=False),
    "allow list": Way(),
    "allow add": Way("tcp 9000 2001:db8:1::5", talk="algate: tcp port 9000 of 2001:db8:1::5 ", data=False),
    "allow del": Way("tcp 7 2001:db8:1::5", 1, "algate: tcp port 7 of 2001:db8:1::5 isn't let in", data=False),
    "top": Way("--once"), "follow": Way("--count 2"), "stats": Way(), "whose": Way(HOLDS),
    "explain": Way("10.0.0.2:40001"), "reload": Way(talk="algate: "),
    "kill": Way("--inside 10.0.0.2", talk="algate: 2 sessions ended"),
    "check": Way("bad.toml", 2), "export": Way("none.json", 1, "algate: no tables are pinned for ", data=False),
    "import": Way("none.json", 1, "algate: can't read none.json: No such file or directory", data=False),
    "help": Way("kill"), "ha status": Way(), "ha leases": Way(),
    "ha yield": Way(talk="algate: the other node leads as soon as", data=False),
    "ha resync": Way(talk="algate: the other node is told everything anew", data=False),
    "ha keepalived": Way("--config no.toml --inside 10.0.0.1/24", 2, "algate: configuration: no", data=False),
}  # fmt: skip
# These need a kernel, a daemon of flesh and blood or half a minute; what calls them as processes is in these files.
ELSEWHERE = {
    "capture": "tests/netns/test_capture.py", "upgrade": "tests/faults/test_upgrade.py",
    "doctor": "tests/netns/test_settings.py", "demo": "tests/netns/test_lab.py", "bench": "tests/bench/test_smoke.py",
}  # fmt: skip
WRONG = {
    "run": ("--lan a", "gateway.wan: no outside device: give --wan"), "down": ("--purgee", "the nearest is --purge"),
    "status": ("--setings", "the nearest is --settings"), "sessions": ("--proto tpc", "the nearest is tcp"),
    "mappings": ("--inside 10.0.0", "'10.0.0' is not a network"), "expectations": ("--state opn", "nearest is open"),
    "hosts": ("--limit -1", "'--limit'"), "ports": ("tcp", "extra argument"), "forward": ("", "list, add, del"),
    "forward list": ("--proto x", "is not one of tcp, udp, icmp"),
    "forward add": ("tcp 21", "missing argument 'IP:PORT'"), "forward del": ("", "missing argument 'PROTO'"),
    "allow": ("", "list, add, del"), "allow list": ("--jsn", "the nearest is --json"),
    "allow add": ("tcp", "missing argument 'PORT'"), "allow del": ("", "missing argument 'PROTO'"),
    "top": ("--once --view nope", "sessions, hosts, ports, drops, events"),
    "follow": ("--proto tcp", "add --sessions"), "stats": ("--jsn", "the nearest is --json"),
    "capture": (fake_daemon.CONTROL, "missing option '--write'"), "whose": ("203.0.113.1", "with a port"),
    "explain": ("", "missing argument"), "reload": ("--dry-run --confirm", "exclude each other"),
    "upgrade": ("now", "extra argument"), "kill": ("--idle long", "'--idle'"),
    "doctor": ("--jsno", "nearest is --json"),
    "check": ("", "give one configuration file, --live or --pins"), "export": ("", "missing argument 'FILE|-'"),
    "import": ("", "missing argument 'FILE|-'"), "help": ("sesions", "the nearest is `sessions`"),
    "ha": ("", "status, leases, yield, resync, keepalived"),
    "ha leases": ("--jsn", "the nearest is --json"), "ha status": ("--jsn", "the nearest is --json"),
    "ha yield": ("now", "extra argument"), "ha resync": ("now", "extra argument"),
    "ha keepalived": ("--config x.toml", "missing option '--inside'"),
    "demo": ("--keepp", "the nearest is --keep"), "bench": ("--only pakets", "the groups are "),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a fake daemon listens, which is the processes' working directory too."""
    made = tmp_path_factory.mktemp("processes")
    (made / "bad.toml").write_text(BAD)
    with fake_daemon.running(made):
        yield made


def algate(place: Path, *argv: str) -> tuple[int, str, str]:
    """Code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "algate.cli.app", *argv], capture_output=True, text=True, timeout=60, check=False,
        cwd=place, env={**os.environ, "ALGATE_RUN_DIR": str(place)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def parts() -> Iterator[tuple[str, Any]]:
    """Each verb, and each verb of a verb, as it was declared."""
    for verb in command.VERBS:
        built = command.build(verb)
        for name, one in getattr(built, "commands", {"": built}).items():
            yield f"{verb} {name}".strip(), one


def test_every_verb_is_tried() -> None:
    declared = {name for name, _ in parts()}
    assert declared == {*RIGHT, *ELSEWHERE} and not RIGHT.keys() & ELSEWHERE.keys()
    assert {*declared, "forward", "allow", "ha"} == set(WRONG)


@pytest.mark.parametrize("verb", ELSEWHERE)
def test_what_is_tried_elsewhere_is(verb: str) -> None:
    assert f'"{verb}"' in (ROOT / ELSEWHERE[verb]).read_text()


@pytest.mark.parametrize("verb", RIGHT)
def test_a_verb(place: Path, verb: str) -> None:
    way = RIGHT[verb]
    code, out, err = algate(place, *verb.split(), *way.argv.split())
    last = err.splitlines()[-1] if err else ""
    assert (code, bool(out), bool(last)) == (way.code, way.data, bool(way.talk)), err
    assert last.startswith(way.talk) and "Traceback" not in err
    assert err.count("\n") <= 1 or verb == "run"  # whose log stands before it


@pytest.mark.parametrize(
    "verb", [name for name, one in parts() if name in RIGHT and any("--json" in o.opts for o in one.params)]
)
def test_json_is_by_the_schema(place: Path, verb: str) -> None:
    way = RIGHT[verb]
    code, out, _ = algate(place, *verb.split(), *way.argv.split(), "--json")
    assert code == way.code
    if verb == "follow":
        said: list[Any] = [json.loads(line) for line in out.splitlines()]
    elif not out:
        assert code, "nothing is printed only where something failed"
        return
    else:
        said = [json.loads(out)]
    for one in said:
        jsonschema.validate(one, schema(verb), cls=jsonschema.Draft202012Validator)
        assert all(row["schema"] == 1 for row in (one if isinstance(one, list) else [one]))


@pytest.mark.parametrize("verb", WRONG)
def test_wrong_usage_is_one_line_that_helps(place: Path, verb: str) -> None:
    argv, hint = WRONG[verb]
    code, out, err = algate(place, *verb.split(), *argv.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("algate") and hint in err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_are_nothing_to_fail_of(place: Path, closed: str) -> None:
    """It was "a bug in algate: AttributeError"."""
    line = f"exec {sys.executable} -m algate.cli.app sessions {closed}"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, cwd=place,
        env={**os.environ, "ALGATE_RUN_DIR": str(place)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("term", "cleared"), [("xterm", True), ("dumb", False), (None, False)])
def test_watch_clears_only_a_screen_that_can(place: Path, term: str | None, cleared: bool) -> None:
    head, tail = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "TERM"} | {"ALGATE_RUN_DIR": str(place)}
    argv = [sys.executable, "-m", "algate.cli.app", "mappings", "--watch", "0.1"]
    with subprocess.Popen(argv, stdout=tail, cwd=place, env=env | ({"TERM": term} if term else {})) as process:
        said = b""
        while said.count(b"STATIC") < 2:
            said += os.read(head, 4096)
        process.terminate()
    os.close(head)
    os.close(tail)
    assert said.count(b"\x1b[2J") == (said.count(b"STATIC") if cleared else 0)


@pytest.mark.parametrize("verb", sorted({name for name, _ in parts()}))
def test_an_option_that_nobody_has(verb: str) -> None:
    """Not as a process, for all verbs say it in one place."""
    made = CliRunner().invoke(command.app, [*verb.split(), "--no-such-option"], prog_name="algate")
    assert (made.exit_code, made.stdout) == (2, "")
    assert made.stderr == f"algate {verb}: no such option: --no-such-option (`algate {verb} -h` shows all)\n"
