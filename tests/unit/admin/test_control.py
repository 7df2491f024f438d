"""The control socket: both ends against each other, and how hostile or broken clients are answered."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import answering, control, messages, rights
from algate.alg.admin.control import ControlError
from algate.alg.errors import AlgateError
from algate.alg.gateway.claim import Claim
from algate.alg.gateway.state import State
from algate.alg.rows import EventRow

ended: list[str] = []


async def echo(args: dict[str, Any]) -> Any:
    """The args themselves."""
    return args


async def many(args: dict[str, Any]) -> list[Any]:
    """More rows than one piece of an answer."""
    return [EventRow(float(number), "x", None, None, "") for number in range(args["count"])]


async def refuse(args: dict[str, Any]) -> Any:
    """A refusal."""
    raise AlgateError("not today: try\ntomorrow", 3)


async def fail(args: dict[str, Any]) -> Any:
    """A fault."""
    raise KeyError("secret")


async def count(args: dict[str, Any]) -> AsyncIterator[int]:
    """A stream that ends or refuses."""
    for number in range(3):
        yield number
    if args:
        raise AlgateError("enough")


async def forever(args: dict[str, Any]) -> AsyncIterator[int]:
    """A stream with one item and then nothing, until its client leaves."""
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        ended.append("forever")


async def broken(args: dict[str, Any]) -> messages.Rows:
    """A list that fails at its start."""

    def pieces() -> Iterator[list[Any]]:
        yield []
        raise AlgateError("none to tell")

    return messages.Rows(pieces())


HANDLERS: dict[str, answering.Handler] = {
    "echo": echo, "many": many, "refuse": refuse, "fail": fail, "count": count, "forever": forever,
    "broken": broken,
}  # fmt: skip


def serving(run_dir: Path, client: Callable[[], Any]) -> Any:
    """The result of `client`, run in a thread beside a server on `run_dir`."""

    async def both() -> Any:
        server = await answering.serve(control.socket_path(run_dir), HANDLERS)
        try:
            return await asyncio.wait_for(asyncio.to_thread(client), 30)
        finally:
            await server.close()

    return asyncio.run(both())


def raw(run_dir: Path, sent: bytes, shut: bool = True) -> dict[str, Any]:
    """The answer line to any bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(control.socket_path(run_dir)))
        connection.sendall(sent)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    assert serving(tmp_path, lambda: control.request(tmp_path, "echo", {"a": [1, None, "ü"]})) == {"a": [1, None, "ü"]}


@pytest.mark.parametrize("count", [0, 1, messages.PIECE, messages.PIECE + 1, 5000])
def test_a_list_arrives_whole_whatever_its_length(tmp_path: Path, count: int) -> None:
    rows = serving(tmp_path, lambda: control.request(tmp_path, "many", {"count": count}))
    assert [row["time"] for row in rows] == list(range(count))


def test_those_who_ask_nothing_hold_up_nobody(tmp_path: Path) -> None:
    """Ten times as many silent connections as are served at once; 154 made connect() fail with EAGAIN once."""

    def client() -> None:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(10 * answering.CONNECTIONS_MAX)]
        try:
            for one in silent:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):  # faster than they are taken
                    one.connect(str(control.socket_path(tmp_path)))
            began = time.monotonic()
            for _ in range(10):
                assert control.request(tmp_path, "echo", {"a": 1}) == {"a": 1}
            assert time.monotonic() - began < 5
        finally:
            for one in silent:
                one.close()

    serving(tmp_path, client)


def test_a_stream_ends_with_its_handler(tmp_path: Path) -> None:
    assert serving(tmp_path, lambda: list(control.stream(tmp_path, "count"))) == [0, 1, 2]


def test_a_stream_may_refuse_in_its_midst(tmp_path: Path) -> None:
    seen: list[int] = []

    def client() -> None:
        with pytest.raises(ControlError, match="enough"):
            seen.extend(control.stream(tmp_path, "count", {"refuse": 1}))

    serving(tmp_path, client)
    assert seen == [0, 1, 2]


def test_a_stream_ends_when_its_client_goes_though_nothing_happens(tmp_path: Path) -> None:
    ended.clear()

    def client() -> None:
        stream = control.stream(tmp_path, "forever")
        assert next(stream) == 1
        stream.close()  # type: ignore[attr-defined]
        for _ in range(200):
            if ended:
                return
            threading_pause()
        raise AssertionError("the handler still waits")

    serving(tmp_path, client)


def threading_pause() -> None:
    """Give the server's loop a moment."""
    import time

    time.sleep(0.02)


def test_closing_the_server_ends_its_streams_and_removes_the_socket(tmp_path: Path) -> None:
    async def both() -> None:
        server = await answering.serve(control.socket_path(tmp_path), HANDLERS)
        stream = control.stream(tmp_path, "forever")
        assert await asyncio.to_thread(next, stream) == 1
        await asyncio.wait_for(server.close(), 10)
        assert await asyncio.to_thread(list, stream) == []

    asyncio.run(both())
    assert not control.socket_path(tmp_path).exists()


