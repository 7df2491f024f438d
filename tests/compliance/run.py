"""The run: every row against one gateway, grouped by configuration; the rows of a group run side by side.

The law of this file: order and set-up. Rows that only wait do so together; those marked `alone` come after them.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from algate.cli.bench.tayga import POOL, TaygaGateway
from algate.cli.lab.gateways import AlgateGateway, KernelGateway
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab, LabPlan, ip
from tests.compliance import plan
from tests.compliance.bed import Bed
from tests.compliance.bed6 import FIRST, inside_host
from tests.compliance.plan import PROFILES, Profile
from tests.compliance.verdict import Answer, No, Requirement
from tests.netns.tunnel import open_tun
from tests.spare import lending

LAB = LabPlan(inside="10.77.0.0/16", clients=("10.77.0.2", "10.77.0.3"), public=plan.POOL, router=True, six=True)
PATIENCE = 180.0  # s for a gateway to start, or to end its sessions, on a busy machine
AT_ONCE = 12  # rows side by side: the machine has two processors


@dataclass
class Run:
    """One gateway's run through the rows."""

    name: str
    rows: list[Requirement]
    answers: dict[str, Answer] = field(default_factory=dict)
    say: Callable[[str], None] = print

    def go(self) -> dict[str, Answer]:
        names = [name for name in PROFILES if any(row.config == name for row in self.rows)]
        with lending(), Lab(LAB) as lab:
            _prepare(lab)
            stations = STATIONS[self.name](lab)
            try:
                for name in names:
                    self._group(lab, stations, PROFILES[name])
            finally:
                stations.close()
                os.close(stations.tunnel)
        return self.answers

    def _group(self, lab: Lab, station: Station, profile: Profile) -> None:
        rows = [row for row in self.rows if row.config == profile.name]
        since = time.monotonic()
        try:
            station.take(profile)
        except Exception as error:
            for row in rows:
                self.answers[row.id] = Answer(False, f"the gateway does not start: {_first(error)}")
            self.say(f"{self.name}: {profile.name}: {error}")
            return
        begun = time.monotonic()
        asyncio.run(self._rows(lab, station, rows))
        self.say(f"{self.name}: {profile.name}: {len(rows)} rows, set-up {begun - since:.1f} s, "
                 f"run {time.monotonic() - begun:.1f} s")  # fmt: skip

    async def _rows(self, lab: Lab, station: Station, rows: list[Requirement]) -> None:
        bed = Bed(self.name, lab, station)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(row: Requirement) -> None:
            async with limit:
                self.answers[row.id] = await answer(row, bed)

        try:
            await asyncio.gather(*(one(row) for row in rows if not row.alone))
            for row in rows:
                if row.alone:
                    await one(row)
        finally:
            bed.close()


async def answer(row: Requirement, bed: Bed) -> Answer:
    """Run a row's scenario. A wrong checksum anywhere in it is a no."""
    since = time.monotonic()
    hosts = bed.row()
    try:
        remark = await asyncio.wait_for(row.scenario(hosts), 60)
        wrong = hosts.wrong()
        made = Answer(not wrong, "; ".join(dict.fromkeys(wrong)) or remark or "")
    except No as no:
        made = Answer(False, str(no))
    except Exception as error:
        made = Answer(False, f"{_first(error)} ({traceback.extract_tb(error.__traceback__)[-1].line})", broken=True)
    made.seconds = time.monotonic() - since
    return made


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def _prepare(lab: Lab) -> None:
    """Outside ghosts live in 192.0.0.0/16 behind the router."""
    ip("route add 192.0.0.0/16 dev eth1\nroute add blackhole 192.1.0.0/16", lab.hosts["router"].netns)
    ip(f"route add {LAB.inside} via {LAB.public[0]}", lab.hosts["router"].netns)
    lab._add_host("far", "10.78.0.2", "eth0")
    lab._link("far", "eth0", "gw", "lan1")
    ip("addr add 10.78.0.1/16 dev lan1", lab.gw.netns)
    ip("route add 10.78.0.0/15 via " + LAB.public[0], lab.hosts["router"].netns)
    gateway6 = LAB.wan6.replace("/64", "2")
    ip(f"route add {plan.LATE_PREFIX}/64 via {gateway6}", lab.hosts["router"].netns)
    for host in ("gw", "router"):
        lab.hosts[host].sysctl("ipv4/icmp_ratelimit", "0")  # rows run side by side


