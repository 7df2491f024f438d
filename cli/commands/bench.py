"""`algate bench`: what the gateway costs, next to the kernel's NAT and bare forwarding, in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from algate.alg.errors import FAILED, USAGE, AlgateError
from algate.cli.options import Json
from algate.cli.output import say

if TYPE_CHECKING:
    from algate.cli.bench.plan import Plan
    from algate.cli.bench.record import Record
    from algate.cli.bench.targets import Verdict


def bench(
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Number of rounds; the gateways take turns in each.")
    ] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, to show that it works.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Measure this group of figures; may be repeated.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder for bench.json and bench.svg.")
    ] = Path(),
    as_json: Json = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the targets as a table for a page, and nothing else.")
    ] = False,
) -> int:
    """Measure algate (tc, xdp), nft masquerade and bare forwarding in turn, in separate network namespaces.

    Writes bench.json and bench.svg. Exits with 1 if nothing could be reported.
    """
    from algate.cli.bench import suite
    from algate.cli.bench.plan import GROUPS, make_plan
    from algate.cli.bench.record import Record
    from algate.cli.bench.targets import judge
    from algate.cli.lab.lab import require_root

    unknown = [name for name in only or [] if name not in GROUPS]
    if unknown:
        raise AlgateError(f"no group {unknown[0]!a}; the groups are {', '.join(GROUPS)}", USAGE)
    require_root()
    plan = make_plan(1 if quick else rounds, only or [], quick)
    record = Record(plan.wanted)
    where = suite.machine()
    try:
        measure(plan, record)
    finally:
        verdicts = judge(record)
        data = suite.as_dict(plan, record, verdicts, where)
        if record.figures:
            write(output, data, record)
    if as_json:
        print(json.dumps(data, indent=1))
    elif as_markdown:
        for line in table(record, verdicts):
            print(line)
    else:
        show(record, verdicts)
    usable = any(record.summary(key, name).usable for key in record.figures for name in record.gateways(key))
    return 0 if usable else FAILED


def measure(plan: Plan, record: Record) -> None:
    """Run it, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from algate.cli.bench import suite

    columns = (SpinnerColumn(), TextColumn("{task.description:<36}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("building the labs", total=None)

        def progress(title: str, done: int, whole: int) -> None:
            display.update(task, description=title, completed=done, total=whole)

        suite.run(plan, record, progress)


def write(folder: Path, data: dict[str, Any], record: Record) -> None:
    """Write bench.json and bench.svg."""
    from algate.cli.bench.chart import svg_chart

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
    (folder / "bench.svg").write_text(svg_chart(record, f"algate bench, {data['plan']['rounds']} rounds"))
    say(f"written: {folder / 'bench.json'}, {folder / 'bench.svg'}")


def measured(record: Record, verdicts: list[Verdict]) -> list[Verdict]:
    """Those that this run has figures for."""
    from algate.cli.bench.targets import NOT_MEASURED

    return [one for one in verdicts if one.word != NOT_MEASURED or one.target.mine[0] in record.figures]


def table(record: Record, verdicts: list[Verdict]) -> Iterator[str]:
    """The lines of a Markdown table: each target, what was reached in the median, least and most, and the verdict."""
    from algate.cli.bench.chart import number

    yield "| target | wanted | reached | |"
    yield "| --- | --- | --- | --- |"
    for one in measured(record, verdicts):
        reached = one.reached.refusal
        if one.reached.usable:
            reached = f"{number(one.reached.median)} ({number(one.reached.least)}–{number(one.reached.most)})"
            if one.beside and one.beside.usable and one.target.beside and not one.target.beside[1]:
                reached += f"; {one.target.beside[0][1]}: {number(one.beside.median)}"
        yield f"| {one.target.title} | {one.wanted} | {reached} | {one.word} |"


def show(record: Record, verdicts: list[Verdict]) -> None:
    """Print bars, then the targets that this run has figures for."""
    from algate.cli.bench.chart import number, text_chart

    for line in text_chart(record):
        print(line)
    told = measured(record, verdicts)
    width = max((len(one.target.title) for one in told), default=0)
    for one in told:
        reached = number(one.reached.median) if one.reached.usable else one.reached.refusal
        span = f"({number(one.reached.least)} – {number(one.reached.most)})" if one.reached.usable else ""
        beside = ""
        if one.target.beside and one.beside and one.beside.usable:
            ratio = "×" if one.target.beside[1] else ""
            beside = f" ({one.target.beside[0][1]}'s own: {number(one.beside.median)}{ratio})"
        line = f"{one.target.title:<{width}}  {one.wanted:>9}  {reached:>8} {span:<18} {one.word}"
        print(line + beside)
