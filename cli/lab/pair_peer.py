"""What a pair of algate is compared with: two gateways of nft with the kernel's FTP helper, conntrackd and keepalived.

The law of this file: it is set up as conntrackd's own example says (FTFW, primary-backup.sh), with the helper's
expectations told too, and the same VRRP timers as algate's.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from algate.alg.errors import MISSING
from algate.cli.lab.host import PATIENCE, LabError, Spawned, call_in
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, ip
from algate.cli.lab.pair import LINK, PairLab, revive

RULES = """
table ip nat {{
  ct helper ftp {{ type "ftp" protocol tcp; }}
  chain helpers {{ type filter hook prerouting priority filter; tcp dport 21 ct helper set "ftp"; }}
  chain to_outside {{ type nat hook postrouting priority srcnat; oifname {wan} ip saddr {inside} snat to {public}; }}
}}
table ip guard {{
  chain own {{ type filter hook input priority filter; policy accept; iifname {wan} ip daddr {public} drop; }}
  chain forward {{ type filter hook forward priority filter; policy accept; ct state invalid drop
    iifname {wan} ct state new drop
  }}
}}
"""
CONNTRACKD = """
Sync {{
  Mode FTFW {{ ResendQueueSize 131072
    PurgeTimeout 60
    ACKWindowSize 300 }}
  UDP {{ IPv4_address {here}
    IPv4_Destination_Address {there}
    Port 3780
    Interface ha0
    SndSocketBuffer 4194304
    RcvSocketBuffer 4194304
    Checksum on }}
  Options {{ ExpectationSync {{ ftp }} }}
}}
General {{
  HashSize 32768
  HashLimit 131072
  LogFile {folder}/conntrackd.log
  Syslog off
  LockFile {folder}/lock
  UNIX {{ Path {folder}/ctl }}
  NetlinkBufferSize 4194304
  NetlinkBufferSizeMaxGrowth 16777216
  Filter From Userspace {{
    Protocol Accept {{ TCP
      UDP }}
    Address Ignore {{ IPv4_address 127.0.0.1
      IPv4_address {here}
      IPv4_address {there} }}
  }}
}}
"""
# conntrackd's doc/sync/primary-backup.sh, without its messages.
SCRIPT = """#!/bin/sh
run() {{ {program} -C {file} "$1" >>{folder}/notify.log 2>&1; }}
case $1 in
  primary) run -c; run -f; run -R; run -B ;;
  *) run -t; run -n ;;