class Station:
    """A gateway that takes one profile after the other."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.profile = Profile("none")
        self.tunnel = call_in(lab.gw.netns, lambda: open_tun(plan.LANS[2]))
        os.set_blocking(self.tunnel, False)
        ip("addr add 10.79.0.1/16 dev tun0\nlink set tun0 up", lab.gw.netns)

    def take(self, profile: Profile) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """End every session."""
        raise NotImplementedError

    def ask(self, verb: str, args: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError

    def dropped(self, reason: str) -> float:
        """How many packets were dropped for a reason; only algate can say."""
        stats = self.ask("stats")
        return float(stats.get(f'algate_drops_total{{reason="{reason}"}}', 0))


class AlgateStation(Station):
    """algate: reloaded where the profile allows it, else purged and restarted."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.gateway: AlgateGateway | None = None
        self.text = ""
        self.translations = lab.folder / "translations.log"

    def take(self, profile: Profile) -> None:
        text = profile.config.replace(plan.LOG, str(self.translations)) + '\n[metrics]\nlisten = ""\n'
        if self.gateway is not None and not profile.fresh:
            if profile.empty:
                self.flush()
            self._reload(text)
        else:
            self.close()
            more = tuple(word for device in plan.LANS[1:] for word in ("--lan", device))
            self.gateway = AlgateGateway(self.lab, config=text, options=more, wait=PATIENCE)
            self.gateway.start()
        self.profile, self.text = profile, text

    def _reload(self, text: str) -> None:
        (self.lab.folder / "algate.toml").write_text(text)
        self.ask("reload")

    def flush(self) -> None:
        """By timeouts so short that the sweep takes everything."""
        brief = "".join(f"{key} = 0.01\n" for key in ("tcp_established", "tcp_transitory", "udp", "icmp"))
        kept = self.text.partition("[timeouts]")[0]
        self._reload(f"{kept}\n[timeouts]\n{brief}")
        end = time.monotonic() + PATIENCE
        while self.ask("mappings") and time.monotonic() < end:
            time.sleep(0.05)
        if self.text:
            self._reload(self.text)

    def ask(self, verb: str, args: dict[str, Any] | None = None) -> Any:
        assert self.gateway is not None
        return self.gateway.ask(verb, args)

    def close(self) -> None:
        if self.gateway is not None:
            gateway, self.gateway = self.gateway, None
            gateway.stop()


class KernelStation(Station):
    """nft masquerade; conntrack starts empty in each profile."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.gateway = KernelGateway(lab)
        self.gateway.start()
        self.defaults = {key: int(lab.gw.sysctl(f"netfilter/nf_conntrack_{key}")) for key in plan.CONNTRACK}

    def take(self, profile: Profile) -> None:
        for key, kind in plan.CONNTRACK.items():
            real = self.defaults[key]
            value = plan.scaled(kind, real) if profile.timers else real
            self.lab.gw.sysctl(f"netfilter/nf_conntrack_{key}", str(value))
        rules = self.gateway._rules().replace(" masquerade;", f" {profile.masquerade};")
        rules = rules.replace("priority dstnat; ", f"priority dstnat; {profile.dnat}")
        rules = rules.replace("ct status dnat accept", f"{profile.guard}\n    ct status dnat accept")
        if profile.empty:
            self.flush()
        if profile.six:
            rules += "table ip6 guard { chain forward { type filter hook forward priority filter; policy accept;\n"
            rules += f"{profile.six}\n}}\n}}\n"
        self.lab.gw.run(["nft", "-f", "-"], text=f"flush ruleset\n{rules}", check=True)
        self.profile = profile

    def flush(self) -> None:
        """When a device goes down, its masqueraded connections go too."""
        ip(f"link set {plan.WAN} down\nlink set {plan.WAN} up", self.lab.gw.netns)
        ip(f"route add default via {self.lab.plan.next_hop}", self.lab.gw.netns)
        link = LAB.wan6.split("/")[0]  # the device lost its addresses of IPv6
        ip(f"addr add {link}2/64 dev {plan.WAN} nodad\nroute add default via {link}1", self.lab.gw.netns)
        time.sleep(0.3)

    def close(self) -> None:
        self.gateway.stop()


class TaygaStation(Station):
    """Tayga, for the rows of NAT64: each row's inside hosts have an IPv4 address of their own."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        ip(f"route add {POOL} via {LAB.public[0]}", lab.hosts["router"].netns)
        half = POOL.num_addresses // 2 - 2
        hosts = {
            inside_host(lab.plan, letter, FIRST + number): str(POOL[1 + number + half * place])
            for place, letter in enumerate("ab")
            for number in range(half)
        }
        self.gateway = TaygaGateway(lab, hosts)
        self.gateway.start()

    def take(self, profile: Profile) -> None:
        self.profile = profile

    def public(self, inside: str) -> str:
        """The IPv4 address of an inside host."""
        return self.gateway.hosts[inside]

    def close(self) -> None:
        self.gateway.stop()


STATIONS = {"algate": AlgateStation, "kernel": KernelStation, "tayga": TaygaStation}
