"""What `algate doctor` looks at in the gateway of one run directory: daemon, switches, pins, programs.

The law of this file: as in doctor.py, it looks and changes nothing; not even a bpffs is mounted. No gateway running
isn't a fault; half of one is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from algate.alg.admin import control, dns64, ipv6, silence
from algate.alg.admin.reasons import limited
from algate.alg.findings import CheckRow
from algate.alg.gateway.state import DeviceState, State
from algate.alg.rows import RefusalRow, host_of

DROPS_MOST = 5
NAMESPACE = "start it with `nsenter --net=/run/netns/NAME algate run ...`, not with `ip netns exec` (README.md)"
TAKE_OVER = "start `algate run` again (it takes over, established sessions go on), or run `algate down`"


def checks(run_dir: Path) -> list[tuple[str, Callable[[], CheckRow]]]:
    """The checks by name, in the order to run them."""
    return [
        ("daemon", lambda: daemon(run_dir)),
        ("host", lambda: host(run_dir)),
        ("drops", lambda: drops(run_dir)),
        ("forwarding", lambda: forwarding(State.load(run_dir))),
        ("ipv6", lambda: ipv6.check(run_dir, State.load(run_dir))),
        ("dns64", lambda: dns64.check(run_dir)),
        ("pins", lambda: pins(run_dir)),
        ("programs", lambda: programs(State.load(run_dir))),
        ("forwards", lambda: forwards(run_dir, State.load(run_dir))),
        ("limits", lambda: limits(run_dir)),
    ]


def daemon(run_dir: Path) -> CheckRow:
    """Whether the helper answers on its control socket."""
    try:
        status = control.request(run_dir, "status", seconds=control.SOON)
    except control.SilentError:
        return CheckRow("daemon", False, silence.sentence(silence.known(run_dir)), silence.FIX)
    except control.ControlError as error:
        if "no daemon on" in str(error):
            return CheckRow("daemon", True, f"not running on {run_dir}", "start it with `algate run`")
        return CheckRow("daemon", False, str(error), "see its log, then restart it: established sessions go on")
    if not isinstance(status, dict):
        return CheckRow("daemon", False, "its status can't be understood", "use the same version on both ends")
    return CheckRow("daemon", True, f"answers on {run_dir}")


def host(run_dir: Path) -> CheckRow:
    """What the daemon finds amiss with the host around it, and whether it translates."""
    try:
        status = control.request(run_dir, "status", seconds=control.SOON)
    except control.ControlError:
        return CheckRow("host", True, "no daemon to ask")
    amiss = status.get("amiss", [])
    fixes = "; ".join(dict.fromkeys(one["fix"] for one in amiss))
    if status["state"] != "translating":
        return CheckRow(
            "host", False, "; ".join([status["state"], *(one["detail"] for one in amiss)]), fixes or "see there"
        )
    return CheckRow("host", True, "; ".join(one["detail"] for one in amiss) or "nothing is amiss", fixes)


def drops(run_dir: Path) -> CheckRow:
    """What the gateway dropped most, and the cure of each reason. Not a fault of the host: it never fails."""
    try:
        some = control.request(run_dir, "status", seconds=5.0).get("drops", [])[:DROPS_MOST]
    except control.ControlError:
        return CheckRow("drops", True, "no daemon to ask")
    told = [f"{one['count']} {one['reason']} ({one['cure'] or one['meaning']})" for one in some]
    cures = [one["cure"] for one in some if one["cure"]]
    return CheckRow("drops", True, "; ".join(told) or "none", "; ".join(cures))


def forwarding(state: State, conf: Path = Path("/proc/sys/net/ipv4/conf")) -> CheckRow:
    """Whether the kernel forwards for the gateway's devices. `algate run` turns it on; other tools may turn it off."""
    values = {name: _read(conf / name / "forwarding") for name in state.devices}
    off = [name for name, value in values.items() if value == "0"]
    if off:
        switches = " ".join(f"net.ipv4.conf.{name}.forwarding=1" for name in off)
        return CheckRow("forwarding", False, f"off for {', '.join(off)}", f"sysctl {switches}")
    on = [name for name, value in values.items() if value == "1"]
    return CheckRow("forwarding", True, f"on for {', '.join(on)}" if on else "`algate run` turns it on for its devices")


