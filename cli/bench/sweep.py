"""What a sweep of a full table costs: `python -m algate.cli.bench.sweep [SESSIONS]`.

The law of this file: a gateway's maps without devices, filled by hand; nothing is translated, nothing expires. CPU
seconds are this process's, user and kernel together, since all of a sweep runs in it.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from algate.alg.gateway.gc import Sweep
from algate.bpf import abi, pins, syscall, ticks
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram
from algate.cli.lab.lab import mount_bpffs, require_root

SESSIONS = 1_000_000
PIECE = 50_000
ROUNDS = 3
RELATED_EVERY = 10  # a data connection
TIMEOUTS = (240, 7440, 240, 240, 300, 60)  # enum timeout_kind


@dataclass(frozen=True, slots=True)
class Cost:
    """One sweep: sessions looked at, seconds of CPU, the longest time that it blocked the loop."""

    sessions: int
    cpu: float
    longest: float


@contextmanager
def filled(sessions: int) -> Iterator[Gateway]:
    """A gateway's maps with that many live sessions, TCP and UDP, some related to others."""
    require_root()
    mount_bpffs()
    folder = pins.BPFFS / f"ag-{secrets.token_hex(4)}"
    folder.mkdir()
    gateway = Gateway(folder, max(sessions + sessions // 4, 1), 1, None)
    try:
        gateway.configs.put(0, abi.Config(public_count=1, timeouts=tuple(ticks.lasting(one) for one in TIMEOUTS)))
        for start in range(0, sessions, PIECE):
            fill(gateway, range(start, min(start + PIECE, sessions)))
        yield gateway
    finally:
        gateway.close()
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


def fill(gateway: Gateway, numbers: range) -> None:
    """Sessions as packets make them, last seen a moment ago."""
    now, state, flag = ticks.now(), abi.SessionState, abi.SessionFlag.EXPECTED
    keys, values = bytearray(), bytearray()
    key = abi.SessionKey(remote_port=443)
    value = abi.Session(packets=(1, 1), bytes=(100, 100), public_ip=1)
    for number in numbers:
        tcp, related = number % 2 == 0, number % RELATED_EVERY == 0
        key.inside_ip, key.remote_ip, key.inside_port = 10 | number >> 16 << 8, number % 251, number & 0xFFFF
        key.proto = 6 if tcp else 17
        keys += bytes(key)
        value.id, value.port_index = number + 1, number & 0xFFFF
        value.state = int(state.ESTABLISHED | abi.StateBit.SYN_OUT | abi.StateBit.SYN_IN if tcp else state.ACTIVE)
        value.flags = int(flag) if related else 0
        if related:
            gateway.relations.put(number + 1, 1 + number % 97)
        value.last_seen = (now - number % 50_000) % ticks.WRAP
        values += bytes(value)
    syscall.update_batch(gateway.sessions.fd, bytes(keys), bytes(values), len(numbers))


def measure(sessions: int = SESSIONS, rounds: int = ROUNDS) -> list[Cost]:
    """Fill a table and sweep it `rounds` times."""
    with filled(sessions) as gateway:
        control = ControlProgram(gateway.fds["control"])
        return [one_sweep(gateway, control) for _ in range(rounds)]


def one_sweep(gateway: Gateway, control: ControlProgram) -> Cost:
    """Sweep as the daemon does; the time between slices, when others get a turn, isn't counted."""
    began, longest, since = time.process_time(), 0.0, time.perf_counter()
    sweep = Sweep(gateway, control)
    for _ in sweep.run():
        longest = max(longest, time.perf_counter() - since)
        since = time.perf_counter()
    return Cost(sweep.seen, time.process_time() - began, longest)


def main() -> None:
    """Print a line per sweep."""
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS
    for one in measure(sessions):
        print(f"{one.sessions} sessions: {one.cpu:.3f} s of CPU, longest slice {one.longest * 1000:.1f} ms")


if __name__ == "__main__":
    main()
