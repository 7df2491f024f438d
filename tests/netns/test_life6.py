"""The life of a gateway with IPv6's filter and NAT64: addresses that come late, prefixes and MTUs that change, daemons
that are killed during a transfer, and what is left when it is down."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from algate.alg.admin.ipv6 import EARLY
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import LabError, call_in
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan, ip
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import NAT64_PREFIX
from tests.netns.footprint import footprint, pinned
from tests.netns.talk import Echo, Line, talking, until, verb
from tests.netns.test_devices import state
from tests.netns.test_filter6 import connects, listening
from tests.netns.test_ftp6 import DUAL

pytestmark = pytest.mark.netns
FILTERED = "[ipv6]\nfilter = true\n"
BOTH = f'[ipv6]\nfilter = true\n[nat64]\nprefix = "{NAT64_PREFIX}"\n'
PORT, ECHO = 8443, 7007
SECOND = 1.0  # s until a change of the host is followed
BIG = bytes(range(256)) * 40_000  # more than both ends' buffers hold


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True)) as made:
        yield made


def shown(lab: Lab) -> str:
    """The server's IPv4 address as an IPv6 host has it."""
    return NAT64_PREFIX.replace("::/96", f"::{lab.plan.servers[0]}")


def own6(lab: Lab) -> str:
    """The gateway's IPv6 address on the LAN."""
    return lab.plan.inside6.replace("::/64", "::1/64")


@pytest.mark.parametrize("purge", [pytest.param(False, marks=pytest.mark.whole), True], ids=["down", "purge"])
def test_down_leaves_nothing(lab: Lab, purge: bool) -> None:
    """After sessions of both kinds, on a host that forwarded no IPv6 and listened to routers."""
    lab.gw.sysctl("ipv6/conf/all/forwarding", "0")
    lab.gw.sysctl("ipv6/conf/wan0/accept_ra", "1")
    before = footprint(lab.gw)
    gateway = AlgateGateway(lab, config=BOTH)
    gateway.start()
    try:
        with Echo(lab.server, ECHO), listening(lab.server, PORT):
            until(lambda: connects(lab.client, lab.plan.servers6[0], PORT), 10)
            with Line(lab.client, shown(lab), ECHO) as line:
                assert line.ask(b"x") == b"x"
        during = footprint(lab.gw)["switches"]
        assert (during["ipv6/conf/all/forwarding"], during["ipv6/conf/wan0/accept_ra"]) == ("1", "2")
        done = verb(gateway, "down", *(["--purge"] if purge else []))
        assert done.returncode == 0, done.stderr
        assert gateway.process is not None
        gateway.process.process.wait(10)
        assert footprint(lab.gw) == before
        assert (pinned(gateway.run_dir) == []) == purge
    finally:
        gateway.stop()


@pytest.mark.whole
def test_addresses_that_come_late(lab: Lab) -> None:
    """A WAN without any address; then IPv6, which the host first looks for doubles of (DAD), and IPv4."""
    wan = lab.plan.wan6.replace("::/64", "")
    ip(f"addr del 198.51.100.2/24 dev wan0\naddr del {wan}::2/64 dev wan0", lab.gw.netns)
    gateway = AlgateGateway(lab, config=BOTH, wait=0.0)
    with contextlib.suppress(LabError):
        gateway.start()
    try:
        until(lambda: state(gateway) == "waiting for an address on wan0", 60)
        with listening(lab.server, PORT), Echo(lab.server, ECHO):
            lab.gw.sysctl("ipv6/conf/wan0/accept_dad", "1")
            ip(f"addr add {wan}::2/64 dev wan0\nroute replace default via {wan}::1", lab.gw.netns)
            ip("addr add 198.51.100.2/24 dev wan0\nroute replace default via 198.51.100.1", lab.gw.netns)
            until(lambda: "ready" in gateway.log.splitlines(), 60)
            with Line(lab.client, shown(lab), ECHO) as line:
                assert line.ask(b"by NAT64") == b"by NAT64"
            until(lambda: "tentative" not in lab.gw.run(["ip", "addr", "show", "wan0"]).stdout)
            until(lambda: connects(lab.client, lab.plan.servers6[0], PORT), SECOND + 1.5)
    finally:
        gateway.stop()


