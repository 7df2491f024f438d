"""Tayga, the stateless NAT64 of user space, as a gateway of the bench.

The law of this file: it is set up as its own manual has it, one IPv4 address for each inside host, and leaves nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path

from algate.alg.errors import MISSING
from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.host import LabError, Spawned
from algate.cli.lab.lab import Lab, ip
from algate.cli.lab.trial import NAT64_PREFIX

DEVICE = "tayga"
POOL = IPv4Network("198.18.0.0/24")  # of the inside hosts, as the outside has them
OWN = POOL[254]
HOSTS = 50  # inside hosts with an address
UNPACKED = Path(sys.prefix) / "servers/tayga/usr/sbin/tayga"


class TaygaGateway(LabGateway):
    """Debian's package, installed or unpacked (`deploy/dev.sh setup test`)."""

    name = DEVICE

    def __init__(self, lab: Lab, hosts: Mapping[str, str] | None = None) -> None:
        """`hosts`: IPv4 addresses of POOL by those that they stand for; else the bench's."""
        super().__init__(lab)
        self.process: Spawned | None = None
        first = IPv6Address(lab.plan.clients6[0])
        self.hosts = hosts or {str(first + host): str(POOL[1 + host]) for host in range(HOSTS)}

    def start(self) -> None:
        program = shutil.which("tayga") or str(UNPACKED)
        if not Path(program).exists():
            raise LabError("tayga is missing: `deploy/dev.sh setup test` unpacks Debian's package", MISSING)
        gw, file = self.lab.gw, self.lab.folder / "tayga.conf"
        file.write_text(self._config())
        gw.run([program, "--mktun", "-c", str(file)], check=True)
        gw.sysctl("ipv4/ip_forward", "1")
        ip(f"link set {DEVICE} up\nroute add {POOL} dev {DEVICE}\nroute add {NAT64_PREFIX} dev {DEVICE}", gw.netns)
        self.process = gw.spawn(DEVICE, [program, "-d", "-c", str(file)])

    def _config(self) -> str:
        maps = "\n".join(f"map {four} {six}" for six, four in self.hosts.items())
        wan6 = self.lab.plan.wan6.replace("::/64", "::64")
        own = f"ipv4-addr {OWN}\nipv6-addr {wan6}\nprefix {NAT64_PREFIX}"
        return f"tun-device {DEVICE}\n{own}\n{maps}\ndata-dir {self.lab.folder}\n"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None
        self.lab.gw.run(["ip", "link", "del", DEVICE])
        self.lab.gw.sysctl("ipv4/ip_forward", "0")
