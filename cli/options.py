"""The options that many verbs share, declared once.

The law of this file: declarations for typer, no behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from algate.alg.admin.orders import LISTINGS
from algate.cli import completion
from algate.client import client

DEFAULT_RUN_DIR = client.DEFAULT_RUN_DIR

RunDir = Annotated[
    Path,
    typer.Option(
        "--run-dir",
        envvar="ALGATE_RUN_DIR",
        metavar="DIR",
        readable=False,  # who may not read it may still reach the socket in it
        help="Run directory of the daemon to use.",
        autocompletion=completion.run_dirs,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tsv = Annotated[bool, typer.Option("--tsv", help="Print tab-separated lines with a header.")]


def sort_of(verb: str) -> Any:
    """--sort of a listing."""
    words = either(LISTINGS[verb].sorts)
    option = typer.Option(
        "--sort", metavar="KEY", help=f"Largest first by {words}.", autocompletion=completion.sorts(verb)
    )
    return Annotated[str, option]


def by_of(verb: str) -> Any:
    """--by of a listing."""
    words, told = either(LISTINGS[verb].keys), "Sum up" if verb == "sessions" else "Count"
    option = typer.Option("--by", metavar="KEY", help=f"{told} by {words}.", autocompletion=completion.keys(verb))
    return Annotated[str, option]


def either(words: Sequence[str]) -> str:
    """Words as a sentence has them: "rate, bytes or idle"."""
    return " or ".join((", ".join(words[:-1]), words[-1]) if len(words) > 1 else words)


Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=0, help="Only the first N.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="The other way round: smallest first.")]
Count = Annotated[bool, typer.Option("--count", help="Only say how many.")]
Idle = Annotated[float | None, typer.Option("--idle", metavar="SECONDS", min=0, help="Only if idle for that long.")]
Age = Annotated[float | None, typer.Option("--age", metavar="SECONDS", min=0, help="Only if as old as that.")]
ForwardedBy = Annotated[
    str | None,
    typer.Option(
        "--forward",
        metavar="PROTO/PORT",
        help="Only what came by this forward, or by any.",
        autocompletion=completion.forwards,
    ),
]
Watch = Annotated[
    float | None, typer.Option("--watch", metavar="SECONDS", min=0.1, help="Again and again, until interrupted.")
]

Proto = Annotated[
    str | None,
    typer.Option("--proto", metavar="P[,P]", help="Only tcp, udp or icmp.", autocompletion=completion.protos),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="S[,S]",
        help="Only this session or expectation state.",
        autocompletion=completion.states,
    ),
]
Inside = Annotated[
    str | None,
    typer.Option(
        "--inside", metavar="CIDR[:PORT]", help="Only this inside end point.", autocompletion=completion.insides
    ),
]
Outside = Annotated[
    str | None,
    typer.Option(
        "--outside", metavar="CIDR[:PORT]", help="Only this outside end point.", autocompletion=completion.outsides
    ),
]
AlgName = Annotated[
    str | None,
    typer.Option("--alg", metavar="NAME", help="Only what this plug-in watches.", autocompletion=completion.plugins),
]
RelatedTo = Annotated[
    str | None,
    typer.Option(
        "--related-to",
        metavar="ID",
        help="Only what belongs to this control session.",
        autocompletion=completion.ids,
    ),
]
