"""Which inside hosts were refused new sessions lately, by which limit, and what they have of it now.

The law of this file: it reads what the helper remembers and what the kernel counts, and makes rows.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import cast

from algate.alg.answers import RefusalAnswer
from algate.alg.daemon.running import Running
from algate.alg.gateway import shares
from algate.alg.gateway.addresses import Addresses, is_handle
from algate.alg.helper.helper import now
from algate.alg.rows import RefusalRow

MOST = 8  # told in `status`


def refusals(running: Running, hosts: Collection[str] = (), most: int | None = None) -> list[RefusalRow]:
    """The latest first; `hosts`: of these alone."""
    rows, addresses = [], Addresses(running.gateway)
    for one in running.helper.refused.lately():
        inside = _told(addresses.packed(one.source))
        if not inside or (hosts and inside not in hosts):
            continue
        counted = addresses.counted(one.source)
        had = shares.had(running.gateway, one.reason, counted, one.proto) if counted is not None else None
        numbers = (had.has, had.most, had.what, had.key) if had is not None else (None, None, None, None)
        rows.append(RefusalRow(inside, one.reason, one.number, max(0.0, now() - one.moment), *numbers))
    return rows[:most]


def _told(packed: bytes) -> str:
    """An address; "" for what is none, and for a handle that stands for none any more."""
    return str(ip_address(packed)) if len(packed) in (4, 16) and not is_handle(packed) else ""


def answers(running: Running) -> list[RefusalAnswer]:
    """The latest, for `status`."""
    return [cast(RefusalAnswer, row.as_dict()) for row in refusals(running, most=MOST)]
