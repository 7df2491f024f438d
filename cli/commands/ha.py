"""`algate ha`: two gateways, of which one goes on where the other ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from algate.alg.rows import LeaseRow
from algate.cli.commands.whose import day_time
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_object, show_rows, show_text
from algate.cli.text import printable
from algate.client import Client


def status(as_json: Json = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> int:
    """Say whether this node leads or stands by, or what it leases, and if all is in step. Exit code 1: it isn't."""
    told = Client(run_dir).ha_status()
    if as_json:
        show_object(told, OutputForm.JSON)
    else:
        show_text(
            f"{name.replace('_', ' '):<10}{printable(str(value))}\n" for name, value in told.items() if value != ""
        )
    return 0 if told["state"] == "in step" else 1


def leases(as_json: Json = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> int:
    """Say which of the gateways that share addresses had which ports when."""
    rows = [LeaseRow.read(one) for one in Client(run_dir).ask("ha-leases")]
    if as_json:
        show_rows(rows, LeaseRow, OutputForm.JSON)
    else:
        show_text(
            f"{one.ports:<12} {printable(one.node)}, from {day_time(one.since)} until "
            f"{'now' if one.until is None else day_time(one.until)}\n"
            for one in rows
        )
    return 0


def yield_(run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Have keepalived move the addresses to the other node, which is told the youngest sessions too until then."""
    Client(run_dir).ask("ha-yield")
    say("algate: the other node leads as soon as keepalived has moved the addresses: see `algate ha status` there")


def resync(run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Tell the other node everything anew."""
    Client(run_dir).ask("ha-resync")
    say("algate: the other node is told everything anew: see `algate ha status`")


def keepalived(
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", readable=False, help="Configuration file (TOML).")
    ],
    inside: Annotated[
        list[str],
        typer.Option("--inside", metavar="IP/LENGTH", help="The address that inside hosts use; may be repeated."),
    ],
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="IF", help="The nodes' own link; else by the address of ha.engine."),
    ] = None,
    advert: Annotated[
        float, typer.Option("--advert", metavar="SECONDS", min=0.01, max=40, help="Between two signs of life.")
    ] = 0.1,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Print a keepalived.conf that moves the addresses of [nat] and those inside between the two nodes."""
    from ipaddress import ip_interface

    from algate.alg.config import load as configuration
    from algate.alg.errors import USAGE, AlgateError
    from algate.alg.gateway import netlink
    from algate.alg.ha import keepalived as made
    from algate.alg.plugin import policy, registry

    loaded = configuration.load(config, {}, policy.kinds(registry.discover()))
    for one in inside:
        try:
            ip_interface(one)
        except ValueError:
            raise AlgateError(f"--inside {one!a} is not an address with a length, like 10.0.0.1/24", USAGE) from None
    if device is None:
        address = loaded.ha.engine.ip if loaded.ha.engine is not None else None
        found = ((name, netlink.find_device(name)) for name in netlink.device_names() if name != "lo")
        device = next((name for name, one in found if one and address in [ip.ip for ip in one.addresses]), None)
        if device is None:
            raise AlgateError(f"no device has the address of ha.engine, {address}: give --device", USAGE)
    sys.stdout.write(made.text(loaded, device, tuple(inside), run_dir, advert))


VERBS = {"status": status, "leases": leases, "yield": yield_, "resync": resync, "keepalived": keepalived}