esac
"""
KEEPALIVED = """
global_defs {{
  script_user root
  vrrp_version 3
  vrrp_garp_master_delay 0
  vrrp_garp_master_repeat 3
}}
vrrp_instance peer {{
  state BACKUP
  interface ha0
  virtual_router_id 52
  priority 150
  advert_int {advert:g}
  unicast_src_ip {here}
  unicast_peer {{ {there} }}
  virtual_ipaddress {{ {gateway}/{length} dev {lan} }}
  virtual_ipaddress_excluded {{ {public}/32 dev {wan} }}
  notify_master "{folder}/notify.sh primary"
  notify_backup "{folder}/notify.sh backup"
  notify_fault "{folder}/notify.sh fault"
}}
"""


class PeerNode:
    """One of the two. As pair.Node: begin, keep, give_way, die, revive, stop."""

    def __init__(self, lab: PairLab, name: str) -> None:
        self.lab, self.name, self.host = lab, name, lab.hosts[name]
        self.folder = lab.folder / f"peer-{name}"
        self.folder.mkdir(exist_ok=True)
        self.process: Spawned | None = None
        self.keeper: Spawned | None = None
        plan = lab.plan
        self._words = {
            "here": LINK[name], "there": LINK["gw2" if name == "gw" else "gw"], "folder": self.folder,
            "wan": WAN_DEVICE, "lan": LAN_DEVICE, "public": plan.public[0], "inside": plan.inside,
            "gateway": plan.gateway, "length": plan.inside_length, "program": need("conntrackd"),
            "file": self.folder / "conntrackd.conf",
        }  # fmt: skip
        (self.folder / "conntrackd.conf").write_text(CONNTRACKD.format(**self._words))
        script = self.folder / "notify.sh"
        script.write_text(SCRIPT.format(**self._words))
        script.chmod(0o755)

    def begin(self) -> None:
        """Rules and conntrackd."""
        self.host.sysctl("ipv4/ip_forward", "1")
        self.host.run([need("nft"), "-f", "-"], text=RULES.format(**self._words), check=True)
        self.host.sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1")
        (self.folder / "lock").unlink(missing_ok=True)
        self.process = self.host.spawn("conntrackd", [need("conntrackd"), "-C", str(self._words["file"])])
        end = time.monotonic() + 10 * PATIENCE
        while not (self.folder / "ctl").exists():
            if time.monotonic() > end or not self.process.alive():
                raise LabError(f"conntrackd doesn't start in {self.name}: {self.process.tail()}")
            time.sleep(0.02)

    def keep(self, advert: float = 0.1) -> None:
        """Start keepalived."""
        file = self.folder / "keepalived.conf"
        file.write_text(KEEPALIVED.format(advert=advert, **self._words))
        file.chmod(0o644)
        pids = [f"--{kind}={self.folder / kind}" for kind in ("pid", "vrrp_pid")]
        self.keeper = self.host.spawn("keepalived", [need("keepalived"), "-n", "-l", "-P", "-f", str(file), *pids])

    def give_way(self) -> None:
        """A planned switch: its keepalived says goodbye."""
        assert self.keeper is not None
        self.keeper.process.terminate()

    def rejoin(self) -> None:
        """Stand by again."""
        assert self.keeper is not None
        self.keeper.process.wait(10 * PATIENCE)
        self.host.run([str(self.folder / "notify.sh"), "backup"])
        self.keep()

    def known(self) -> int:
        """Sessions of the other node that it knows."""
        told = self.host.run([need("conntrackd"), "-C", str(self._words["file"]), "-s"]).stdout
        lines = told.partition("cache external")[2].splitlines()
        return next((int(line.split()[-1]) for line in lines if "current active connections" in line), 0)

    def die(self) -> None:
        """Power cut."""
        ip("\n".join(f"link set {one} down" for one in ("ha0", LAN_DEVICE, WAN_DEVICE)), self.host.netns)
        self.host.stop_all()

    def revive(self) -> None:
        """Power again: it stands by, and nothing is left of what it held."""
        self.host.run([need("nft"), "flush", "ruleset"])
        self.host.run(["conntrack", "-F"])
        revive(self.lab, self.name)
        self.begin()
        self.host.run([str(self.folder / "notify.sh"), "backup"])
        self.keep()

    def stop(self) -> None:
        """End it."""
        self.host.stop_all()
        self.host.run([need("nft"), "flush", "ruleset"])


def need(program: str) -> str:
    """Its path. LabError if it isn't there."""
    found = shutil.which(program)
    if found is None:
        raise LabError(f"{program} is missing: install Debian's package (deploy/dev.sh setup test does)", MISSING)
    return found


def has_address(lab: PairLab, name: str) -> bool:
    """Whether a node has the public address now."""
    wanted = f"-- {lab.plan.public[0]}\n"
    return call_in(lab.hosts[name].netns, lambda: wanted in Path("/proc/thread-self/net/fib_trie").read_text())


def start_peers(lab: PairLab) -> tuple[PeerNode, PeerNode]:
    """Both gateways; the first has the address."""
    nodes = PeerNode(lab, "gw"), PeerNode(lab, "gw2")
    for one in nodes:
        one.begin()
    nodes[0].keep()
    until_moved(lab, "gw")
    nodes[1].keep()
    return nodes


def until_moved(lab: PairLab, name: str, seconds: float = 30.0) -> None:
    """Until a node has the address. LabError if that takes too long."""
    end = time.monotonic() + seconds * PATIENCE
    while not has_address(lab, name):
        if time.monotonic() > end:
            raise LabError(f"the address didn't come to {name} within {seconds:g} s")
        time.sleep(0.005)
