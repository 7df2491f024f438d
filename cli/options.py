"""The options that many verbs share, said once.

The law of this file: declarations for typer, no behaviour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_RUN_DIR = Path("/run/algate")

RunDir = Annotated[
    Path, typer.Option("--run-dir", envvar="ALGATE_RUN_DIR", metavar="DIR", help="Which daemon: its run directory.")
]
Json = Annotated[bool, typer.Option("--json", help="Data as JSON.")]
Tsv = Annotated[bool, typer.Option("--tsv", help="Data as tab-separated lines under a header.")]

Proto = Annotated[str | None, typer.Option("--proto", metavar="P[,P]", help="tcp, udp or icmp.")]
State = Annotated[str | None, typer.Option("--state", metavar="S[,S]", help="Of a session or expectation.")]
Inside = Annotated[str | None, typer.Option("--inside", metavar="CIDR[:PORT]", help="Inside end point.")]
Outside = Annotated[str | None, typer.Option("--outside", metavar="CIDR[:PORT]", help="Outside end point.")]
AlgName = Annotated[str | None, typer.Option("--alg", metavar="NAME", help="Plug-in that watches it.")]
RelatedTo = Annotated[str | None, typer.Option("--related-to", metavar="ID", help="Of this control session.")]
