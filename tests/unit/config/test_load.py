"""The configuration: what is accepted, and for every mistake the path and reason that the operator gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from algate.alg.config import load as config
from algate.alg.config import sections
from algate.alg.config.load import Config, ConfigError, loads
from algate.alg.plugin import policy, registry, schema
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.policy import Policy
from algate.alg.plugin.schema import option
from algate.alg.plugin.values import PortRange, Service, boolean
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "deploy/config.example.toml"
DEVICES: Mapping[str, object] = {"gateway.lan": ["eth1"], "gateway.wan": "eth0"}
GOOD_FORWARD = '[[forward]]\nproto = "tcp"\nwan_port = 21\nto = "10.0.0.5:21"\n'


def errors(text: str, overrides: Mapping[str, object] = DEVICES) -> list[tuple[str, str]]:
    """The problems of a configuration, as (path, reason)."""
    with pytest.raises(ConfigError) as caught:
        loads(text, overrides)
    return [(one.path, one.reason) for one in caught.value.problems]


def test_nothing_but_devices_gives_the_defaults() -> None:
    made = loads("", DEVICES)
    assert made.gateway.lan == ("eth1",)
    assert made.gateway.wan == "eth0"
    assert made == Config(gateway=made.gateway, alg=made.alg)
    assert made.alg == sections.Alg(protocols=made.alg.protocols)
    assert {name: one.enabled for name, one in made.alg.protocols.items()} == {"ftp": True, "tftp": False, "irc": False}
    assert made.nat.ports == PortRange(1024, 65535)
    assert made.metrics.listen == EndPoint(IPv4Address("127.0.0.1"), 1025)
    assert made.alg.protocols["ftp"] == FtpPolicy()


def test_the_whole_of_design_section_6() -> None:
    made = loads(
        """
        [gateway]
        lan = ["eth1", "eth2"]
        wan = "eth0"
        datapath = "xdp-generic"
        [nat]
        addresses = ["198.51.100.1"]
        mss_clamp = 1400
        exempt = ["192.168.0.0/16"]
        [timeouts]
        udp = 0.25
        [firewall]
        allow_out = ["tcp/21", "udp/53"]
        [[forward]]
        proto = "udp"
        wan_port = "50000-50100"
        to = "10.0.0.5:40000"
        from = ["203.0.113.0/24", "192.0.2.7"]
        [alg]
        fail = "open"
        [alg.ftp]
        announce = "203.0.113.9"
        deny = ["site", "DELE"]
        tls_passive_ports = "50000-50100"
        [[alg.ftp.rule]]
        client = "10.1.0.0/16"
        announce = ""
        [metrics]
        listen = ""
        """
    )
    assert made.gateway.lan == ("eth1", "eth2")
    assert made.nat.addresses == (IPv4Address("198.51.100.1"),)
    assert made.nat.mss_clamp == 1400
    assert made.timeouts.udp == 0.25
    assert made.firewall.allow_out == (Service("tcp", 21), Service("udp", 53))
    (forward,) = made.forwards
    assert (forward.wan_port, forward.to) == (PortRange(50000, 50100), EndPoint(IPv4Address("10.0.0.5"), 40000))
    assert forward.from_ == (IPv4Network("203.0.113.0/24"), IPv4Network("192.0.2.7/32"))
    assert made.alg.fail == "open"
    ftp = made.alg.protocols["ftp"]
    assert isinstance(ftp, FtpPolicy)
    assert (ftp.deny, ftp.tls_passive_ports) == (("SITE", "DELE"), PortRange(50000, 50100))
    assert ftp.announce == IPv4Address("203.0.113.9")
    assert ftp.resolve(IPv4Address("10.1.0.1"), IPv4Address("203.0.113.5")).announce is None
    assert made.metrics.listen is None


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", ()),
        ('level = "mappings"', ("journal",)),
        ('level = "none"\nfile = "/x"', ()),
        ('level = "sessions"\nfile = "/x"', ("file",)),
        ('level = "blocks"\nfile = "/x"\nsyslog = "192.0.2.1:514"', ("file", "syslog")),
        ('level = "blocks"\nfile = "/x"\nsinks = ["syslog"]', ("syslog",)),
    ],
)
def test_where_translations_are_logged(text: str, chosen: tuple[str, ...]) -> None:
    assert loads(f"[log]\n{text}", DEVICES).log.chosen == chosen


def test_it_is_frozen() -> None:
    made = loads("", DEVICES)
    with pytest.raises(FrozenInstanceError):
        made.nat.hairpin = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.alg.protocols["x"] = Policy()  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("[nat]\nport = 1", "nat.port", "unknown key; the nearest is `ports`"),
        ("[nat]\nmax-sessions = 1", "nat.max-sessions", "unknown key; the nearest is `max_sessions`"),
        ("[nat]\nlan = []", "nat.lan", "unknown key; it belongs in [gateway]"),
        ("[metric]\nlisten = ''", "metric", "unknown section; the nearest is [metrics]"),
        ("hairpin = true", "hairpin", "unknown section; it belongs in [nat]"),
        ('[nat]\n"a\\u001bb" = 1', "nat.'a\\x1bb'", "unknown key; the nearest is"),
        ("[nat]\nhairpin = 1", "nat.hairpin", "1 is neither true nor false"),
        ("[nat]\nmax_sessions = true", "nat.max_sessions", "True is not a whole number"),
        ("[nat]\nmax_sessions = 0", "nat.max_sessions", "0 is not between 1 and"),
        ("[nat]\nmapping = 'symmetric'", "nat.mapping", "'symmetric' is not one of endpoint-independent, address-and-"),
        ("[nat]\nports = '0-9'", "nat.ports", "'0-9' is not within 1 and 65535"),
        ("[nat]\nports = '9-8'", "nat.ports", "'9-8' starts after its end"),
        ("[nat]\nports = 'all'", "nat.ports", "'all' is neither a port nor a range"),
        ("[nat]\nexempt = ['10.0.0.1/8']", "nat.exempt[0]", "the network is \"10.0.0.0/8\""),
        ("[nat]\nexempt = ['10.0.0.0/8', 'x']", "nat.exempt[1]", "'x' is not a network"),
        ("[nat]\nexempt = '10.0.0.0/8'", "nat.exempt", "'10.0.0.0/8' is not a list: write it in [ ]"),
        ("[nat]\nexempt = ['2001:db8::/32']", "nat.exempt[0]", "only IPv4 is translated"),
        ("[nat]\naddresses = ['127.0.0.1']", "nat.addresses[0]", "127.0.0.1 can't be a public address"),
        ("[nat]\naddresses = ['1.2.3.4', '1.2.3.4']", "nat.addresses[1]", "'1.2.3.4' is listed twice"),
        ("[nat]\nmss_clamp = 'on'", "nat.mss_clamp", "'on' is not one of off, auto or a number"),
        ("[nat]\nhold_down = -1", "nat.hold_down", "-1 s is not between 0 and"),
        ("[timeouts]\nudp = nan", "timeouts.udp", "nan s is not between"),
        ("[timeouts]\nudp = '3'", "timeouts.udp", "'3' is not a number of seconds"),
        ("[firewall]\nallow_out = ['sctp/1']", "firewall.allow_out[0]", "'sctp/1' is not a service"),
        ("[firewall]\nallow_out = ['tcp/70000']", "firewall.allow_out[0]", "'tcp/70000' is not a service"),
        ("forward = 3", "forward", "is not a list of tables: write [[forward]]"),
        ("[[forward]]\nwan_port = 1\nto = '10.0.0.1:1'", "forward[0].proto", "is missing"),
        (GOOD_FORWARD + "alg = 'fpt'", "forward[0].alg", "'fpt' is not a plug-in; the nearest is `ftp`"),
        (GOOD_FORWARD + "alg = 'ftp'\n[alg.ftp]\nenabled = false", "forward[0].alg", "switched off by alg.ftp.enabled"),
        (GOOD_FORWARD + GOOD_FORWARD, "forward[1].wan_port", "tcp 21 overlaps 21 of forward[0]"),
        (GOOD_FORWARD.replace("21\n", "'20-30'\n"), "", ""),
        (GOOD_FORWARD.replace("= 21\n", "= '20-30'\n").replace(":21", ":65530"), "forward[0].to", "run past 65535"),
        (GOOD_FORWARD.replace("= 21\n", "= '1-65535'\n").replace(":21", ":1"), "forward[0].wan_port", "leaves no tcp"),
        (GOOD_FORWARD.replace("10.0.0.5:21", "10.0.0.5"), "forward[0].to", "is not an address with a port"),
        ("[alg]\nfail = 'ajar'", "alg.fail", "'ajar' is not one of closed, open"),
        ("[alg]\nhelper_timeout = 0", "alg.helper_timeout", "is not between 0.05 and"),
        ("[alg.ftpd]\nenabled = true", "alg.ftpd", "no such plug-in is installed; the nearest is `ftp`"),
        ("[alg.ftp]\nport = [21]", "alg.ftp.port", "unknown key; the nearest is `ports`"),
        ("[alg.ftp]\nports = [0]", "alg.ftp.ports[0]", "0 is not between 1 and 65535"),
        ("[alg.ftp]\ndeny = ['A B']", "alg.ftp.deny[0]", "'A B' is not a command"),
        ("[alg.ftp]\ndeny = ['DELE']\nallow = ['dele']", "alg.ftp.deny", "DELE is in alg.ftp.allow too"),
        (
            "[alg.ftp]\ndeny = ['DELE']\n[[alg.ftp.rule]]\nclient = '10.0.0.0/8'\nallow = ['DELE']",
            "alg.ftp.rule[0].allow", "DELE is in alg.ftp.deny too",
        ),
        (
            "[[alg.ftp.rule]]\nclient = '10.0.0.0/8'\nallow = ['DELE']\ndeny = ['DELE']",
            "alg.ftp.rule[0].deny", "DELE is in alg.ftp.rule[0].allow too",
        ),
        ("[alg.ftp]\nlow_ports = [0]", "alg.ftp.low_ports[0]", "0 is not between 1 and 65535"),
        ("[alg.ftp]\nannounce = '203.0.113.9'", "", ""),
        ("[alg.ftp]\nannounce = ''", "", ""),
        ("[alg.ftp]\nannounce = '203.0.113'", "alg.ftp.announce", "'203.0.113' is not an address: write it like"),
        ("[alg.ftp]\nannounce = ['203.0.113.9']", "alg.ftp.announce", "['203.0.113.9'] is not an address"),
        ("[alg.ftp]\nannounce = '2001:db8::9'", "alg.ftp.announce", "'2001:db8::9': only IPv4 is translated"),
        ("[alg.ftp]\nannounce = '224.0.0.1'", "alg.ftp.announce", "224.0.0.1 can't be a public address"),
        ("[alg.ftp]\nannounce = '127.0.0.1'", "alg.ftp.announce", "127.0.0.1 can't be a public address"),
        ("[alg.ftp]\nannounce = '0.0.0.0'", "alg.ftp.announce", "0.0.0.0 can't be a public address"),
        ("[alg.ftp]\nannounce = '255.255.255.255'", "alg.ftp.announce", "255.255.255.255 can't be a public address"),
        (
            "[[alg.ftp.rule]]\nclient = '10.0.0.0/8'\nannounce = '0.0.0.0'",
            "alg.ftp.rule[0].announce", "0.0.0.0 can't be a public address",
        ),
        (
            GOOD_FORWARD + "[alg.ftp]\nannounce = '10.0.0.5'",
            "alg.ftp.announce", "10.0.0.5 is the inside address that forward[0] leads to",
        ),
        (
            GOOD_FORWARD + "[[alg.ftp.rule]]\nserver = '10.0.0.5'\nannounce = '10.0.0.5'",
            "alg.ftp.rule[0].announce", "10.0.0.5 is the inside address that forward[0] leads to",
        ),
        ("[alg.ftp]\nlprt = 'no'", "alg.ftp.lprt", "'no' is not one of pass, refuse"),
        ("[alg.ftp]\nstrict_line = true", "alg.ftp.strict_line", "unknown key; the nearest is `strict_lines`"),
        ("[alg.ftp]\ntls_passive_ports = '1-9'", "alg.ftp.tls_passive_ports", "is not within 1024 and 65535"),
        ("[[alg.ftp.rule]]\nread_only = true", "alg.ftp.rule[0]", "names neither client nor server"),
        ("[[alg.ftp.rule]]\nclient = '10.0.0.0/8'\nports = [1]", "alg.ftp.rule[0].ports", "set them in [alg.ftp]"),
        ("[[alg.ftp.rule]]\nclient = '10.0.0.0/8'\nlang = 1", "alg.ftp.rule[0].lang", "unknown key; the nearest is"),
        ("[[alg.ftp.rule]]\nclient = '10/8'", "alg.ftp.rule[0].client", "'10/8' is not a network"),
        ("[metrics]\nlisten = ':1025'", "metrics.listen", "':1025' is not an address with a port"),
        ("[log]\nlevel = 'session'", "log.level", "'session' is not one of none, blocks, mappings, sessions"),
        ("[log]\nfile = 'x.log'", "log.file", "'x.log' is not an absolute path"),
        ("[log]\nsinks = ['file']", "log.file", "which file? give file = "),
        ("[metrics]\nlisten = 'localhost:1'", "metrics.listen", "is not an address with a port"),
        ("nat = 3", "nat", "3 is not a table: write [nat]"),
        ("[nat", "configuration", "is not TOML: Expected"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told_with_path_and_reason(text: str, path: str, reason: str) -> None:
    if not path:  # a control: this text is right
        loads(text, DEVICES)
        return
    found = errors(text)
    assert [(where, why) for where, why in found if where == path and reason in why], found
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("overrides", "path", "reason"),
    [
        ({}, "gateway.lan", "no inside device: give --lan"),
        ({"gateway.lan": ["eth1"]}, "gateway.wan", "no outside device: give --wan"),
        ({"gateway.lan": ["eth1", "eth1"], "gateway.wan": "eth0"}, "gateway.lan[1]", "'eth1' is listed twice"),
        ({"gateway.lan": ["eth0"], "gateway.wan": "eth0"}, "gateway.wan", "'eth0' is in gateway.lan too"),
        ({"gateway.lan": ["a/b"], "gateway.wan": "eth0"}, "gateway.lan[0]", "can't be a network device's name"),
        ({"gateway.lan": ["x" * 16], "gateway.wan": "eth0"}, "gateway.lan[0]", "can't be a network device's name"),
        ({**DEVICES, "gateway.datapath": "dpdk"}, "gateway.datapath", "is not one of auto, tc, xdp, xdp-generic"),
    ],
)
def test_wrong_devices(overrides: dict[str, object], path: str, reason: str) -> None:
    found = errors("", overrides)
    assert found[0][0] == path
    assert reason in found[0][1]
    assert len(found) == (1 if overrides else 2), "nothing false beside it"


def test_all_errors_come_at_once_and_one_a_line() -> None:
    text = '[nat]\nports = "x"\nfoo = 1\n[alg]\nfail = 3\n[[forward]]\nproto = "tcp"\n[metrics]\nlisten = 1'
    with pytest.raises(ConfigError) as caught:
        loads(text, {})
    paths = {one.path for one in caught.value.problems}
    assert paths == {
        "nat.ports", "nat.foo", "alg.fail", "forward[0].wan_port", "forward[0].to", "metrics.listen", "gateway.lan",
        "gateway.wan",
    }  # fmt: skip
    lines = str(caught.value).split("\n")
    assert lines[0] == "configuration: 8 errors"
    assert len(lines) == 9
    assert caught.value.exit_code == 2


def test_overrides_come_before_the_file_and_none_is_no_override() -> None:
    file = '[gateway]\nlan = ["eth7"]\nwan = "eth9"\ndatapath = "tc"'
    made = loads(file, {"gateway.lan": ["eth1"], "gateway.wan": None, "gateway.datapath": "xdp"})
    assert (made.gateway.lan, made.gateway.wan, made.gateway.datapath) == (("eth1",), "eth9", "xdp")


def test_three_timeouts_follow_the_transitory_one() -> None:
    times = loads("[timeouts]\ntcp_transitory = 0.5\ntcp_reset = 3", DEVICES).timeouts
    assert (times.tcp_opening, times.tcp_closing, times.tcp_reset) == (0.5, 0.5, 3.0)


def test_rules_hold_for_their_addresses_and_a_later_one_wins() -> None:
    made = loads(
        """
        [alg.ftp]
        min_port = 2000
        [[alg.ftp.rule]]
        client = "10.0.0.0/24"
        read_only = true
        tls = "refuse"
        [[alg.ftp.rule]]
        client = "10.0.0.0/8"
        server = "198.51.100.2"
        tls = "pass"
        """,
        DEVICES,
    ).alg.protocols["ftp"]
    assert isinstance(made, FtpPolicy)

    def resolved(client: str, server: str) -> tuple[bool, str, int]:
        one = made.resolve(IPv4Address(client), IPv4Address(server))
        return one.read_only, one.tls, one.min_port

    assert resolved("10.0.0.9", "192.0.2.1") == (True, "refuse", 2000)
    assert resolved("10.0.0.9", "198.51.100.2") == (True, "pass", 2000)
    assert resolved("10.9.0.9", "198.51.100.2") == (False, "pass", 2000)
    assert resolved("192.0.2.1", "10.0.0.9") == (False, "pass", 2000)


@dataclass(frozen=True, slots=True)
class ChatPolicy(Policy):
    """What a third-party plug-in declares."""

    loud: bool = option(False, boolean)


def test_a_plug_in_declares_its_own_table() -> None:
    class Chat:
        policy = ChatPolicy

    found = policy.kinds({"chat": Chat(), "plain": object(), "ftp": PLUGIN})
    assert found == {"ftp": FtpPolicy, "chat": ChatPolicy, "plain": Policy}
    made = loads("[alg.chat]\nenabled = true\nports = [6667]\nloud = true", DEVICES, found)
    assert made.alg.protocols["chat"] == ChatPolicy(enabled=True, ports=(6667,), loud=True)
    assert made.alg.protocols["plain"] == Policy(enabled=False)
    with pytest.raises(ConfigError, match="port"):
        loads("[alg.chat]\nenabled = true\nports = [21]", DEVICES, found)
    with pytest.raises(ConfigError, match="unknown key; the nearest is `loud`"):
        loads("[alg.chat]\nlod = true", DEVICES, found)


def test_a_live_forward_is_checked_like_one_of_the_file() -> None:
    base = loads(GOOD_FORWARD, DEVICES)
    grown = config.with_forward(base, {"proto": "udp", "wan_port": "21", "to": "10.0.0.5:21"})
    assert [str(one.wan_port) for one in grown.forwards] == ["21", "21"]
    with pytest.raises(ConfigError, match=r"wan_port: tcp 21 overlaps 21 of forward\[0\]"):
        config.with_forward(base, {"proto": "tcp", "wan_port": 21, "to": "10.0.0.5:21"})
    with pytest.raises(ConfigError, match="wan_port: is missing"):
        config.with_forward(base, {"proto": "tcp", "to": "10.0.0.5:21"})
    with pytest.raises(ConfigError, match="not a table"):
        config.with_forward(base, ["tcp"])


def test_load_names_the_file_and_reread_sees_its_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read: No such file"):
        config.load(tmp_path / "none.toml", DEVICES)
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        config.load(file, DEVICES)
    file.write_text("[nat]\nhairpin = false")
    made = config.load(file, DEVICES)
    assert not made.nat.hairpin
    file.write_text("[nat]\nhairpin = true")
    assert config.reread(made).nat.hairpin
    assert config.reread(made).gateway == made.gateway


def test_the_example_says_every_default_and_nothing_else() -> None:
    """deploy/config.example.toml: as it is, and with its commented keys enabled."""
    text = EXAMPLE.read_text()
    plugins = policy.kinds(registry.discover(()))
    assert loads(text, DEVICES, plugins) == loads("", DEVICES, plugins)
    real = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text).replace("\nfilter = false", "\nfilter = true")
    made = loads(real, plugins=plugins)
    assert made.timeouts == sections.Timeouts()
    assert made.gateway == sections.GatewaySection(lan=("eth1",), wan="eth0")
    for section, kind in sections.SECTIONS.items():
        for key in schema.keys(kind):
            assert re.search(rf"(?m)^{key} =", real), f"[{section}] {key} is not in the example"
    for name, kind in plugins.items():
        section = real.partition(f"\n[alg.{name}]")[2].partition("\n[")[0]
        for key in schema.keys(kind):
            assert re.search(rf"(?m)^{key} =", section), f"[alg.{name}] {key} is not in the example"


@pytest.mark.parametrize(("name", "value"), [("MAX_LANS", 16), ("MAX_PUBLIC", 16), ("MAX_FORWARDS", 1024)])
def test_limits_are_the_kernels(name: str, value: int) -> None:
    limits = {
        "MAX_LANS": sections.LANS_MAX,
        "MAX_PUBLIC": sections.ADDRESSES_MAX,
        "MAX_FORWARDS": sections.FORWARDS_MAX,
    }
    found = re.search(rf"#define {name} (\d+)", (ROOT / "bpf/include/abi.h").read_text())
    assert found
    assert int(found[1]) == value == limits[name]