def test_closing_the_server_waits_for_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 1000.0)

    async def both() -> None:
        server = await answering.serve(control.socket_path(tmp_path), HANDLERS)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(control.socket_path(tmp_path)))
            deaf.sendall(b'{"verb": "many", "args": {"count": 100000}}\n')
            assert await asyncio.to_thread(control.request, tmp_path, "echo") == {}
            await asyncio.wait_for(server.close(), 10)

    asyncio.run(both())


def test_a_refusal_keeps_text_and_exit_code_and_a_fault_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def client() -> None:
        with pytest.raises(ControlError) as caught:
            control.request(tmp_path, "refuse")
        assert (str(caught.value), caught.value.exit_code) == ("not today: try\ntomorrow", 3)
        with pytest.raises(ControlError, match="see its log") as caught:
            control.request(tmp_path, "fail")
        assert "secret" not in str(caught.value)

    with caplog.at_level(logging.ERROR):
        serving(tmp_path, client)
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "not JSON"),
        (b"\n", "not JSON"),
        (b"GET / HTTP/1.1\r\n", "not JSON"),
        (b"\xff\xfe\x00\n", "not JSON"),
        (b"[" * 60000 + b"\n", "not JSON"),
        (b"{}\n", 'is not {"verb"'),
        (b"[1]\n", 'is not {"verb"'),
        (b'{"verb": 3}\n', 'is not {"verb"'),
        (b'{"verb": "echo", "args": []}\n', 'is not {"verb"'),
        (b'{"verb": "\\u001b[2J"}\n', "has no verb '\\x1b[2J'"),
        (b"x" * (answering.REQUEST_MAX * 3), "longer than 65536 bytes"),
        (b'{"verb": "echo"}', ""),
    ],
)
def test_garbage_gets_an_error_and_harms_nobody(tmp_path: Path, sent: bytes, said: str) -> None:
    def client() -> None:
        answer = raw(tmp_path, sent, shut=len(sent) < answering.REQUEST_MAX)
        if said:
            assert answer["ok"] is False
            assert said in answer["error"]
            assert answer["exit"] == 2
        else:
            assert answer == {"ok": True, "data": {}}
        assert control.request(tmp_path, "echo") == {}

    serving(tmp_path, client)


def test_a_client_that_says_nothing_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "REQUEST_SECONDS", 0.05)
    answer = serving(tmp_path, lambda: raw(tmp_path, b"", shut=False))
    assert answer["error"] == "no request within 0.05 s"


def test_too_many_clients_are_refused_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CONNECTIONS_MAX", 2)

    def client() -> None:
        streams = [control.stream(tmp_path, "forever") for _ in range(2)]
        assert [next(one) for one in streams] == [1, 1]
        with pytest.raises(ControlError, match="too many clients"):
            control.request(tmp_path, "echo")
        streams[0].close()  # type: ignore[attr-defined]
        for _ in range(200):
            try:
                assert control.request(tmp_path, "echo") == {}
                return
            except ControlError:
                threading_pause()
        raise AssertionError("no room though a client left")

    serving(tmp_path, client)


def test_a_client_that_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.1)

    def client() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(control.socket_path(tmp_path)))
            connection.sendall(b'{"verb": "many", "args": {"count": 100000}}\n')
            assert control.request(tmp_path, "echo") == {}
            for _ in range(20):
                threading_pause()
            received = 0
            while data := connection.recv(1 << 20):
                received += len(data)
            assert received < 5_000_000

    serving(tmp_path, client)


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    mode = serving(tmp_path, lambda: control.socket_path(tmp_path).stat().st_mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_socket_is_the_groups_too_where_there_is_one(tmp_path: Path) -> None:
    """A group that the owner is in: giving a file to another one takes a privilege."""
    group = os.getegid()

    async def look() -> os.stat_result:
        server = await answering.serve(control.socket_path(tmp_path), HANDLERS, group=group)
        found = control.socket_path(tmp_path).stat()
        control.socket_path(tmp_path).unlink()
        await server.renew()
        assert control.socket_path(tmp_path).stat().st_mode == found.st_mode
        await server.close()
        return found

    old = os.umask(0o077)  # as systemd's unit has it
    try:
        found = asyncio.run(look())
    finally:
        os.umask(old)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, group)


def test_who_may_not_is_told_before_anything_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "user", lambda connection: 4711 + os.geteuid())
    done: list[str] = []

    async def change(args: dict[str, Any]) -> None:
        done.append("changed")

    async def both() -> None:
        known = {"kill": change, "status": echo}
        server = await answering.serve(control.socket_path(tmp_path), known, rights.judge)
        for verb, args in (("kill", {}), ("kill", {"dry_run": True}), ("status", {}), ("nonsense", {})):
            try:
                await asyncio.to_thread(control.request, tmp_path, verb, args)
            except ControlError as error:
                done.append(f"{error.exit_code} {error}")
        await server.close()

    asyncio.run(both())
    assert done == [
        "3 kill changes the gateway: run it as root (sudo algate kill ...)",
        "changed",
        "2 the daemon has no verb 'nonsense': it may be a different version",
    ]


