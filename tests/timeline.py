"""`python -m tests.timeline [SERVERS [MODES [ROUNDS]]] [TREE ...]`: what each step of a session of one client takes.

The law of this file: nft's helper and algate, of this tree's build and of others' beside it, take turns in one run,
each in a lab of its own; medians of all sessions, µs. SERVERS, MODES: divided by commas ("pyftpdlib,vsftpd",
"port"). A TREE is a checkout whose .venv/compiled runs.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from algate.cli.bench.contenders import NFT, TC, contender
from algate.cli.bench.ftp_helper import helper_time
from algate.cli.bench.ftp_servers import BenchServer, BenchServers, make_room
from algate.cli.bench.native import build
from algate.cli.lab import gateways
from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.lab import Lab

SECONDS, ENOUGH = 0.8, 150  # of a sample
# A step of ftp_drive's `enum step`, and the one from which its time is counted (-1: the session's begin).
STEPS = {
    "220": (0, -1), "USER to 331": (1, 0), "PASS to 230": (2, 1), "PASV, PORT to its reply": (3, 2),
    "LIST to 150": (4, 3), "LIST to the data connection": (5, 3), "LIST to the end of the data": (6, 3),
    "LIST to 226": (7, 3), "whole session": (8, -1),
}  # fmt: skip
Times = list[list[int]]  # of each session, ns by step


class Stand:
    """A gateway in a lab of its own, and servers behind it."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name = name
        self.lab = stack.enter_context(Lab())
        for host in (self.lab.client, self.lab.server):
            make_room(host)
        self.drive, self.servers = build(self.lab.folder, "ftp_drive"), BenchServers(self.lab.server, self.lab.folder)
        here = gateways.algate
        if name not in (NFT, TC):
            gateways.algate = partial(list, [str(Path(name) / ".venv/compiled/bin/python"), "-m", "algate.cli.app"])
        try:
            self.gateway: LabGateway = stack.enter_context(contender(NFT if name == NFT else TC, self.lab, None))
        finally:
            gateways.algate = here

    def sample(self, server: BenchServer, mode: str) -> tuple[Times, float]:
        """Sessions, and the helper's CPU time for each (s)."""
        login, before = server.login, helper_time(self.gateway)
        target = self.lab.plan.servers[0]
        argv = [str(self.drive), target, "21", "1", str(SECONDS), mode, login.user, login.password, str(ENOUGH)]
        done = self.lab.client.run([*argv, "steps"], timeout=60, check=True)
        sessions = [[int(word) for word in line.split()] for line in done.stdout.split("\n")[3:] if line]
        return sessions, (helper_time(self.gateway) - before) / max(1, len(sessions))


def step(sessions: Times, place: int, base: int) -> float:
    """Median µs from one step to another, NaN if there is none."""
    found = [one[place] - (one[base] if base >= 0 else 0) for one in sessions if one[place]]
    return median(found) / 1000 if found else float("nan")


def show(stands: list[Stand], kind: str, mode: str, rounds: int) -> None:
    """A table."""
    found: dict[str, Times] = {one.name: [] for one in stands}
    spent: dict[str, list[float]] = {one.name: [] for one in stands}
    with ExitStack() as stack:
        pairs = [(one, stack.enter_context(one.servers.start(kind))) for one in stands]
        for number in range(rounds):
            for one, server in pairs[:: -1 if number % 2 else 1]:
                sessions, cpu = one.sample(server, mode)
                found[one.name] += sessions
                spent[one.name].append(cpu)
    print(f"| {kind}, {mode.upper()} | " + " | ".join(Path(name).name for name in found) + " |")
    print("| --- |" + " --- |" * len(found))
    for title, (place, base) in STEPS.items():
        print(f"| {title} | " + " | ".join(f"{step(one, place, base):.0f}" for one in found.values()) + " |")
    print("| helper, CPU | " + " | ".join(f"{1e6 * median(one):.0f}" for one in spent.values()) + " |\n", flush=True)


def main() -> int:
    """Print a table for each server and mode."""
    words = sys.argv[1:]
    trees = [one for one in words if "/" in one]
    servers, modes, rounds = ([one for one in words if "/" not in one] + ["", "", ""])[:3]
    with ExitStack() as stack:
        stands = [Stand(name, stack) for name in (NFT, TC, *trees)]
        for kind in (servers or "pyftpdlib,vsftpd").split(","):
            for mode in (modes or "port").split(","):
                show(stands, kind, mode, int(rounds or 5))
    return 0


if __name__ == "__main__":
    sys.exit(main())