@pytest.mark.whole
def test_a_wan_without_ipv6_at_the_start(lab: Lab) -> None:
    """NAT64 needs none; the filter follows when it comes."""
    wan = lab.plan.wan6.replace("::/64", "")
    ip(f"addr del {wan}::2/64 dev wan0", lab.gw.netns)
    with AlgateGateway(lab, config=BOTH), Echo(lab.server, ECHO), listening(lab.server, PORT):
        with Line(lab.client, shown(lab), ECHO) as line:
            assert line.ask(b"x") == b"x"
        ip(f"addr add {wan}::2/64 dev wan0 nodad\nroute replace default via {wan}::1", lab.gw.netns)
        until(lambda: connects(lab.client, lab.plan.servers6[0], PORT), SECOND + 1.5)


@pytest.mark.whole
def test_a_prefix_that_comes_and_one_that_goes(lab: Lab) -> None:
    """6-A12: a host of the new one is served within a second; the old one's sessions end, counted, nothing leaves."""
    new = "2001:db8:7700::"
    with AlgateGateway(lab, config=BOTH) as gateway, listening(lab.server, PORT), Echo(lab.server, ECHO):
        ip(f"route add {new}/64 via {lab.plan.wan6.replace('::/64', '::2')}", lab.server.netns)
        with Line(lab.client, shown(lab), ECHO) as line, lab.client.socket(socket.AF_INET6) as old:
            assert line.ask(b"x") == b"x"
            old.connect((lab.plan.servers6[0], PORT))
            count = gateway.ask("sessions", {"count": True})["count"]
            assert count == 2
            ended = gateway.ask("stats")["algate_sessions_ended_total"]
            ip(f"addr add {new}1/64 dev lan0 nodad\naddr del {own6(lab)} dev lan0", lab.gw.netns)
            ip(f"addr add {new}2/64 dev eth0 nodad\nroute replace default via {new}1 src {new}2", lab.client.netns)
            began = time.monotonic()
            until(lambda: connects(lab.client, lab.plan.servers6[0], PORT), 10)
            assert time.monotonic() - began < SECOND + 1.5  # a SYN that came too early is repeated after one
            until(lambda: not gateway.ask("sessions", {"inside": lab.plan.inside6}), 5)
            assert gateway.ask("stats")["algate_sessions_ended_total"] >= ended + 2
            sent = lab.server.run(["cat", "/proc/net/snmp6"]).stdout
            old.send(b"nothing of this leaves")
            time.sleep(0.3)
            after = lab.server.run(["cat", "/proc/net/snmp6"]).stdout
            assert received(after) == received(sent)


def received(snmp6: str) -> int:
    return next(int(line.split()[1]) for line in snmp6.splitlines() if line.startswith("Ip6InReceives"))


@pytest.mark.whole
def test_another_nat64_prefix_ends_sessions_and_counts_them(lab: Lab) -> None:
    with AlgateGateway(lab, config=BOTH) as gateway, Echo(lab.server, ECHO), listening(lab.server, PORT):
        with Line(lab.client, shown(lab), ECHO) as line, lab.client.socket(socket.AF_INET6) as kept:
            assert line.ask(b"x") == b"x"
            kept.connect((lab.plan.servers6[0], PORT))
            ended = gateway.ask("stats")["algate_sessions_ended_total"]
            (lab.folder / "algate.toml").write_text(BOTH.replace(NAT64_PREFIX, "2001:db8:6464::/96"))
            gateway.ask("reload")
            rows = gateway.ask("sessions")
            assert [row["outside"] for row in rows] == [f"[{lab.plan.servers6[0]}]:{PORT}"], "the filter's stay"
            assert gateway.ask("stats")["algate_sessions_ended_total"] == ended + 1
        with Line(lab.client, f"2001:db8:6464::{lab.plan.servers[0]}", ECHO) as line:
            assert line.ask(b"new") == b"new"


