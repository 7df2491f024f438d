"""`algate demo`: real FTP through a gateway in a lab of network namespaces, judged by what was on the links."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from algate.alg.errors import FAILED, AlgateError
from algate.cli import completion
from algate.cli.options import Json
from algate.cli.output import OutputForm, say, show_rows

if TYPE_CHECKING:
    from rich.table import Table

    from algate.cli.lab.demonstration import Act, DemoRow, Steps
    from algate.cli.lab.gateways import LabGateway
    from algate.cli.lab.lab import Lab


TABLE_WIDTH = 120  # columns that the table needs; narrower, each row is a paragraph


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the lab running, and say how to look into it.")] = False,
    as_json: Json = False,
    server: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="NAME",
            help="FTP server: vsftpd, proftpd, pure-ftpd or pyftpdlib.",
            autocompletion=completion.servers,
        ),
    ] = "vsftpd",
    gateway: Annotated[
        str, typer.Option("--gateway", hidden=True, help="What translates: algate, kernel or route.")
    ] = "algate",
    ipv6: Annotated[
        bool, typer.Option("--ipv6", help="Over IPv6 instead: through the filter, and to an IPv4 server by NAT64.")
    ] = False,
    ha: Annotated[bool, typer.Option("--ha", help="Two gateways instead: one is cut off, the other goes on.")] = False,
    remove: Annotated[str | None, typer.Option("--remove", metavar="LAB", help="Remove a lab kept earlier.")] = None,
) -> int:
    """Transfer files through the gateway in all four FTP modes, with the client and then the server inside.

    Exits with 1 if a row fails.
    """
    if remove is not None:
        return take_away(remove)
    if ha:
        return cut_off(server, as_json)
    from algate.cli.lab.demonstration import CONFIG6, STEPS, STEPS6, DemoRow
    from algate.cli.lab.gateways import AlgateGateway, make_gateway
    from algate.cli.lab.lab import Lab, LabPlan
    from algate.cli.lab.trial import NAT64_PREFIX, forwards

    with Lab(LabPlan(six=ipv6), keep=keep) as lab:
        middle = make_gateway(gateway, lab, forwards(lab))
        if ipv6 and isinstance(middle, AlgateGateway):
            middle.config = CONFIG6.format(client=lab.plan.clients6[0], prefix=NAT64_PREFIX)
        with contextlib.ExitStack() as stack:
            if keep:
                middle.start()
            else:
                stack.enter_context(middle)
            acts = perform(lab, middle, server, STEPS6 if ipv6 else STEPS)
            if keep:
                explain(lab, middle, server)
    if as_json:
        show_rows([act.row for act in acts], DemoRow, OutputForm.JSON)
    else:
        show(acts)
    for act in acts:
        for problem in act.problems:
            say(f"{act.row.side} inside, {act.row.mode}: {problem}")
    typer.echo(f"{sum(act.row.ok for act in acts)} of {len(acts)} transfers right", err=as_json)
    return 0 if acts and all(act.row.ok for act in acts) else FAILED


def cut_off(server: str, as_json: bool) -> int:
    """The demo of two gateways: a row for each kind of what was there when one was cut off."""
    from algate.cli.lab.lab import LabPlan
    from algate.cli.lab.pair import PairLab
    from algate.cli.lab.pair_trial import PairRow
    from algate.cli.lab.pair_trial import cut_off as trial

    lab = PairLab(LabPlan(public=("198.51.100.200",)))
    with lab:
        say("two gateways are started; then one is cut off")
        rows = list(trial(lab, server))
    if as_json:
        show_rows(rows, PairRow, OutputForm.JSON)
    else:
        for row in rows:
            gap = "" if row.gap_ms is None else f", {row.gap_ms:g} ms"
            went = f"{row.went_on} of {row.number} went on{gap}"
            typer.echo(f"{'ok' if row.ok else 'FAILED':<8}{row.what:<48}{went}")
    typer.echo(f"{sum(row.ok for row in rows)} of {len(rows)} right", err=as_json)
    return 0 if rows and all(row.ok for row in rows) else FAILED


def perform(lab: Lab, gateway: LabGateway, server: str, steps: Steps) -> list[Act]:
    """Run all acts, with a progress display on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from algate.cli.lab import demonstration

    columns = (SpinnerColumn(), TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    acts = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("starting", total=sum(len(modes) for *_, modes in steps))

        def progress(side: str, mode: str, word: str) -> None:
            display.update(task, description=f"{side} inside  {mode}  {word}")

        for act in demonstration.run(lab, gateway, server, progress, steps):
            acts.append(act)
            display.advance(task)
    return acts


def show(acts: Sequence[Act]) -> None:
    """Print the table: what the inside said above what the outside saw, the expectation above the data session."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console = Console(width=150, highlight=False, emoji=False, markup=False)
    if console.width >= TABLE_WIDTH:
        console.print(table(acts))
    else:
        console.print("\n".join(line for act in acts for line in compact(act.row)), soft_wrap=True)


def compact(row: DemoRow) -> list[str]:
    """A row for a terminal that is too narrow for the table: nothing of the evidence is cut. Pure."""
    size = f"{row.bytes / 1e6:.1f} MB, {row.rate / 1e6:.0f} MB/s"
    digests = "sha256 equal" if row.sha256_ok else "sha256 DIFFERS"
    port = "-" if row.public_port is None else str(row.public_port)
    return [
        f"{row.side} inside, {row.mode}: {'ok' if row.ok else 'FAILED'} ({size}, {digests}, public port {port})",
        f"  said inside   {row.inside_line}",
        f"  seen outside  {row.outside_line}",
        f"  expectation   {row.expectation or '-'}",
        f"  data session  {row.data or '-'}",
    ]


def table(acts: Sequence[Act]) -> Table:
    """The acts as a rich table. Pure."""
    from rich.table import Table
    from rich.text import Text

    made = Table(show_lines=True, title="FTP through the gateway")
    made.add_column("inside", no_wrap=True)
    made.add_column("mode", no_wrap=True)
    made.add_column("said inside\nseen outside", ratio=3)
    made.add_column("expectation\ndata session", ratio=4)
    made.add_column("public\nport", justify="right")
    made.add_column("MB\nMB/s", justify="right", no_wrap=True)
    made.add_column("sha256\nall", no_wrap=True)
    for row in (act.row for act in acts):
        verdict = Text("equal\n" if row.sha256_ok else "DIFFERS\n", "green" if row.sha256_ok else "red")
        verdict.append("ok" if row.ok else "FAILED", "bold green" if row.ok else "bold red")
        made.add_row(
            Text(row.side),
            Text(row.mode),
            Text(f"{row.inside_line}\n{row.outside_line}"),
            Text(f"{row.expectation or '-'}\n{row.data or '-'}"),
            Text("-" if row.public_port is None else str(row.public_port)),
            Text(f"{row.bytes / 1e6:.1f}\n{row.rate / 1e6:.0f}"),
            verdict,
        )
    return made


def explain(lab: Lab, gateway: LabGateway, server: str) -> None:
    """Leave servers running on both sides, and print how to look into the lab."""
    from algate.cli.lab.gateways import AlgateGateway
    from algate.cli.lab.servers import start_server

    for host in (lab.server, lab.client):
        start_server(server, host)
    say(f"The lab {lab.tag} keeps running. To look into it:")
    if isinstance(gateway, AlgateGateway):
        for verb in ("sessions", "expectations", "follow", "top"):
            say(f"  algate {verb} --run-dir {gateway.run_dir}")
    say(f"  ip netns exec {lab.client.netns} curl -v ftp://{lab.plan.servers[0]}/pub/     (client inside)")
    say(f"  ip netns exec {lab.server.netns} curl -v ftp://{lab.plan.public[0]}/pub/     (server inside)")
    say(f"To remove it: algate demo --remove {lab.tag}")


def take_away(tag: str) -> int:
    """Remove a kept lab. AlgateError if there is none with that name."""
    from algate.cli.lab.lab import require_root
    from algate.cli.lab.record import records

    require_root()
    found = [record for record in records() if record.tag == tag]
    if not found:
        kept = ", ".join(record.tag for record in records() if record.keep) or "none"
        raise AlgateError(f"no lab called {tag}; kept labs: {kept}")
    found[0].remove()
    return 0
