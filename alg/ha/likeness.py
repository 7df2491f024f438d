"""Whether the two nodes of a pair have the same configuration, as far as they have to.

The law of this file: digests of sections travel, no values; each node leaves its own at the witness. What may differ
(devices, logs, listeners, [ha]) isn't in it; the nodes' halves of the ports have to adjoin.
"""

from __future__ import annotations

import hashlib
import json

from algate.alg.config.sections import Config
from algate.alg.config.spelling import values

from .store import StoreError, StoreKeys

OWN = ("ha", "gateway", "metrics", "log")
HALVED = "nat.ports"


def likeness(config: Config) -> bytes:
    """What this node has to leave."""
    sections: dict[str, list[str]] = {}
    for key, value in sorted(values(config).items()):
        section = key.partition(".")[0].partition("[")[0]
        if section not in OWN and key != HALVED:
            sections.setdefault(section, []).append(f"{key}={value!r}")
    made = {name: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] for name, lines in sections.items()}
    ports = config.nat.ports
    return json.dumps(made | {HALVED: [ports.first, ports.last]}, sort_keys=True).encode()


def key(node: str) -> str:
    """Where it is left."""
    return f"config-{node}"


async def leave(keys: StoreKeys, node: str, mine: bytes) -> None:
    """StoreError if the witness can't be asked."""
    await keys.compare_and_set(key(node), await keys.read(key(node)), mine)


def differences(one: bytes, other: bytes) -> list[str]:
    """Names of sections. `one` of node a, `other` of node b. StoreError if either isn't such a thing."""
    try:
        a, b = json.loads(one), json.loads(other)
        halves = a.pop(HALVED)[1] + 1 == b.pop(HALVED)[0]
        found = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise StoreError("the witness has something else where the nodes' digests should be") from None
    return found if halves else [*found, HALVED]
