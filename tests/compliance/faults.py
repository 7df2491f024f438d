"""`python -m tests.compliance.faults [ROW ...]`: plant faults in a copy of the IPv6 filter, and see its rows say no.

The law of this file: as tests/cases/faults, for rows of the table; a change whose text is no longer in the source is an
error, which the unit rung notices. `shown.txt` has the rows with the change that made them fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.planted import LONGEST, Planted, tree_with

SHOWN = Path(__file__).with_name("shown.txt")


@dataclass(frozen=True)
class RowFault(Planted):
    """Each of `rows` must then say no."""

    rows: tuple[str, ...]
    file: str
    old: str
    new: str


H = "bpf/include/"
FAULTS = (
    RowFault(("6-A1",), f"{H}leave6.h", "put_hops(skb, p, p->ttl - 1)", "put_hops(skb, p, p->ttl)"),
    RowFault(
        ("6-A2", "6-A2-silent", "6-A3-apdf", "6-A3-adf", "6-A7-none"), f"{H}new6.h",
        "return reason == DROP_EXPECT_SPENT ? reason : DROP_UNSOLICITED;", "return 0;",
    ),
    RowFault(("6-A2-allow",), f"{H}new6.h", "if (a->flags & ADMISSION_SOURCES) {", "if (0) {"),
    RowFault(
        ("6-A3-adf",), f"{H}peers6.h", "return cfg->flags & CONFIG_FILTER_ADF && key->remote_ip && peer_known(key);",
        "return false;",
    ),
    RowFault(("6-A3-eif",), f"{H}peers6.h", "        return peer_known(&any);", "        return false;"),
    RowFault(("6-A4-echo",), f"{H}parse6.h", "= icmp->icmp6_dataun.u_echo.identifier;", "= 0;"),
    RowFault(("6-A4-errors",), f"{H}icmp6.h", "inner->source_port = words[0];", "inner->source_port = words[1];"),
    RowFault(("6-A4-none",), f"{H}icmp6.h", "return too_big ? 0 : DROP_NO_SESSION;", "return 0;"),
    RowFault(
        ("6-A4-own",), "bpf/gateway6.bpf.c", " || (at == AT_WAN_OUT && !skb->ingress_ifindex)) /* the gateway's own */",
        ")",
    ),
    RowFault(("6-A5",), f"{H}parse6.h", "#define EXTENSIONS_MOST 8 ", "#define EXTENSIONS_MOST 1 "),
    RowFault(("6-A5-zero",), f"{H}parse6.h", "if (head[2] == 0 || (head[3]", "if ((head[3]"),
    RowFault(("6-A5-unread",), f"{H}parse6.h", "        if (!first)\n", "        if (0)\n"),
    RowFault(
        ("6-A6", "6-A6-first"), f"{H}fragment6.h", "if (room->tails >= TAILS_A_WINDOW ||", "if (1 || !room->tails ||"
    ),
    RowFault(("6-A6-first",), f"{H}fragment6.h", "return first && !intern_ends(", "return !first && !intern_ends("),
    RowFault(("6-A6-first",), f"{H}fragment6.h", ": tail_awaited(skb, cfg, p);", ": false;"),
    RowFault(("6-A6-overlap",), f"{H}fragment6.h", "if (seen & mask || __sync", "if (__sync"),
    RowFault(("6-A6-atomic",), f"{H}parse6.h", "(word & 1 ? IP_MORE_FRAGMENTS : 0);", "IP_MORE_FRAGMENTS;"),
    RowFault(("6-A7-spoken",), f"{H}new6.h", "return speaks(cfg, p, IPPROTO_UDP, 500, now) ||", "return false && "),
    RowFault(("6-A7-any",), f"{H}new6.h", "if (six->flags & SIX_IPSEC_ANY)", "if (0)"),
    RowFault(("6-A7-none",), f"{H}new6.h", "if (!(six->flags & SIX_IPSEC_SPOKEN) || !p->source", "if (!p->source"),
    RowFault(
        ("6-A7-other",), f"{H}parse6.h", "        return parse_refused(p, DROP_EXTENSION);\n    return PARSED_FLOW;\n}",
        "        return parse_refused(p, DROP_EXTENSION);\n    return parse_refused(p, DROP_PROTOCOL);\n}",
    ),
    RowFault(
        ("6-A8",), f"{H}new6.h", "if (at != AT_TAP && !source_is_routed(skb, &p, cfg->lan[0], cfg->wan))", "if (0)"
    ),
    RowFault(("6-A12",), "alg/daemon/following.py", "        if self._prefixes is not None:", "        if False:"),
)  # fmt: skip


def shown() -> dict[str, str]:
    """Row -> digest of a change under which it said no."""
    return dict(line.split() for line in SHOWN.read_text().splitlines()) if SHOWN.exists() else {}


def main(words: list[str]) -> int:
    """Exit code 0 if every fault was noticed."""
    missed = 0
    for fault in FAULTS:
        rows = [row for row in fault.rows if not words or row in words]
        if not rows:
            continue
        said = answers(fault, rows)
        for row in rows:
            one = said.get(row, {"yes": True, "broken": True, "why": "didn't run"})
            noticed = not one["yes"] and not one["broken"] and "does not start" not in str(one["why"])
            missed += not noticed
            print(f"{row}: {'noticed' if noticed else 'NOT NOTICED'}: {one['why']}", flush=True)
            if noticed:
                known = shown() | {row: fault.digest}
                SHOWN.write_text("".join(f"{name} {known[name]}\n" for name in sorted(known)))
    return 1 if missed else 0


def answers(fault: RowFault, rows: list[str]) -> dict[str, dict[str, object]]:
    """What these rows say in a copy of the tree with that fault."""
    with tree_with(fault) as (tree, env):
        done = subprocess.run(
            [sys.executable, "-m", "tests.compliance", "--json", "algate", *rows], cwd=tree, text=True, env=env,
            capture_output=True, timeout=LONGEST,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            print(done.stderr[-1500:], file=sys.stderr)
        found: dict[str, dict[str, object]] = json.loads(lines[-1]) if lines else {}
        return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
