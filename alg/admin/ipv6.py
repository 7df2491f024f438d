"""How IPv6 stands on a gateway's host: whether it passes, whether it is filtered, and what is behind the gateway.

The law of this file: it reads and changes nothing. What it says of the host is true of the network namespace that it is
called in.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

from algate.alg.admin import control
from algate.alg.answers import Ipv6Answer
from algate.alg.config.load import Config
from algate.alg.findings import CheckRow
from algate.alg.gateway import prefixes
from algate.alg.gateway.inforce import InForce
from algate.alg.gateway.state import State

OPEN = "passes unfiltered: what comes from outside reaches inside hosts"
EARLY = "not filtered before this gateway translates: what comes from outside reaches inside hosts"
CLOSED = "not forwarded before this gateway translates"


def standing(
    config: Config, folder: Path | None = None, routes: str | None = None, *, before: InForce | None = None
) -> Ipv6Answer:
    """For `status`. `folder` and `routes`: instead of the host's own; `before`: what is in force while the gateway
    doesn't translate yet; None: what the configuration says."""
    devices = (*config.gateway.lan, config.gateway.wan)
    forwarded = any(prefixes.switch(one, "forwarding", folder) == "1" for one in devices)
    behind = [str(prefix) for _, prefix in prefixes.behind(config.gateway.lan, routes)]
    wanted, nat64 = config.ipv6.filter, config.nat64.prefix
    filtered, translated = (wanted, nat64) if before is None else before
    late = nat64 is not None and nat64 != translated
    told = "filtered" if filtered else OPEN if forwarded else "not forwarded by this host"
    if filtered and not forwarded:
        told = "filtered, but not forwarded by this host"
    if not filtered and (wanted or late):
        told = CLOSED if not forwarded else EARLY if wanted else OPEN
    if behind and (filtered or forwarded):
        told += f"; inside: {', '.join(behind)}"
    if nat64 is not None:
        told += f"; IPv4 hosts behind {nat64}" + (": not translated yet" if late else "")
    prefix = None if nat64 is None else str(nat64)
    return {"forwarded": forwarded, "filtered": filtered, "prefixes": behind, "nat64": prefix, "told": told}


def check(run_dir: Path, state: State, folder: Path | None = None) -> CheckRow:
    """For `doctor`: what a filter or NAT64 needs of the host. That IPv6 passes unfiltered is told, and no fault."""
    try:
        status = control.request(run_dir, "status", seconds=control.SOON)
    except control.ControlError:
        return CheckRow("ipv6", True, "no daemon to ask")
    known = status.get("ipv6") if isinstance(status, dict) else None
    if not isinstance(known, dict):
        return CheckRow("ipv6", True, "the daemon is of a version that knows nothing of IPv6")
    return judged(known, [*status.get("lan", ()), status.get("wan", "")], folder)


def judged(known: dict[str, Any], devices: Sequence[str], folder: Path | None = None) -> CheckRow:
    """The same of what `status` says; the last of the devices is the WAN."""
    told = str(known["told"])
    if told.startswith((EARLY, CLOSED)):
        return CheckRow("ipv6", told.startswith(CLOSED), told, "" if told.startswith(CLOSED) else "see the row `host`")
    if not known["filtered"] and known["nat64"] is None:
        curable = OPEN in told
        return CheckRow(
            "ipv6", True, told, "[ipv6] filter = true lets in what inside hosts asked for" if curable else ""
        )
    off = [one for one in devices if prefixes.switch(one, "forwarding", folder) == "0"]
    if off:
        switches = " ".join(f"net.ipv6.conf.{one}.forwarding=1" for one in off)
        return CheckRow("ipv6", False, f"{told}; forwarding is off for {', '.join(off)}", f"sysctl {switches}")
    wan = devices[-1]
    if prefixes.switch(wan, "accept_ra", folder) == "1":
        detail = f"{told}; {wan} takes no router advertisements while it forwards (accept_ra = 1)"
        return CheckRow("ipv6", False, detail, f"sysctl net.ipv6.conf.{wan}.accept_ra=2, or set its route by hand")
    inside = [one for one in known["prefixes"] if known["nat64"] and _overlap(one, known["nat64"])]
    if inside:
        detail = f"{told}; NAT64's prefix overlaps {', '.join(inside)}, which is inside"
        return CheckRow("ipv6", False, detail, "give [nat64] another prefix")
    if not known["prefixes"]:
        detail = f"{told}; no IPv6 route leads to an inside device"
        return CheckRow("ipv6", False, detail, "give the LAN an IPv6 prefix")
    return CheckRow("ipv6", True, told)


def _overlap(one: str, other: str) -> bool:
    return IPv6Network(one).overlaps(IPv6Network(other))
