"""[lease]: what several gateways that share addresses need, and can't have."""

from __future__ import annotations

from itertools import pairwise

import pytest

from algate.alg.config.load import ConfigError, loads
from algate.alg.gateway.lots import Lots
from algate.alg.gateway.portblocks import usable
from algate.bpf import abi

pytestmark = pytest.mark.unit
HEAD = '[gateway]\nlan = ["l0"]\nwan = "w0"\n'
NAT = '[nat]\naddresses = ["203.0.113.1", "203.0.113.2"]\nport_block = 512\n'
LEASE = '[lease]\nnode = "left"\nengine = "10.9.0.3:6379"\n'


def test_what_is_enough() -> None:
    lease = loads(HEAD + NAT + LEASE).lease
    assert (lease.node, str(lease.engine), lease.lots, lease.seconds) == ("left", "10.9.0.3:6379", 16, 60.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NAT + "[lease]\nlots = 4\n", "lease.lots: does nothing alone"),
        (NAT + '[lease]\nnode = "left"\n', "lease.engine: which engine"),
        (NAT + LEASE.replace("left", "le.ft"), "lease.node: 'le.ft' is not a name"),
        (NAT.replace("port_block = 512", "") + LEASE, "nat.port_block: what is leased"),
        ("[nat]\nport_block = 512\n" + LEASE, "nat.addresses: which addresses"),
        (NAT + 'ports = "1024-5119"\n' + LEASE, "lease.lots: 8 blocks of an address can't be leased in 16 lots"),
        (NAT + 'port_block_hosts = ["10.0.0.0/28"]\n' + LEASE, "nat.port_block_hosts: can't be set together"),
        (NAT + 'port_block_node = "1/2"\n' + LEASE, "nat.port_block_node: can't be set together"),
        (NAT + 'mapping = "address-and-port-dependent"\n' + LEASE, "nat.mapping: can't be set together"),
        (NAT + LEASE + '[nat64]\nprefix = "64:ff9b::/96"\n', "nat64.prefix: can't be set together"),
        (NAT + LEASE + '[[forward]]\nproto = "tcp"\nwan_port = 80\nto = "10.0.0.5:80"\n', "forward: can't be set"),
        (
            NAT + LEASE + '[ha]\nnode = "a"\npeer = "10.9.0.2:6379"\nwitness = "10.9.0.3:6379"\n',
            "ha.node: can't be set",
        ),
        (NAT + LEASE + 'tls_cert = "/etc/c.pem"\n', "lease.tls_cert: a certificate and its key"),
    ],
)
def test_what_can_not_be(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        loads(HEAD + text)
    assert said in str(told.value)


@pytest.mark.parametrize("number", [2, 3, 16, 64])
def test_lots_are_even_and_part_all_blocks(number: int) -> None:
    nat = loads(HEAD + NAT).nat
    lots = Lots.of_blocks(nat, number)
    ports = [lots.ports(lot) for lot in range(number)]
    assert ports[0].first == 1024 and ports[-1].last == 65535
    assert all(one.last + 1 == other.first for one, other in pairwise(ports))
    assert max(map(len, ports)) - min(map(len, ports)) <= 512
    assert {lots.at(port) for one in ports for port in (one.first, one.last)} == set(range(number))
    assert lots.at(80) is None
    mine = usable(nat, 2, [], lambda first, size: lots.at(first) == lots.at(first + size - 1) == 1)
    assert lots.open(mine) == {1}
    rows = [at * 64 + bit for at, word in enumerate(mine) for bit in range(64) if word >> bit & 1]
    assert {row // abi.BLOCK_ROWS for row in rows} == {0, 1}  # on both addresses
    assert len(rows) * 512 == 2 * len(ports[1])
