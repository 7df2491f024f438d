"""What a gateway leaves on a host: devices, qdiscs, filters, XDP programs, forwarding switches and pins.

The law of this file: it looks only with iproute2, /proc and, for what iproute2 doesn't show, bpf(2); it shares no code
with what it judges.
"""

from __future__ import annotations

import ctypes
import json
import platform
import socket
import struct
from pathlib import Path
from typing import Any

from algate.bpf import pins
from algate.cli.lab.host import Host, call_in

Footprint = dict[str, Any]
QUERY, TCX_INGRESS, TCX_EGRESS = 16, 46, 47  # of bpf(2): BPF_PROG_QUERY, BPF_TCX_*
BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
TCX = tuple(map(int, platform.release().split(".")[:2])) >= (6, 6)
SIX = Path("/proc/sys/net/ipv6/conf")
WAN_FILTERS = ["ingress algate:tc_wan_in", "egress tcx" if TCX else "egress algate:tc_wan_out"]


def footprint(host: Host) -> Footprint:
    """Everything in a namespace that a gateway can change; if it is equal before and after, nothing is left."""
    links = json.loads(host.run(["ip", "-j", "link", "show"], check=True).stdout)
    return {
        "links": {link["ifname"]: "xdp" in link for link in links},
        "filters": {link["ifname"]: filters(host, link["ifname"]) for link in links},
        "fronts": {link["ifname"]: fronts(host, link["ifname"]) for link in links},
        "clsact": sorted(one["dev"] for one in _qdiscs(host) if one["kind"] == "clsact"),
        "switches": call_in(host.netns, _switches),
        "routes": [sorted(_routes(host, family)) for family in ("-4", "-6")],
    }


def filters(host: Host, device: str) -> list[str]:
    """The BPF filters of a device as "hook name", and "egress tcx" for each program on its own egress hook."""
    found = []
    for hook in ("ingress", "egress"):
        text = host.run(["tc", "-j", "filter", "show", "dev", device, hook]).stdout.strip()
        for one in json.loads(text) if text else []:
            name = one.get("options", {}).get("bpf_name")
            found += [f"{hook} {name}"] if name else []
    return found + ["egress tcx"] * len(call_in(host.netns, lambda: _own(device, TCX_EGRESS)))


def fronts(host: Host, device: str) -> list[int]:
    """Ids of the programs on the device's own ingress hook, in their order."""
    return call_in(host.netns, lambda: _own(device, TCX_INGRESS))


def _own(device: str, hook: int) -> list[int]:
    """Ids of the programs on one of the device's own hooks."""
    index = {name: number for number, name in socket.if_nameindex()}.get(device, 0)
    ids = (ctypes.c_uint32 * 64)()
    words = struct.pack("=4IQI4xQQQQ", index, hook, 0, 0, ctypes.addressof(ids), 64, 0, 0, 0, 0)
    asked = ctypes.create_string_buffer(words)
    if ctypes.CDLL(None).syscall(ctypes.c_long(BPF), QUERY, asked, 64) < 0:
        return []  # no such hook, or nothing ever was there
    found: int = struct.unpack_from("=I", asked.raw, 24)[0]
    return list(ids[:found])


def pinned(run_dir: Path) -> list[str]:
    """Names of a run directory's pinned maps."""
    base = pins.folder(run_dir)
    return sorted(one.name for one in base.rglob("*") if one.is_file()) if base.exists() else []


def _qdiscs(host: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.run(["tc", "-j", "qdisc", "show"], check=True).stdout)
    return found


def _routes(host: Host, family: str) -> list[str]:
    """Of all tables; without what the kernel makes for multicast, which comes and goes."""
    text = host.run(["ip", family, "route", "show", "table", "all"]).stdout
    return [line.partition(" expires ")[0].strip() for line in text.splitlines() if not line.startswith("multicast")]


def _switches() -> dict[str, str]:
    base = Path("/proc/sys/net/ipv4")
    wanted = [base / "ip_forward", *base.glob("conf/*/forwarding")]
    found = {str(one.relative_to(base)): one.read_text().strip() for one in sorted(wanted)}
    six = [one for word in ("forwarding", "accept_ra", "proxy_ndp") for one in SIX.glob(f"*/{word}")]
    return found | {str(one.relative_to(SIX.parent.parent)): one.read_text().strip() for one in sorted(six)}
