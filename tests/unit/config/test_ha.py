"""[ha]: what is missing or can't be, key by key, and which ports are whose."""

from __future__ import annotations

import pytest

from algate.alg.config.load import ConfigError, loads

DEVICES = {"gateway.lan": ["eth1"], "gateway.wan": "eth0"}
WHOLE = """
[nat]
addresses = ["203.0.113.1"]
[ha]
node = "a"
engine = "10.9.0.1:6379"
peer = "10.9.0.2:6379"
witness = "10.9.0.3:6379"
"""


def told(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        loads(text, DEVICES)
    return {one.path: one.reason for one in error.value.problems}


def test_without_a_node_nothing_is_different() -> None:
    assert loads("", DEVICES).nat.ports == loads("[ha]\nnode = ''", DEVICES).nat.ports


def test_the_two_nodes_have_no_port_in_common_and_together_all() -> None:
    halves = [loads(WHOLE.replace('"a"', f'"{node}"'), DEVICES).nat.ports for node in "ab"]
    assert [str(one) for one in halves] == ["1024-33279", "33280-65535"]
    few = [loads(WHOLE.replace("[nat]", '[nat]\nports = "2000-2005"').replace('"a"', f'"{node}"'), DEVICES)
           for node in "ab"]  # fmt: skip
    assert [str(one.nat.ports) for one in few] == ["2000-2001", "2002-2005"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("peer = ", "# peer = ", "ha.peer"), ("witness = ", "# witness = ", "ha.witness"),
        ("engine = ", 'engine = ""\n# ', "ha.engine"), ("addresses = ", "# ", "nat.addresses"),
        ('node = "a"', 'node = "c"', "ha.node"), ('node = "a"', "", "ha.peer"),
        ("10.9.0.2", "10.9.0.1", "ha.peer"), ("[nat]", '[nat]\nports = "2000"', "nat.ports"),
        ("[nat]", "[nat]\nport_block = 512\nport_block_hosts = ['10.0.0.0/28']", "nat.port_block_hosts"),
        ("[nat]", "[nat]\nports = '1024-8191'\nport_block = 4096", "nat.port_block"),
        ("[nat]", "[ipv6]\nfilter = true\n[nat]", "ipv6.filter"),
        ("[nat]", '[nat]\nmapping = "address-and-port-dependent"', "nat.mapping"),
        ("[ha]", '[ha]\ntls_cert = "/etc/c.pem"', "ha.tls_cert"), ("[ha]", '[ha]\ntls_ca = "ca.pem"', "ha.tls_ca"),
        ("[ha]", '[ha]\nuser = "gw"', "ha.password_file"), ("[ha]", '[ha]\nwhen_alone = "wait"', "ha.when_alone"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_about_its_key(old: str, new: str, path: str) -> None:
    assert path in told(WHOLE.replace(old, new, 1))
