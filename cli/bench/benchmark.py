"""Loads what `algate bench` sends with, receives with and compares with (bench.bpf.c).

The law of this file: the bench's programs and their maps; it attaches nothing, and isn't part of a gateway.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algate.bpf import headers, syscall
from algate.bpf.errors import UNSUPPORTED, AlgateError
from algate.bpf.tables import U32, PerCpuCounters
from algate.bpf.testrun import ProgramRun, RunResult, SkBuff, XdpMd, run

SOURCE = Path(__file__).parent / "bench.bpf.c"
CFLAGS = ["-fno-unroll-loops", "-Wno-macro-redefined", f"-I{SOURCE.parent}"]
XDP_PROGRAMS = ("generate", "sink_outside", "sink_inside", "refuse", "forward", "replay_xdp", "nothing_xdp")
TC_PROGRAMS = ("replay_tc", "nothing_tc", "turn_tc")
MAX_FLOWS = 1 << 20
FRAME, FRAME6 = 60, 80  # bytes over IPv4, over IPv6
SIX_INSIDE, SIX_OUTSIDE = 1, 2  # enum six
REPLAYED = 80  # bytes that are restored before each run
ORDER_IN = 1  # enum order_kind
VARY_NOTHING, VARY_SOURCE, VARY_BOTH = range(3)  # enum vary
ROW_OUT, ROW_IN, ROW_REFUSED, ROW_ENDED = range(4)
_REPLAY = struct.Struct(f"={REPLAYED}sQIHH")
_ORDER = struct.Struct("=4Q8I2H8s8sII16s16s4x")


@dataclass(frozen=True, slots=True)
class Order:
    """struct order of bench.bpf.c without the run's own counts. Addresses are numbers in host order."""

    kind: int
    gap: int  # ns between two frames, times 1024
    flows: int
    step: int
    endpoints: int
    hosts: int
    inside: int
    remote: int
    burst: int
    inside_port: int
    remote_port: int
    lan_mac: bytes
    wan_mac: bytes
    learn: bool = False
    six: int = 0  # who speaks IPv6
    inside6: bytes = bytes(16)
    remote6: bytes = bytes(16)

    @property
    def frame(self) -> int:
        """Bytes of a frame, which has room for the longest of the kind."""
        return FRAME6 if self.six & (SIX_OUTSIDE if self.kind == ORDER_IN else SIX_INSIDE) else FRAME

    def pack(self, first: int = 0) -> bytes:
        """As it is in the map; `first`: number of the first frame."""
        return _ORDER.pack(
            first, 0, self.gap, 0, self.flows, self.step, self.endpoints, self.hosts, self.inside, self.remote,
            self.kind, self.burst, self.inside_port, self.remote_port, self.lan_mac, self.wan_mac, self.learn, self.six,
            self.inside6, self.remote6,
        )  # fmt: skip


@functools.cache
def shared() -> BenchPrograms:
    """Load once for all labs of this process; the kernel frees it with the process."""
    return BenchPrograms()


class BenchPrograms:
    """The loaded programs; `fds` by name."""

    def __init__(self, header_folder: Path | None = None) -> None:
        try:
            from bcc import BPF
        except ImportError:
            raise AlgateError("Python package bcc is missing: apt-get install python3-bpfcc", UNSUPPORTED) from None
        headers.prepare(header_folder).activate()
        with _said() as said:
            try:
                self._bpf: Any = BPF(text=SOURCE.read_bytes(), cflags=CFLAGS)
                kinds = dict.fromkeys(XDP_PROGRAMS, BPF.XDP) | dict.fromkeys(TC_PROGRAMS, BPF.SCHED_CLS)
                self.fds = {name: self._bpf.load_func(name.encode(), kind).fd for name, kind in kinds.items()}
            except Exception as error:
                words = (said().strip().splitlines() or [str(error)])[-3:]
                raise AlgateError(f"the bench's programs don't load: {' / '.join(words)}", UNSUPPORTED) from None
        self._orders: int = self._bpf[b"orders"].map_fd
        self._replays: int = self._bpf[b"replays"].map_fd
        self._links: int = self._bpf[b"links"].map_fd
        self.arrived = PerCpuCounters(self._bpf[b"arrived"].map_fd)

    def link(self, row: int, ifindex: int) -> None:
        """Send out of this device: row 0 outbound, row 1 inbound. Call from the namespace that the device is in."""
        syscall.update(self._links, U32.pack(row), U32.pack(ifindex))

    def send(self, order: Order, frames: int, first: int = 0) -> tuple[int, int]:
        """Send `frames` frames; returns (frames sent, bursts that came too late to catch up)."""
        syscall.update(self._orders, U32.pack(0), order.pack(first))
        run(
            self.fds["generate"],
            bytes(order.frame),
            repeat=frames,
            flags=ProgramRun.LIVE_FRAMES,
            batch_size=order.burst,
            room=0,
        )
        raw = syscall.lookup(self._orders, U32.pack(0), _ORDER.size)
        assert raw is not None
        sent, _, _, late, *_ = _ORDER.unpack(raw)
        return sent - first, late

    def forget(self) -> None:
        """Forget every public end point that was learned."""
        keys = struct.pack(f"={MAX_FLOWS}I", *range(MAX_FLOWS))
        syscall.update_batch(self._bpf[b"learned"].map_fd, keys, bytes(8 * MAX_FLOWS), MAX_FLOWS)

    def replay(self, program: int, frame: bytes, context: SkBuff | XdpMd, repeat: int, vary: int = 0) -> RunResult:
        """Run a program `repeat` times over the same frame (80 bytes or more): the last run's result and the mean ns.

        `vary`: the ports that count up from run to run. Call from the namespace of the context's devices. The mean
        includes the cost of restoring the frame, which `nothing` measures.
        """
        kind = "xdp" if isinstance(context, XdpMd) else "tc"
        source, destination = struct.unpack_from("!HH", frame, 54 if frame[12:14] == b"\x86\xdd" else 34)
        syscall.update(self._replays, U32.pack(0), _REPLAY.pack(frame[:REPLAYED], 0, vary, source, destination))
        syscall.update(self._bpf[f"{kind}_under_test".encode()].map_fd, U32.pack(0), U32.pack(program))
        return run(self.fds[f"replay_{kind}"], frame, context, repeat=repeat)

    def counted(self) -> list[int]:
        """Frames that arrived, by row."""
        return [self.arrived.sum(row) for row in (ROW_OUT, ROW_IN, ROW_REFUSED, ROW_ENDED)]

    def close(self) -> None:
        self._bpf.cleanup()


@contextlib.contextmanager
def _said() -> Iterator[Callable[[], str]]:
    """Catch what clang and the verifier print to descriptor 2: the exception only says that it failed."""
    with tempfile.TemporaryFile() as spool:
        saved = os.dup(2)
        os.dup2(spool.fileno(), 2)

        def said() -> str:
            spool.seek(0)
            return spool.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
