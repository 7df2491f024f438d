"""The same dialogues through algate and through a plain relay that rewrites like a textbook: equal bytes.

Real sockets, random pieces, a client that speaks ahead of the answers; both placements share one gateway.
`ALGATE_SEED` chooses other dialogues.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab
from algate.cli.lab.trial import forwards
from tests.dialogues import random_dialogue
from tests.netns.relay import PATIENCE, Part, converse, parts, relay
from tests.textbook import Exchange, Textbook

SEED = int(os.environ.get("ALGATE_SEED", "1"))
DIALOGUES, ALL_DIALOGUES = 20, 200
PORTS = count(2000)  # no port twice, and none that a host picks by itself: the gateway keeps such numbers


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as built, AlgateGateway(built, forwards(built)):
        yield built


def listening(host: Host, address: str, port: int) -> socket.socket:
    made = host.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen()
    return made


def calling(host: Host, address: str, port: int) -> socket.socket:
    made = host.socket()
    made.settimeout(PATIENCE)
    call_in(host.netns, lambda: made.connect((address, port)))
    return made


def through_relay(lab: Lab, textbook: Textbook, client: Part, server: Part, random: Random) -> None:
    """Everything in one namespace."""
    host, here = lab.server, "127.0.0.1"
    back, front = listening(host, here, 0), listening(host, here, 0)
    onward = calling(host, here, back.getsockname()[1])
    carrier = threading.Thread(target=relay, args=(front, onward, textbook))
    carrier.start()
    caller = calling(host, here, front.getsockname()[1])
    converse(caller, back, client, server, random)
    carrier.join(PATIENCE)
    front.close()
    assert not carrier.is_alive()


def through_algate(lab: Lab, client_inside: bool, client: Part, server: Part, random: Random) -> None:
    plan = lab.plan
    if client_inside:
        listener, target, caller = listening(lab.server, plan.servers[0], 21), plan.servers[0], lab.client
    else:
        listener, target, caller = listening(lab.client, plan.clients[0], 21), plan.public[0], lab.server
    converse(calling(caller, target, 21), listener, client, server, random)


@pytest.mark.parametrize("client_inside", [True, False], ids=["client-inside", "server-inside"])
def test_equal_bytes_at_both_ends(lab: Lab, client_inside: bool, request: pytest.FixtureRequest) -> None:
    plan = lab.plan
    inside, outside = plan.clients[0], plan.servers[0]
    ends = (inside, outside) if client_inside else (outside, inside)
    changed = 0
    for number in range(ALL_DIALOGUES if request.config.getoption("run_all") else DIALOGUES):
        random = Random(f"{SEED} {client_inside} {number}")
        told: list[Exchange] = random_dialogue(random, *ends, lambda: next(PORTS), random.randrange(2, 14))
        where = f"ALGATE_SEED={SEED}, dialogue {number}"
        got = []
        for way in ("relay", "algate"):
            textbook = Textbook(client_inside, inside, plan.public[0], outside)
            client, server, to_client, to_server = parts(told, textbook, Random(number))
            if way == "relay":
                own = Textbook(client_inside, inside, plan.public[0], outside)
                through_relay(lab, own, client, server, random)
            else:
                through_algate(lab, client_inside, client, server, random)
            assert (client.got, server.got) == (to_client, to_server), f"{where}: {way} and the textbook differ"
            got.append((client.got, server.got))
            changed += (client.got, server.got) != (server.stream, client.stream)
        assert got[0] == got[1], where
    assert changed > 10, "nothing was rewritten: the dialogues prove nothing"
