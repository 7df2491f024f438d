"""Translators beside a gateway: a DNS64 on its host, a CLAT on the client's. Debian's, unpacked and not installed.

The law of this file: it sets them up in the lab; they end with it, or when they are killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from algate.cli.lab.host import Spawned
from algate.cli.lab.lab import Lab, ip
from algate.cli.lab.trial import NAT64_PREFIX

UNPACKED = Path(sys.prefix) / "servers"


def gateway_address(lab: Lab) -> str:
    return lab.plan.inside6.replace("::/64", "::1")


def unbound(lab: Lab) -> Spawned:
    """On the gateway's host, as many have it."""
    config = lab.folder / "unbound.conf"
    config.write_text(f"""
server:
  directory: "{lab.folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  interface: {gateway_address(lab)}
  access-control: ::/0 allow
  module-config: "dns64 iterator"
  dns64-prefix: {NAT64_PREFIX}
forward-zone:
  name: "."
  forward-addr: {lab.plan.servers[0]}
remote-control:
  control-enable: no
""")
    program = UNPACKED / "unbound/usr/sbin/unbound"
    return lab.gw.spawn("unbound", [str(program), "-d", "-c", str(config)])


def tayga(lab: Lab, own: str, mapped: str) -> Spawned:
    """A CLAT: the host's IPv4 leads into it, and out of it comes IPv6 from an address of its own (RFC 6877)."""
    config, program = lab.folder / "tayga.conf", str(UNPACKED / "tayga/usr/sbin/tayga")
    config.write_text(f"""
tun-device clat
ipv4-addr 192.0.0.1
ipv6-addr {mapped}:1
prefix {NAT64_PREFIX}
map {own} {mapped}
data-dir {lab.folder}
""")
    host = lab.client
    host.run([program, "--mktun", "-c", str(config)], check=True)
    for key in ("ipv6/conf/all/forwarding", "ipv6/conf/all/proxy_ndp", "ipv4/ip_forward"):
        host.sysctl(key, "1")
    ip(
        f"link set clat up\naddr add {own}/32 dev clat\nroute replace default dev clat src {own} mtu 1480 advmss 1440\n"
        f"route add {mapped}/128 dev clat\nneigh add proxy {mapped} dev eth0",
        host.netns,
    )
    return host.spawn("tayga", [program, "-d", "-c", str(config)])
