"""The keys about IPv6: what is read, and for every mistake the path and reason that the operator gets."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest

from algate.alg.config.changes import AT_ONCE, NEVER, changes
from algate.alg.config.load import Config, ConfigError, loads, with_forward
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.values import PortRange
from algate.alg.protocols.ftp import FtpPolicy

pytestmark = pytest.mark.unit
DEVICES: dict[str, object] = {"gateway.lan": ["eth1"], "gateway.wan": "eth0"}
FILTER = "[ipv6]\nfilter = true\n"
NAT64 = '[nat64]\nprefix = "64:ff9b::/96"\n'
ALLOW = '[[allow_in]]\nproto = "tcp"\nport = 8443\nto = "2001:db8:1::5"\n'
FORWARD = '[[forward]]\nproto = "tcp"\nwan_port = 21\nto = "[2001:db8:1::5]:21"\n'


def errors(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        loads(text, DEVICES)
    return [(one.path, one.reason) for one in caught.value.problems]


def test_all_of_it() -> None:
    made = loads(
        FILTER + 'ipsec = "any"\nhost_prefix = 64\n' + NAT64 + ALLOW + 'from = ["2001:db8:9::/48", "2001:db8:8::1"]\n'
        + ALLOW.replace("8443", '"6000-6009"').replace('2001:db8:1::5"', '[2001:db8:1::6]"')
        + FORWARD + 'alg = "ftp"\n[alg.ftp]\nnat64 = "pass"\n',
        DEVICES,
    )  # fmt: skip
    assert (made.ipv6.filter, made.ipv6.ipsec, made.ipv6.host_prefix) == (True, "any", 64)
    assert made.nat64.prefix == IPv6Network("64:ff9b::/96")
    first, second = made.allow_in
    assert (first.proto, first.port, first.to) == ("tcp", PortRange(8443, 8443), IPv6Address("2001:db8:1::5"))
    assert first.from_ == (IPv6Network("2001:db8:9::/48"), IPv6Network("2001:db8:8::1"))
    assert (second.port, str(second.to), second.from_) == (PortRange(6000, 6009), "2001:db8:1::6", ())
    assert made.forwards[0].to == EndPoint(IPv6Address("2001:db8:1::5"), 21)
    ftp = made.alg.protocols["ftp"]
    assert isinstance(ftp, FtpPolicy)
    assert ftp.nat64 == "pass"


def test_without_a_word_about_it_ipv6_is_let_alone() -> None:
    made = loads("", DEVICES)
    assert (made.ipv6.filter, made.nat64.prefix, made.allow_in) == (False, None, ())


@pytest.mark.parametrize(
    "prefix",
    ["64:ff9b::/96", "64:ff9b:1::/48", "64:ff9b:1:2::/64", "64:ff9b:1:fffe::/96", "2001:db8::/32", "2001:db8:100::/40",
     "2001:db8:122::/48", "2001:db8:122:300::/56", "2001:db8:122:344::/64", "2001:db8:122:344::/96", "fd00:64::/96"],
)  # fmt: skip
def test_prefixes_of_rfc_6052(prefix: str) -> None:
    assert loads(f'[nat64]\nprefix = "{prefix}"', DEVICES).nat64.prefix == IPv6Network(prefix)


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ('[nat64]\nprefix = "2001:db8::/33"', "nat64.prefix", "is one of /32, /40, /48, /56, /64, /96 long"),
        ('[nat64]\nprefix = "2001:db8::/128"', "nat64.prefix", "is one of /32, /40, /48, /56, /64, /96 long"),
        ('[nat64]\nprefix = "2001:db8::1/96"', "nat64.prefix", 'the network is "2001:db8::/96"'),
        ('[nat64]\nprefix = "2001:db8:0:0:100::/96"', "nat64.prefix", "the bits 64 to 71 of such a prefix are zero"),
        ('[nat64]\nprefix = "64:ff9b::/64"', "nat64.prefix", "overlaps the well-known prefix"),
        ('[nat64]\nprefix = "64:ff9b::/32"', "nat64.prefix", "overlaps the well-known prefix"),
        ('[nat64]\nprefix = "fe80::/64"', "nat64.prefix", "isn't a prefix of unicast addresses"),
        ('[nat64]\nprefix = "ff02::/96"', "nat64.prefix", "isn't a prefix of unicast addresses"),
        ('[nat64]\nprefix = "::/96"', "nat64.prefix", "isn't a prefix of unicast addresses"),
        ('[nat64]\nprefix = "10.0.0.0/8"', "nat64.prefix", "is not an IPv6 network"),
        ('[nat64]\nprefix = "fe80::%1/64"', "nat64.prefix", "is not an IPv6 network"),
        ("[nat64]\nprefix = 3", "nat64.prefix", "is not an IPv6 network"),
        (NAT64 + "lowest_ipv6_mtu = 1279", "nat64.lowest_ipv6_mtu", "is not between 1280 and 16384"),
        ('[nat64]\nprefx = ""', "nat64.prefx", "unknown key; the nearest is `prefix`"),
        ("[ipv6]\nfilter = 1", "ipv6.filter", "1 is neither true nor false"),
        ('[ipv6]\nipsec = "spoke"', "ipv6.ipsec", "'spoke' is not one of spoken, any, none"),
        ("[ipv6]\nhost_prefix = 56", "ipv6.host_prefix", "56 is neither 64 nor 128"),
        ("[ipv6]\nhost_prefix = [64]", "ipv6.host_prefix", "[64] is neither 64 nor 128"),
        (ALLOW, "allow_in[0]", "lets nothing in: IPv6 isn't filtered. Set ipv6.filter"),
        ("allow_in = 1", "allow_in", "is not a list of tables: write [[allow_in]]"),
        (FILTER + '[[allow_in]]\nport = 1\nto = "2001:db8::1"', "allow_in[0].proto", "is missing"),
        (FILTER + ALLOW.replace("tcp", "esp"), "allow_in[0].proto", "'esp' is not one of tcp, udp"),
        (FILTER + ALLOW.replace("8443", "0"), "allow_in[0].port", "0 is not within 1 and 65535"),
        (FILTER + ALLOW.replace("8443", "'9-8'"), "allow_in[0].port", "starts after its end"),
        (FILTER + ALLOW.replace("2001:db8:1::5", "10.0.0.5"), "allow_in[0].to", "is not an IPv6 address"),
        (FILTER + ALLOW.replace("2001:db8:1::5", "fe80::1"), "allow_in[0].to", "fe80::1 can't be reached from outside"),
        (FILTER + ALLOW.replace("2001:db8:1::5", "::ffff:10.0.0.1"), "allow_in[0].to", "can't be reached from outside"),
        (FILTER + ALLOW.replace("2001:db8:1::5", "fe80::1%eth0"), "allow_in[0].to", "is not an IPv6 address"),
        (FILTER + ALLOW + 'from = ["10.0.0.0/8"]', "allow_in[0].from[0]", "is not an IPv6 network"),
        (FILTER + ALLOW + 'from = ["2001:db8::1/32"]', "allow_in[0].from[0]", 'the network is "2001:db8::/32"'),
        (FILTER + ALLOW + ALLOW, "allow_in[1].port", "tcp 8443 of 2001:db8:1::5 overlaps 8443 of allow_in[0]"),
        (FILTER + ALLOW + "wan_port = 3", "allow_in[0].wan_port", "unknown key; the nearest is `port`"),
        (FILTER + NAT64 + ALLOW.replace("2001:db8:1::5", "64:ff9b::a00:1"), "allow_in[0].to", "can't be reached"),
        (
            FILTER + '[nat64]\nprefix = "2001:db8:1::/96"\n' + ALLOW,
            "allow_in[0].to", "2001:db8:1::5 is an IPv4 host behind nat64.prefix, 2001:db8:1::/96",
        ),
        (FORWARD, "forward[0].to", "2001:db8:1::5 is IPv6, which the IPv4 outside reaches by NAT64 alone"),
        (
            '[nat64]\nprefix = "2001:db8:1::/96"\n' + FORWARD,
            "forward[0].to", "2001:db8:1::5 is an IPv4 host behind nat64.prefix",
        ),
        (NAT64 + FORWARD.replace("]:21", "]"), "forward[0].to", "is not an address with a port"),
        (NAT64 + FORWARD.replace("]:21", "]:0"), "forward[0].to", "is not an address with a port"),
        (NAT64 + FORWARD.replace("[2001:db8:1::5]:21", "2001:db8:1::5:21"), "forward[0].to", "write it like"),
        ('[alg.ftp]\nnat64 = "on"', "alg.ftp.nat64", "'on' is not one of translate, pass"),
        ('[[alg.ftp.rule]]\nclient = "2001:db8::1/32"', "alg.ftp.rule[0].client", 'the network is "2001:db8::/32"'),
        ('[alg.ftp]\nthird_party = ["2001:db8::x"]', "alg.ftp.third_party[0]", "is not an IPv6 network"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told_with_path_and_reason(text: str, path: str, reason: str) -> None:
    found = errors(text)
    assert [(where, why) for where, why in found if where == path and reason in why], found
    assert len(found) == 1, found


def test_rules_and_third_parties_of_either_family() -> None:
    text = """
        [alg.ftp]
        third_party = ["192.0.2.0/24", "2001:db8:9::/48"]
        [[alg.ftp.rule]]
        client = "2001:db8:1::/48"
        read_only = true
        """
    ftp = loads(text, DEVICES).alg.protocols["ftp"]
    assert isinstance(ftp, FtpPolicy)
    assert ftp.third_party == (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:9::/48"))
    server = IPv6Address("2001:db8:7::7")
    assert ftp.resolve(IPv6Address("2001:db8:1::1"), server).read_only
    assert not ftp.resolve(IPv6Address("2001:db8:2::1"), server).read_only


def test_a_live_forward_to_an_ipv6_host_needs_nat64_too() -> None:
    table = {"proto": "tcp", "wan_port": 21, "to": "[2001:db8:1::5]:21"}
    with pytest.raises(ConfigError, match="to: 2001:db8:1::5 is IPv6"):
        with_forward(loads("", DEVICES), table)
    grown = with_forward(loads(NAT64, DEVICES), table)
    assert str(grown.forwards[0].to) == "[2001:db8:1::5]:21"


def test_what_changes_and_when() -> None:
    def told(before: str, after: str) -> list[str]:
        return list(map(str, changes(loads(before, DEVICES), loads(after, DEVICES))))

    assert told("", FILTER) == [f"ipv6.filter: false -> true ({NEVER})"]
    moved = NAT64.replace("64:ff9b::", "fd00:64::")
    assert told(NAT64, moved) == [f'nat64.prefix: "64:ff9b::/96" -> "fd00:64::/96" ({AT_ONCE})']
    assert told(NAT64, NAT64 + "lowest_ipv6_mtu = 1500") == [f"nat64.lowest_ipv6_mtu: 1280 -> 1500 ({AT_ONCE})"]
    assert told(NAT64, "") == [f'nat64.prefix: "64:ff9b::/96" -> "" ({NEVER})']
    assert told("", NAT64) == [f'nat64.prefix: "" -> "64:ff9b::/96" ({NEVER})']
    assert told(FILTER, FILTER + ALLOW) == [f"allow_in tcp/8443 [2001:db8:1::5]: new: {{  }} ({AT_ONCE})"]
    assert told(FILTER + ALLOW + 'from = ["2001:db8:9::/48"]', FILTER) == [
        f'allow_in tcp/8443 [2001:db8:1::5]: gone, was {{ from = ["2001:db8:9::/48"] }} ({AT_ONCE})'
    ]


def test_the_default_configuration_is_a_whole_one() -> None:
    assert Config().ipv6.ipsec == "spoken"
