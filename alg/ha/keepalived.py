"""What keepalived is told: one instance, whose addresses move together between the two nodes.

The law of this file: a configuration in, text out. Which node is fit to lead says a file that the daemon writes; that
it still works says another one, which is soon out of date if the daemon is stopped or gone.
"""

from __future__ import annotations

from pathlib import Path

from algate.alg.config.sections import Config
from algate.alg.errors import AlgateError

PRIORITY = "ha-priority"  # in the run directory
ALIVE = "ha-alive"  # there too: the second of CLOCK_BOOTTIME until which the daemon is taken for alive
LOOK = "ha-alive.sh"  # there too: whether it is
SILENT = 100  # by how much a node whose daemon is silent is less fit: it keeps the address if nobody else wants it
LOOKING = "read -r up _ </proc/uptime && read -r until <{alive} && test ${{up%%.*}} -lt $until\n"
ROUTER = 51
LEAVE = "# Written by `algate ha keepalived`: write it anew when [ha] or [nat] addresses change."


def text(config: Config, device: str, inside: tuple[str, ...], run_dir: Path, advert: float = 0.1) -> str:
    """A keepalived.conf. `device`: that of the two nodes' own link; `inside`: addresses that inside hosts use as their
    gateway, with prefix; `advert`: s between two signs of life: three missing ones, and the other node leads."""
    ha = config.ha
    if not ha.node or ha.engine is None or ha.peer is None:
        raise AlgateError("there is no second gateway: [ha] node isn't set", 2)
    wan = [f"        {one}/32 dev {config.gateway.wan}" for one in config.nat.addresses]
    lan = [f"        {one} dev {config.gateway.lan[0]}" for one in inside]
    lines = [
        LEAVE,
        "global_defs {",
        f"    router_id algate-{ha.node}",
        "    vrrp_version 3",
        "    vrrp_garp_master_delay 0",
        "    vrrp_garp_master_repeat 3",
        "    vrrp_garp_master_refresh 10",
        "}",
        "track_file algate_fit {",
        f"    file {run_dir / PRIORITY}",
        "    weight 1",
        "    init_file -254",  # until algate says otherwise this node isn't fit
        "}",
        "vrrp_script algate_alive {",
        f'    script "/bin/sh {run_dir / LOOK}"',
        "    interval 1",
        "    timeout 2",
        "    fall 1",
        "    rise 1",
        f"    weight -{SILENT}",
        "    user root",
        "}",
        "vrrp_instance algate {",
        "    state BACKUP",
        f"    interface {device}",
        f"    virtual_router_id {ROUTER}",
        "    priority 150",
        f"    advert_int {advert:g}",
        f"    unicast_src_ip {ha.engine.ip}",
        "    unicast_peer {",
        f"        {ha.peer.ip}",
        "    }",
        "    virtual_ipaddress {",
        *lan,
        "    }",
        "    virtual_ipaddress_excluded {",
        *wan,
        "    }",
        "    track_file {",
        "        algate_fit",
        "    }",
        "    track_script {",
        "        algate_alive",
        "    }",
        "}",
    ]
    return "\n".join(lines) + "\n"
