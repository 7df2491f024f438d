"""What a gateway leaves on a host: devices, qdiscs, filters, XDP programs, forwarding switches and pins.

The law of this file: it looks only with iproute2 and /proc, and shares no code with what it judges.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from algate.bpf import pins
from algate.cli.lab.host import Host, call_in

Footprint = dict[str, Any]


def footprint(host: Host) -> Footprint:
    """Everything in a namespace that a gateway can change; if it is equal before and after, nothing is left."""
    links = json.loads(host.run(["ip", "-j", "link", "show"], check=True).stdout)
    return {
        "links": {link["ifname"]: "xdp" in link for link in links},
        "filters": {link["ifname"]: filters(host, link["ifname"]) for link in links},
        "clsact": sorted(one["dev"] for one in _qdiscs(host) if one["kind"] == "clsact"),
        "switches": call_in(host.netns, _switches),
    }


def filters(host: Host, device: str) -> list[str]:
    """The BPF filters of a device as "hook name"."""
    found = []
    for hook in ("ingress", "egress"):
        text = host.run(["tc", "-j", "filter", "show", "dev", device, hook]).stdout.strip()
        for one in json.loads(text) if text else []:
            name = one.get("options", {}).get("bpf_name")
            found += [f"{hook} {name}"] if name else []
    return found


def pinned(run_dir: Path) -> list[str]:
    """Names of a run directory's pinned maps."""
    base = pins.folder(run_dir)
    return sorted(one.name for one in base.rglob("*") if one.is_file()) if base.exists() else []


def _qdiscs(host: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.run(["tc", "-j", "qdisc", "show"], check=True).stdout)
    return found


def _switches() -> dict[str, str]:
    base = Path("/proc/sys/net/ipv4")
    wanted = [base / "ip_forward", *base.glob("conf/*/forwarding")]
    return {str(one.relative_to(base)): one.read_text().strip() for one in sorted(wanted)}