def test_another_mtu_is_followed(lab: Lab) -> None:
    """Of the WAN: an IPv6 host learns of it, by NAT64 of 20 more than the next packet may have."""
    with AlgateGateway(lab, config=BOTH):
        for mtu in (1400, 1300):
            ip(f"link set wan0 mtu {mtu}", lab.gw.netns)
            time.sleep(SECOND)
            lab.client.run(["ip", "-6", "route", "flush", "cache"])
            for remote, wanted in ((lab.plan.servers6[0], mtu), (shown(lab), mtu + 20)):
                ping = ["ping", "-6", "-M", "do", "-c", "2", "-i", "0.2", "-s", "1450", "-W", "1", remote]
                lab.client.run(ping)
                said = lab.client.run(["ip", "-6", "route", "get", remote]).stdout
                assert f" mtu {wanted} " in said, said


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.whole)], ids=["killed", "stopped"]
)
@pytest.mark.parametrize("mode", [Mode.EPSV, pytest.param(Mode.EPRT, marks=pytest.mark.whole)])
def test_in_the_middle_of_a_transfer(lab: Lab, mode: Mode, how: signal.Signals) -> None:
    """A daemon ends between the first and the last byte, over IPv6 and by NAT64, whose numbers are shifted by then."""
    server = start_server("vsftpd", lab.server, more=DUAL)
    (server.pub / "big").write_bytes(BIG)
    try:
        with AlgateGateway(lab, config=BOTH) as gateway, contextlib.ExitStack() as stack:
            places = (lab.plan.servers6[0], shown(lab))
            talkers = [stack.enter_context(talking(lab.client, one, server.login)) for one in places]
            coming = []
            for talker in talkers:
                talker.ftp.voidcmd("TYPE I")
                talker._choose(mode)
                coming.append(call_in(lab.client.netns, partial(talker.ftp.transfercmd, "RETR pub/big")))
            got = [bytearray(one.recv(1000)) for one in coming]
            assert gateway.process is not None
            gateway.process.process.send_signal(how)
            gateway.process.process.wait(20)
            gateway.start()
            for number, one in enumerate(coming):
                while part := one.recv(1 << 16):
                    got[number] += part
                one.close()
            assert got == [BIG, BIG]
            assert [talker.ftp.voidresp()[:3] for talker in talkers] == ["226", "226"]
            for talker in talkers:
                assert talker.fetch("pub/big", mode) == BIG
    finally:
        server.stop()


@pytest.mark.whole
def test_a_filter_that_is_not_in_force_is_not_told(lab: Lab) -> None:
    """While a start waits for the WAN's address: an earlier one's filter goes on, and what it left behind is none."""
    gateway = AlgateGateway(lab, config=FILTERED)
    gateway.start()
    try:
        ip("addr del 198.51.100.2/24 dev wan0", lab.gw.netns)
        assert restarted(gateway, FILTERED)["filtered"], "by what the former start attached"
        ip("addr add 198.51.100.2/24 dev wan0", lab.gw.netns)
        until(lambda: "ready" in gateway.log.splitlines(), 60)
        gateway.stop_daemon()
        gateway.config, gateway.wait = "", 60.0
        gateway.start()
        ip("addr del 198.51.100.2/24 dev wan0", lab.gw.netns)
        found = restarted(gateway, FILTERED)
        assert not found["filtered"] and found["told"].startswith(EARLY), found
        rows = json.loads(verb(gateway, "doctor", "--json", host=lab.gw).stdout)
        assert [one["ok"] for one in rows if one["check"] == "ipv6"] == [False]
    finally:
        gateway.stop()


def restarted(gateway: AlgateGateway, config: str) -> dict[str, Any]:
    """What is told of IPv6 by a start that waits."""
    gateway.stop_daemon()
    gateway.config, gateway.wait = config, 0.0
    with contextlib.suppress(LabError):
        gateway.start()
    until(lambda: state(gateway) == "waiting for an address on wan0", 60)
    return dict(gateway.ask("status")["ipv6"])
