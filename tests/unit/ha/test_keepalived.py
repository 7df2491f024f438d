"""keepalived's configuration: which addresses move, between whom, and who is fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.alg.config.load import loads
from algate.alg.errors import AlgateError
from algate.alg.ha import keepalived
from tests.unit.config.test_ha import DEVICES, WHOLE


def test_the_addresses_move_together_between_the_two_nodes() -> None:
    made = keepalived.text(loads(WHOLE, DEVICES), "eth2", ("10.0.0.1/24",), Path("/run/algate"), 0.1)
    lines = [line.strip() for line in made.splitlines()]
    wanted = """interface eth2|unicast_src_ip 10.9.0.1|10.9.0.2|203.0.113.1/32 dev eth0|10.0.0.1/24 dev eth1
        |file /run/algate/ha-priority|script "/bin/sh /run/algate/ha-alive.sh"|weight -100|algate_alive
        |init_file -254|advert_int 0.1|state BACKUP"""
    assert {one.strip() for one in wanted.split("|")} <= set(lines)
    assert made.count("{") == made.count("}")


def test_without_a_second_gateway_there_is_nothing_to_say() -> None:
    with pytest.raises(AlgateError, match="no second gateway"):
        keepalived.text(loads("", DEVICES), "eth2", (), Path("/run/algate"))