def test_the_user_is_who_connected(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert answering.user(ours) == os.geteuid()


def test_the_group_passes_through_the_run_dir_to_the_socket_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    monkeypatch.setenv("ALGATE_GROUP", grp.getgrgid(os.getegid()).gr_name)
    with Claim(run_dir):
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o710
        state = State(run_dir / "state.json")
        state.save()
        assert [stat.S_IMODE(one.stat().st_mode) for one in run_dir.iterdir()] == [0o600, 0o600]
    run_dir.chmod(0o2700)  # setgid hands the group on where the daemon may not
    Claim(run_dir).close()
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o2710
    run_dir.chmod(0o730)
    with pytest.raises(AlgateError, match="others may write"):
        Claim(run_dir)


def test_without_the_group_the_run_dir_is_the_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALGATE_GROUP", "")
    with Claim(tmp_path / "run"):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("group", "more"),
    [
        ("", ""),
        ("root", ", or to read as a member of the group root"),
        ("algatenone", ", or to read as a member of the group algatenone, which this host hasn't got"),
    ],
)
def test_no_permission_says_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, more: str) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("ALGATE_GROUP", group)
    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(ControlError) as caught:
        control.request(tmp_path, "forward-list")
    told = f"no permission for {tmp_path}/control.sock: run it as root (sudo algate forward list ...)"
    assert (str(caught.value), caught.value.exit_code) == (told + more, 3)


def test_a_long_path_works(tmp_path: Path) -> None:
    run_dir = tmp_path / ("x" * 90) / ("y" * 90)
    run_dir.mkdir(parents=True)
    assert serving(run_dir, lambda: control.request(run_dir, "echo", {"a": 1})) == {"a": 1}


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control.socket_path(tmp_path)))
    with pytest.raises(ControlError, match=r"no daemon on .*: start it with `algate run`"):
        control.request(tmp_path, "echo")
    assert serving(tmp_path, lambda: control.request(tmp_path, "echo")) == {}


def test_a_live_daemon_is_not(tmp_path: Path) -> None:
    async def two() -> None:
        server = await answering.serve(control.socket_path(tmp_path), HANDLERS)
        with pytest.raises(AlgateError, match=f"already running on {tmp_path}"):
            await answering.serve(control.socket_path(tmp_path), HANDLERS)
        assert await asyncio.to_thread(control.request, tmp_path, "echo") == {}
        await server.close()

    asyncio.run(two())


def test_no_daemon_and_no_folder(tmp_path: Path) -> None:
    for run_dir in (tmp_path, tmp_path / "none"):
        with pytest.raises(ControlError, match="no daemon on") as caught:
            control.request(run_dir, "echo")
        assert caught.value.exit_code == 1


def test_a_claim_is_for_one_and_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALGATE_GROUP", "")
    run_dir = tmp_path / "new" / "dir"
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time; from pathlib import Path; from algate.alg.gateway.claim import Claim\n"
            "claim = Claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)",
            str(run_dir),
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        with pytest.raises(AlgateError, match=rf"already running on {run_dir} \(pid {holder.pid}\)"):
            Claim(run_dir)
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(10)
    with Claim(run_dir), pytest.raises(AlgateError, match=f"pid {os.getpid()}"):
        Claim(run_dir)
    Claim(run_dir).close()


def test_a_claim_on_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlgateError, match="can't use run directory"):
        Claim(tmp_path / "file")


def pieces(text: bytes, size: int) -> Callable[[], bytes]:
    """A connection's data, in pieces of a given size."""
    cut = (text[start : start + size] for start in range(0, len(text), size))
    return lambda: next(cut)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"a": "]}\n"}, {"b": ", {"}, {"c": None}]])
def test_rows_come_one_by_one_however_they_are_cut(rows: list[Any], size: int) -> None:
    text = b"".join(messages.answer(messages.Rows([row] for row in rows)))
    assert json.loads(text) == {"ok": True, "data": rows}
    assert list(messages.read_items(pieces(text, size))) == rows


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("before", [b"", messages.LIST_BEGINS + b'{"a": 1}'])
def test_a_refusal_among_rows_is_told(before: bytes, size: int) -> None:
    text = before + messages.refusal("no such thing", 2)
    with pytest.raises(ControlError, match="no such thing"):
        list(messages.read_items(pieces(text, size)))


def test_a_list_that_fails_before_its_first_row_is_a_refusal_alone(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="none to tell"):
        serving(tmp_path, lambda: control.request(tmp_path, "broken"))


def test_an_answer_that_ends_early_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control.socket_path(tmp_path)))
        listener.listen()
        listener.settimeout(10)

        def cut_off() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(messages.LIST_BEGINS + b'{"a": 1}, {"b"')

        with ThreadPoolExecutor() as beside:
            beside.submit(cut_off)
            with pytest.raises(ControlError, match="in the middle"):
                list(control.rows(tmp_path, "many"))
