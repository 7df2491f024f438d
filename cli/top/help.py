"""The page that `?` shows: every key, and what the view that is shown can be filtered and sorted by.

The law of this file: pure; words only.
"""

from __future__ import annotations

import textwrap

from rich.text import Text

from algate.cli.top.all import VIEWS
from algate.cli.top.views import TopView

ROOM = 9  # cells for keys
WORDS = {
    "sessions": "LEFT: time until it ends if nothing comes; exp: an expectation, under its control session",
    "hosts": "SESSIONS and PORTS with the host's limit, if it has one; NEW/S: new sessions a second",
    "ports": "HELD DOWN: freed a moment ago, kept from other hosts; FULL IN: at the growth of the last day",
    "drops": "drop: lost; held: waits and goes on; helper: what it met; else what a plug-in refused lately",
    "events": "what plug-ins said and refused, the newest first; `algate follow` has them all",
}
EXAMPLES = {
    "sessions": "proto=tcp inside=10.0.0.0/24 outside=:21 idle=60 10.0.0.7",
    "hosts": "inside=10.0.0.0/24",
    "ports": "proto=udp",
    "events": "reason=any alg=ftp",
}


def help_lines(view: TopView, width: int) -> list[Text]:
    """For one view, wrapped to a width."""
    names = "  ".join(f"{one.key} {one.name}" for one in VIEWS.values())
    filters = " ".join(f"{name}=" for name in view.names)
    pairs = [
        ("1 to 5", f"views: {names}"),
        ("Enter", "open: all of a row and `explain`; of a host its sessions. Esc goes back"),
        ("s  S", "next or last order: " + ", ".join(view.sorts)),
        ("r", "reverse the order"),
        ("/", f"filter: words, or {filters}" if filters else "filter: words that must occur"),
        *([("", f"such as: {EXAMPLES[view.name]}")] if view.name in EXAMPLES else []),
        ("Esc", "show all again"),
        ("k", "end the selected session, or all of a host; asks first"),
        ("p  Space", "pause and resume"),
        ("arrows", "select; PgUp, PgDn, Home and End too"),
        ("^Z  q", "suspend; quit"),
        ("", WORDS[view.name]),
    ]
    lines = [Text("keys", "bold")]
    for keys, what in pairs:
        for number, part in enumerate(textwrap.wrap(what, max(20, width - ROOM - 2)) or [""]):
            lines.append(Text(f"  {keys if not number else '':<{ROOM}}", "bold").append(part, "not bold"))
    return lines
