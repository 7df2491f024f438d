"""The objects of answers.py for people: lines of rich text, with units and sentences.

The law of this file: pure, as view.py; text from elsewhere is made harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text

from algate.alg.admin.reasons import limited
from algate.alg.config.spelling import spelled
from algate.alg.rows import RefusalRow
from algate.cli.grid import GAP
from algate.cli.text import NONE, duration, field, printable, scaled, size
from algate.cli.view import pairs

LISTS = ("plugins", "datapath_why", "drops", "refused", "amiss", "notes")  # a line for each of theirs


def status(data: Mapping[str, Any]) -> list[Text]:
    """`status`: times and sizes with their units, a sentence for each plug-in and each reason of drops."""
    shown = dict(data) | {"uptime": duration(data["uptime"]), "control_memory": size(data["control_memory"])}
    shown["sessions"] = f"{data['sessions']} of {shown.pop('max_sessions')}"
    if "ipv6" in shown:  # not of an older daemon
        shown["ipv6"] = data["ipv6"]["told"]
    shown["plugins"] = [_plugin(one) for one in data["plugins"]]
    shown["datapath_why"] = [f"{name}: {why}" for name, why in data["datapath_why"].items()]
    shown["drops"] = [_drop(one) for one in data["drops"]]
    shown["refused"] = [limited(RefusalRow.read(one)).text for one in data["refused"]]
    shown["amiss"] = [f"{one['detail']} ({one['fix']})" for one in data["amiss"]]
    if (pair := shown.pop("ha", None)) is not None:  # None of a gateway alone, nothing of an older daemon
        shown["ha"] = pairs_up(pair)
    if (waiting := data["unconfirmed"]) is not None:
        undone = f"undone in {duration(waiting['left'])} unless you `algate reload --confirm`"
        shown["unconfirmed"] = f"{', '.join(waiting['changed']) or 'nothing'}: {undone}"
    room = max(map(len, shown))
    lines: list[Text] = []
    for name, value in shown.items():
        for number, part in enumerate((value if name in LISTS else [field(value)]) or [NONE]):
            title = f"{'' if number else printable(name):<{room}}"
            lines.append(Text.assemble((title, "bold"), " " * GAP, printable(str(part)), no_wrap=True, end=""))
    return lines


def pairs_up(one: Mapping[str, Any]) -> str:
    """`ha` of `status` in a sentence."""
    words = [f"{one['node']} {one['role']}, {one['state']}", f"epoch {one['epoch'] or NONE}"]
    if one["role"] == "leads":
        words += [f"{one['sessions']} sessions told", f"{one['waiting']} changes wait"]
        words += ["no public port is given out here"] if one["fenced"] else []
    words += [one["problem"]] if one["problem"] else []
    return "; ".join(words)


def silent(data: Mapping[str, Any]) -> list[Text]:
    """`status` of a daemon that doesn't answer, with units."""
    shown = dict(data)
    for name, suffix in (("uptime", ""), ("heartbeat_age", " ago")):
        shown[name] = NONE if data[name] is None else f"{duration(data[name])}{suffix}"
    return pairs(shown)


def _plugin(one: Mapping[str, Any]) -> str:
    ports = ", ".join(f"{one['transport']}/{port}" for port in one["ports"])
    return f"{one['name']}: {f'watches {ports}' if one['enabled'] else 'off'} ({one['origin']})"


def _drop(one: Mapping[str, Any]) -> str:
    cure = f" -> {one['cure']}" if one["cure"] else ""
    return f"{scaled(one['count'])} {one['reason']}: {one['meaning']}{cure}"


def changes(rows: Iterable[Mapping[str, Any]]) -> list[Text]:
    """What a reload changes, a line for each key."""
    lines = []
    for one in rows:
        was, now = (NONE if value is None else printable(spelled(value)) for value in (one["was"], one["now"]))
        when = (f"({printable(one['when'])})", "dim")
        lines.append(Text.assemble((printable(one["key"]), "bold"), f": {was} -> {now} ", when, end=""))
    return lines
