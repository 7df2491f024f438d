"""What stands in the middle while the bench measures: algate in both ways, the kernel's NAT, and the bounds.

The law of this file: each is a `Gateway` of the lab, and none is treated specially; after `stop` nothing of it is left
attached, which `leftovers` proves.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from algate.alg.config.ha import halves
from algate.alg.errors import MISSING
from algate.alg.gateway import hooks, netlink
from algate.alg.plugin.values import PortRange
from algate.cli.bench import conntrack
from algate.cli.bench.benchmark import BenchPrograms
from algate.cli.bench.tayga import TaygaGateway
from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward, RouteGateway
from algate.cli.lab.host import LabError, call_in
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab
from algate.cli.lab.trial import NAT64_PREFIX

TC, XDP, NFT, ROUTE, XDP_FORWARD, FLOOR = "algate-tc", "algate-xdp", "nft", "route", "xdp-forward", "xdp-drop"
TOLD, PAIRED, HALVED = "algate-told", "algate-ha", "algate-half"
FILTER6, NAT64, NFT6, TAYGA = "algate-filter6", "algate-nat64", "nft6", "tayga"
NAT64_XDP = "algate-nat64-xdp"
NAT = (TC, XDP, NFT)
ENGINES = 6379, 6380
MEANING = {
    TC: "algate, TC programs",
    XDP: "algate, XDP and TC programs",
    TOLD: "algate, TC programs, each session logged in a file as it is made and as it ends",
    PAIRED: "algate, TC programs, telling all to the engine of another node",
    HALVED: "algate, TC programs, with the public ports that a node of a pair has, telling nobody",
    FILTER6: "algate, TC programs, IPv6 through its filter",
    NAT64: "algate, TC programs, IPv6 hosts by NAT64",
    NAT64_XDP: "algate, XDP and TC programs, IPv6 hosts by NAT64",
    NFT6: "nft's forward chain for IPv6, by what conntrack knows",
    TAYGA: "Tayga, a stateless NAT64 in user space behind a TUN device",
    NFT: "nft masquerade with the kernel's FTP helper",
    ROUTE: "the stack's routing, no NAT",
    XDP_FORWARD: "XDP FIB forwarding, no NAT",
    FLOOR: "XDP_DROP: what a packet costs before anything is done",
}


class NftGateway(KernelGateway):
    """The least that does the job: masquerade and the FTP helper, without a real gateway's filter."""

    name = NFT

    def _rules(self) -> str:
        rules = super()._rules()
        return rules[: rules.index("table ip guard")]

    def stop(self) -> None:
        super().stop()
        conntrack.forget(self.lab)


