"""`algate forward`: servers inside that the outside may reach."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from algate.alg.errors import AlgateError
from algate.alg.rows import ForwardRow
from algate.cli import completion
from algate.cli.listing import lister
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_rows
from algate.client import Client, ControlError

ProtoArgument = Annotated[
    str, typer.Argument(metavar="PROTO", help="tcp or udp.", autocompletion=completion.transports)
]
PortArgument = Annotated[
    str,
    typer.Argument(
        metavar="WAN_PORT",
        help="Public port, or a range like 50000-50100.",
        autocompletion=completion.forwarded_ports,
    ),
]


list_forwards = lister("forward-list", ForwardRow, "List all forwards, from the configuration and added live.")


def add(
    proto: ProtoArgument,
    wan_port: PortArgument,
    to: Annotated[
        str, typer.Argument(metavar="IP:PORT", help="Server inside; a range maps to ports from this one up.")
    ],
    source: Annotated[
        list[str] | None, typer.Option("--from", metavar="CIDR", help="Allowed sources; may be repeated.")
    ] = None,
    alg: Annotated[
        str,
        typer.Option(
            "--alg", metavar="NAME", help="Plug-in to watch it, such as ftp.", autocompletion=completion.plugins
        ),
    ] = "",
    save: Annotated[bool, typer.Option("--save", help="Also add it to the configuration file.")] = False,
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Add a forward to the running gateway. It lasts until it is deleted or until `algate down`.

    --save also appends a [[forward]] to the file that `algate run` was started with, and changes nothing else in it. To
    save a forward that was added live, repeat the command with --save.
    """
    from algate.alg.config import saved

    table = {"proto": proto, "wan_port": wan_port, "to": to, "from": source or [], "alg": alg}
    file = config_file(run_dir) if save else None
    grown = saved.with_forward(text_of(file), table, str(file)) if file else ""  # fail before the forward is made
    gateway = Client(run_dir)
    made = gateway.forward_add(proto, wan_port, to, source or [], alg, save)
    if file:
        write(file, grown, lambda: gateway.forward_del(proto, wan_port))
    if as_json:
        show_rows([made], ForwardRow, OutputForm.JSON)
    say(f"algate: {made.proto} port {made.wan_port} now leads to {made.to}" + (f"; saved in {file}" if file else ""))


def delete(
    proto: ProtoArgument,
    wan_port: PortArgument,
    save: Annotated[bool, typer.Option("--save", help="Also remove it from the configuration file.")] = False,
    kill: Annotated[bool, typer.Option("--kill", help="Also end the sessions that came by it.")] = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Delete a forward from the running gateway. Its sessions go on until they end, unless --kill ends them.

    A forward in the configuration file comes back when that is read again, unless --save removes it there too.
    """
    from algate.alg.config import saved

    file = config_file(run_dir) if save else None
    shrunk = saved.without_forward(text_of(file), proto, wan_port, str(file)) if file else None
    ended = ""
    try:
        number = Client(run_dir).forward_del(proto, wan_port, kill)
        ended = "" if number is None else f"; {number} session{'' if number == 1 else 's'} ended"
    except ControlError:
        if shrunk is None:
            raise  # neither in force nor in the file
    if file and shrunk is not None:
        write(file, shrunk)
    told = f"; not in {file} any more" if shrunk is not None else f"; {file} didn't have it" if file else ""
    say(f"algate: {proto} port {wan_port} now leads nowhere{ended}{told}")


def config_file(run_dir: Path) -> Path:
    """The file that the daemon was started with; AlgateError if it was started without one."""
    return Path(Client(run_dir).ask("forward-file")["path"]).resolve()


def text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AlgateError(f"can't read {file}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None


def write(file: Path, text: str, undo: Callable[[], object] | None = None) -> None:
    """Replace the whole file, keeping owner and mode, so that a crash leaves either the old or the new one."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        was = file.stat()
        with open(fresh, "xb") as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        shutil.copymode(file, fresh)
        os.chown(fresh, was.st_uid, was.st_gid)
        fresh.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):  # of a read-only file system even what isn't there can't be removed
            fresh.unlink()
        if undo is not None:
            with contextlib.suppress(AlgateError):
                undo()
        raise AlgateError(f"can't write {file}: {error.strerror}; nothing saved") from None


VERBS = {"list": list_forwards, "add": add, "del": delete}
