"""`algate capture`: record one control session as a pcapng file."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from algate.alg.errors import AlgateError
from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, RunDir
from algate.cli.output import say


def capture(
    session: Annotated[
        str, typer.Argument(metavar="ID", help="The control session's id.", autocompletion=completion.ids)
    ],
    file: Annotated[
        Path, typer.Option("--write", "-w", metavar="FILE", help="The file to write, `-` for stdout.", allow_dash=True)
    ],
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="N", min=0.1, help="Stop after N seconds.")
    ] = None,
    packets: Annotated[
        int, typer.Option("--packets", metavar="N", min=1, help="Stop after N packets.", show_default=True)
    ] = 100_000,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Record one control session on both sides of the gateway, until it ends, Ctrl-C, or the limits given.

    The file has an interface for each device, inside and outside, and in the packets' comments what was decided and
    why. Passwords are blanked by asterisks. Wireshark and tshark open it: `tshark -r FILE -T fields -e frame.comment`.
    """
    from algate.alg.gateway import namespace
    from algate.alg.plugin import registry
    from algate.alg.plugin.words import Words
    from algate.alg.version import VERSION
    from algate.cli.capture.recorder import CaptureLimits, Recorder, Records, opened

    namespace.require_root("algate capture")
    records = Records(run_dir, session)
    secret = registry.discover().words.get(records.head["alg"], Words()).secret
    sockets = opened(records.head)
    with _opened(file) as target:
        recorder = Recorder(
            records, sockets, target.write, secret, CaptureLimits(seconds, packets), VERSION
        )  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: recorder.stop())
        say(f"algate: recording {records.head['id']} on {', '.join(one.device for one in sockets)}; Ctrl-C ends it")
        done = recorder.run()
    lost = f", {done.lost} lost" if done.lost else ""
    lost += f", {done.untold} judgements lost" if done.untold else ""
    say(f"algate: {done.packets} packets in {file}{lost} ({done.why})")
    return 0


def _opened(file: Path) -> BinaryIO:
    """To be read by root alone: it holds what somebody said."""
    if str(file) == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise AlgateError(f"can't write {file}: {error.strerror}") from None