class PairedGateway(AlgateGateway):
    """The active one of two: its engines are on this host too, which costs more than it does elsewhere."""

    name = PAIRED

    def start(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise LabError("redis-server is missing: install Debian's redis-server", MISSING)
        for port in ENGINES:
            argv = [program, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(self.lab.folder)]
            self.lab.gw.spawn("redis", argv)
            if not self.lab.gw.wait_port(port):
                raise LabError("redis-server doesn't listen in the bench's namespace")
        super().start()
        end = time.monotonic() + self.wait
        while self.ask("ha-status")["state"] != "in step":
            if time.monotonic() > end:
                raise LabError(f"algate doesn't lead: {self.ask('ha-status')}")
            time.sleep(0.05)

    def stop(self) -> None:
        super().stop()
        for one in [one for one in self.lab.gw.spawned if one.name == "redis"]:
            one.stop()


class Nft6Gateway(LabGateway):
    """Nothing comes in over IPv6 but what belongs to what went out."""

    name = NFT6

    def start(self) -> None:
        rules = f"""
table ip6 guard {{
  chain forward {{ type filter hook forward priority filter; policy accept;
    ct state established,related accept
    iifname {WAN_DEVICE} ct state new,invalid drop
  }}
}}
"""
        self.lab.gw.run(["nft", "-f", "-"], text=rules, check=True)

    def stop(self) -> None:
        self.lab.gw.run(["nft", "flush", "ruleset"])
        conntrack.forget(self.lab)


class BoundGateway(LabGateway):
    """One XDP program of the bench on both devices."""

    def __init__(self, lab: Lab, programs: BenchPrograms, name: str, program: str) -> None:
        super().__init__(lab)
        self.name = name
        self._fd = programs.fds[program]

    def start(self) -> None:
        self.lab.gw.sysctl("ipv4/ip_forward", "1")
        self._both(lambda index: netlink.set_xdp(index, self._fd, generic=False, replace=False))

    def stop(self) -> None:
        self._both(lambda index: netlink.remove_xdp(index, generic=False))
        self.lab.gw.sysctl("ipv4/ip_forward", "0")

    def _both(self, act: Callable[[int], object]) -> None:
        for device in (LAN_DEVICE, WAN_DEVICE):
            call_in(self.lab.gw.netns, partial(_act_on, act, device))


def _act_on(act: Callable[[int], object], device: str) -> None:
    act(index_of(device))


def index_of(device: str) -> int:
    """The index of a device of this namespace. LabError if there is none."""
    found = netlink.find_device(device)
    if found is None:
        raise LabError(f"no device {device} in the bench's namespace")
    return found.index


def example_config() -> str:
    """The shipped example configuration with the lab's devices filled in; it is also printed.

    Fifty hosts stand for thousands and take nearly every port, so none is kept from the last ones (`host_share`).
    """
    relative = Path("deploy/config.example.toml")
    here = Path(__file__).resolve().parents[2] / relative
    shipped = Path(sys.prefix) / "share/algate" / relative.name
    path = next((one for one in (here, shipped) if one.is_file()), None)
    if path is None:
        raise LabError(f"the example configuration is missing: neither {here} nor {shipped}", MISSING)
    text = re.sub(r"^# lan = .*$", f'lan = ["{LAN_DEVICE}"]', path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^host_share = \S+", "host_share = 1.0", text, flags=re.MULTILINE)
    return re.sub(r"^# wan = .*$", f'wan = "{WAN_DEVICE}"', text, flags=re.MULTILINE)


def paired_config(lab: Lab) -> str:
    """The shipped one, with [ha]."""
    here, there = (f"127.0.0.1:{port}" for port in ENGINES)
    ha = f'node = "a"\nengine = "{here}"\npeer = "{there}"\nwitness = "{there}"\n'
    config = re.sub(r"^addresses = .*$", f'addresses = ["{lab.plan.public[0]}"]', example_config(), flags=re.MULTILINE)
    return re.sub(r"^\[ha\].*?(?=^\[|\Z)", f"[ha]\n{ha}\n", config, flags=re.MULTILINE | re.DOTALL)


def _configured(name: str) -> str:
    """The example configuration, with what makes it the gateway of that name."""
    config = example_config()
    if name == FILTER6:
        return config.replace("\nfilter = false", "\nfilter = true")
    if name == HALVED:
        whole = re.search(r'^ports = "(\d+)-(\d+)"', config, flags=re.MULTILINE)
        assert whole is not None, "the example configuration names its range of ports"
        ports = halves(PortRange(int(whole[1]), int(whole[2])))[0]
        return config.replace(whole[0], f'ports = "{ports}"')
    return config.replace('\nprefix = ""', f'\nprefix = "{NAT64_PREFIX}"') if name in (NAT64, NAT64_XDP) else config


def contender(
    name: str, lab: Lab, programs: BenchPrograms | None, forwards: tuple[PortForward, ...] = ()
) -> LabGateway:
    """The gateway of that name in this lab."""
    if name == TOLD:
        config = example_config().replace('level = "none"', 'level = "sessions"')
        config = config.replace('\nfile = ""', f'\nfile = "{lab.folder / "translations.log"}"')
        return AlgateGateway(lab, forwards, config=config, datapath="tc", wait=120)
    if name == PAIRED:
        return PairedGateway(lab, forwards, config=paired_config(lab), datapath="tc", wait=120)
    if name in (TC, XDP, FILTER6, NAT64, NAT64_XDP, HALVED):
        datapath = "xdp" if name in (XDP, NAT64_XDP) else "tc"
        return AlgateGateway(lab, forwards, config=_configured(name), datapath=datapath, wait=120)
    if name == NFT6:
        return Nft6Gateway(lab, forwards)
    if name == TAYGA:
        return TaygaGateway(lab)
    if name == NFT:
        return NftGateway(lab, forwards)
    if name == ROUTE:
        return RouteGateway(lab, forwards)
    if programs is None:
        raise LabError(f"{name} is not a gateway for this figure")
    return BoundGateway(lab, programs, name, {XDP_FORWARD: "forward", FLOOR: "refuse"}[name])


def leftovers(lab: Lab) -> list[str]:
    """What is still attached in the gateway's namespace and would distort the next gateway's figures."""
    found = []
    for link in json.loads(lab.gw.run(["ip", "-json", "-details", "link"], check=True).stdout):
        if link["ifname"] in (LAN_DEVICE, WAN_DEVICE) and "xdp" in link:
            found.append(f"an XDP program on {link['ifname']}")
    for device in (LAN_DEVICE, WAN_DEVICE):
        queues = lab.gw.run(["tc", "qdisc", "show", "dev", device]).stdout
        found += [f"{kind} on {device}" for kind in ("clsact", "ingress") if kind in queues]
        index = call_in(lab.gw.netns, partial(index_of, device))
        for word, hook in (("ingress", netlink.INGRESS), ("egress", netlink.EGRESS)):
            own = call_in(lab.gw.netns, partial(hooks.programs, index, hook))
            found += [f"a program on {device}'s own {word} hook"] if own else []
    rules = lab.gw.run(["nft", "list", "ruleset"])
    if rules.returncode == 0 and rules.stdout.strip():
        found.append("nft rules")
    return found