def pins(run_dir: Path) -> CheckRow:
    """The maps that keep sessions while no daemon runs, and whether they have this version's layout."""
    from algate.bpf import abi, description
    from algate.bpf import pins as places

    if not places.exists(run_dir) and (whose := _translating(run_dir)):
        return CheckRow(
            "pins", False, f"none to be seen here, though {whose}: all traffic ends with the daemon", NAMESPACE
        )
    if not any(places.is_bpffs(path) for path in (places.BPFFS, *places.PLACES)):
        return CheckRow("pins", True, "none: bpffs isn't mounted")
    folder = places.folder(run_dir)
    layouts = sorted(places.names(folder))
    own = abi.layout_hash()
    foreign = [name for name in layouts if name != own]
    if foreign and all(description.read(folder / name) for name in foreign):
        return CheckRow("pins", True, f"another version's in {folder}: `algate run` carries its sessions over")
    if foreign:
        detail = f"{folder} holds maps of another version ({', '.join(foreign)})"
        return CheckRow("pins", False, detail, f"algate down --purge --run-dir {run_dir}, which ends their sessions")
    if not layouts:
        return CheckRow("pins", True, f"none in {folder}")
    return CheckRow("pins", True, f"{len(places.names(folder / own))} in {folder / own}, of this version")


def _translating(run_dir: Path) -> str:
    """Who says that programs of this run directory are at work: its daemon, or the devices here. "": nobody."""
    with contextlib.suppress(control.ControlError):
        if control.request(run_dir, "status", seconds=control.SOON)["pins"]:
            return "the daemon translates"
    attached = [note.name for note in State.load(run_dir).devices.values() if _missing(note) == []]
    return f"programs are on {', '.join(attached)}" if attached else ""


def programs(state: State) -> CheckRow:
    """Whether every device that the gateway noted still has the programs of its role."""
    if not state.devices:
        return CheckRow("programs", True, "none attached")
    whole, lacking, absent = [], [], []
    for note in state.devices.values():
        missing = _missing(note)
        if missing is None:
            absent.append(note.name)
        elif missing:
            lacking.append(f"{note.name} lacks {', '.join(missing)}")
        else:
            whole.append(f"{note.name} ({note.role}{', xdp ' + note.xdp if note.xdp else ''})")
    if lacking or (whole and absent):
        gone = [f"{name} is gone" for name in absent]
        return CheckRow("programs", False, "; ".join([*lacking, *gone]), TAKE_OVER)
    if absent:
        return CheckRow("programs", True, f"{', '.join(absent)}: not in this network namespace, not looked at")
    return CheckRow("programs", True, f"attached to {', '.join(whole)}")


def forwards(run_dir: Path, state: State) -> CheckRow:
    """Whether the host's routes lead inside to what is forwarded or let in, if this is the gateway's namespace."""
    from algate.alg.gateway import netlink, reach

    wan = next((one for one in state.devices.values() if one.role == "wan"), None)
    if wan is None or netlink.device_indices().get(wan.index) != wan.name:
        return CheckRow("forwards", True, "no gateway in this network namespace")
    try:
        rows = control.request(run_dir, "forward-list", seconds=control.SOON)
    except control.ControlError:
        return CheckRow("forwards", True, "no daemon to ask")
    targets = {host_of(str(row["to"])) for row in rows}
    with contextlib.suppress(control.ControlError):  # IPv6 isn't filtered
        targets |= {str(row["to"]) for row in control.request(run_dir, "allow-list", seconds=control.SOON)}
    words = sorted(filter(None, (reach.obstacle(ip_address(one), wan.name) for one in targets)))
    if words:
        fix = "route it to an inside device, or `algate forward del`, `algate allow del`"
        return CheckRow("forwards", False, "; ".join(words), fix)
    return CheckRow("forwards", True, f"{len(targets)} targets, each with a route")


def limits(run_dir: Path) -> CheckRow:
    """Which inside hosts were refused new sessions lately. That is what limits are for, so it is no fault."""
    try:
        status = control.request(run_dir, "status", seconds=5.0)
    except control.ControlError:
        return CheckRow("limits", True, "no daemon to ask")
    told = [limited(RefusalRow.read(one)) for one in status.get("refused", [])]
    detail = "; ".join(one.text for one in told) or "no host was refused new sessions lately"
    return CheckRow("limits", True, detail, "; ".join(dict.fromkeys(one.cure for one in told if one.cure)))


def _missing(note: DeviceState) -> list[str] | None:
    """The programs that the device lacks; None if it isn't in this namespace."""
    from algate.alg.gateway import hooks, netlink

    device = netlink.find_device(note.name)
    if device is None or device.index != note.index:
        return None
    name = "tc_lan" if note.role == "lan" else "tc_wan_in"
    wanted, missing = {netlink.INGRESS: name}, []
    if note.front and note.front not in hooks.programs(note.index, netlink.INGRESS):
        missing = [hooks.FRONT[name]]
    if note.role == "wan" and note.tcx:
        missing += [] if note.tcx in hooks.programs(note.index, netlink.EGRESS) else ["tc_wan_out"]
    elif note.role == "wan":
        wanted[netlink.EGRESS] = "tc_wan_out"
    return missing + [name for hook, name in wanted.items() if name not in netlink.filter_names(note.index, hook)]


def _read(path: Path) -> str | None:
    """The stripped text of a small file, None if it isn't there (the device is in another namespace)."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
