"""Compiles, checks, loads the gateway program through BCC, and hands out its programs and tables.

The law of this file: the only one that imports bcc, and inside functions only. It attaches nothing to a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from algate.bpf import abi, flatten, headers, syscall
from algate.bpf.errors import UNSUPPORTED, AlgateError
from algate.bpf.tables import U32, U64, PerCpuCounters, Table, layout

SOURCE = Path(__file__).parent / "gateway.bpf.c"
INCLUDE = Path(__file__).parent / "include"
TC_PROGRAMS = ("tc_lan", "tc_wan_in", "tc_wan_out", "tc_tap", "control")
XDP_PROGRAMS = ("xdp_lan", "xdp_wan")
STAGES = {stage: f"stage_{stage.name.lower()}" for stage in abi.Stage if stage.name != "COUNT"}
PORT_ROWS_LEAST = 4  # public addresses that the port table has room for even if fewer are in use: they may change
NOT_UNROLLED = "-fno-unroll-loops"  # unrolled, the option and digest loops pass the verifier's limit

PunctualCallback = Callable[[int, bytes], None]


class Gateway:
    """The loaded programs (`fds` by name) and the pinned tables. Attached programs live on; pins keep the maps."""

    def __init__(self, pin_folder: Path, max_sessions: int, addresses: int, header_folder: Path | None = None) -> None:
        self.pins = pin_folder
        self.notes: list[str] = []
        self.max_sessions = self._kept("sessions", max_sessions)
        rows = max(addresses, PORT_ROWS_LEAST) * abi.PORTS_PER_ADDRESS
        self.port_rows = self._kept("ports", rows, least=addresses * abi.PORTS_PER_ADDRESS)
        self.headers = headers.prepare(header_folder)
        self._bpf = self._compile()
        self.fds = {name: self._load(name, xdp=False) for name in (*TC_PROGRAMS, *STAGES.values())}
        self.fds |= {name: self._load(name, xdp=True) for name in XDP_PROGRAMS}
        self._readers: Any = None
        self._consume: Any = None
        self._callback: PunctualCallback | None = None
        self._open_tables()

    def _open_tables(self) -> None:
        fd = self._map_fd
        self.sessions = Table(fd("sessions"), layout(abi.SessionKey), layout(abi.Session))
        self.ports = Table(fd("ports"), U32, layout(abi.PortSlot))
        self.mappings = Table(fd("mappings"), layout(abi.MappingKey), layout(abi.Mapping))
        self.forwards = Table(fd("forwards"), U32, layout(abi.Forward))
        self.forward_sources = Table(fd("forward_sources"), layout(abi.ForwardSourceKey), U32)
        self.alg_ports = Table(fd("alg_ports"), layout(abi.ServiceKey), U32)
        self.allow_out = Table(fd("allow_out"), layout(abi.ServiceKey), U32)
        self.expectations = Table(fd("expectations"), layout(abi.ExpectationKey), layout(abi.Expectation))
        self.adjusts = Table(fd("adjusts"), layout(abi.SessionKey), layout(abi.Adjust))
        self.tracks = Table(fd("tracks"), layout(abi.SessionKey), layout(abi.Track))
        self.decisions = Table(fd("decisions"), layout(abi.DecisionKey), layout(abi.Decision))
        self.replacements = Table(fd("replacements"), layout(abi.DecisionKey), layout(abi.Replacement))
        self.held = Table(fd("held"), layout(abi.DecisionKey), layout(abi.Replacement))
        self.exempt = Table(fd("exempt"), layout(abi.ExemptKey), U32)
        self.port_bits = Table(fd("port_bits"), U32, U64)
        self.configs = Table(fd("configs"), U32, layout(abi.Config))
        self.heartbeat = Table(fd("heartbeat"), U32, U64)
        self.counters = PerCpuCounters(fd("counters"))
        self.drops = PerCpuCounters(fd("drops"))

    def _kept(self, name: str, wanted: int, least: int = 0) -> int:
        """The size of a pinned map, which only --purge changes; else what is wanted now."""
        path = self.pins / name
        if not path.exists():
            return wanted
        fd = syscall.obj_get(path)
        try:
            size = syscall.map_info(fd).max_entries
        finally:
            os.close(fd)
        if size < least:
            raise AlgateError(
                f"the pinned map {name} has {size} rows of {least} needed: `algate down --purge`, then start"
            )
        if size != wanted and not least:
            self.notes.append(f"{name} keeps its size of {size} entries until `algate down --purge`")
        return size

    def _compile(self) -> Any:
        try:
            from bcc import BPF
        except ImportError:
            raise AlgateError("Python package bcc is missing: apt-get install python3-bpfcc", UNSUPPORTED) from None
        self.headers.activate()
        flags = [
            f'-DPIN_DIR="{self.pins}"', f"-DMAX_SESSIONS={self.max_sessions}", f"-DPORT_ROWS={self.port_rows}",
            f"-I{INCLUDE}", NOT_UNROLLED, "-Wno-macro-redefined",
        ]  # fmt: skip
        with _clang_output() as said:
            try:
                return BPF(text=flatten.flatten(SOURCE).encode(), cflags=flags)
            except Exception as error:
                raise AlgateError(_first_error(said(), f"{error}"), UNSUPPORTED) from None

    def _load(self, name: str, xdp: bool) -> int:
        from bcc import BPF

        with _clang_output() as said:
            try:
                fd: int = self._bpf.load_func(name.encode(), BPF.XDP if xdp else BPF.SCHED_CLS).fd
                return fd
            except Exception as error:
                message = _last_line(said()) or str(error)
                raise AlgateError(f"the kernel refused program {name}: {message}", UNSUPPORTED) from None

    def _map_fd(self, name: str) -> int:
        fd: int = self._bpf[name.encode()].map_fd
        return fd

    def install_stages(self) -> None:
        """Put this load's stages into the pinned program array: from now on also the attached programs call them."""
        stages = self._map_fd("stages")
        for stage, name in STAGES.items():
            syscall.update(stages, U32.pack(int(stage)), U32.pack(self.fds[name]))

    # -- the perf ring -----------------------------------------------------------------------------------------

    def open_ring(self, callback: PunctualCallback, lost: Callable[[int], None], pages: int) -> list[int]:
        """Open the ring, `pages` (a power of two) of memory a CPU. Returns descriptors to wait on for reading.

        `callback(cpu, sample)` is called from `drain`; a sample is struct punt and, behind it, the frame.
        """
        from bcc.libbcc import lib

        def raw(cpu: int, data: int, size: int) -> None:
            callback(cpu, ctypes.string_at(data, size))

        self._bpf[b"punts"].open_perf_buffer(raw, page_cnt=pages, lost_cb=lost)
        found = list(self._bpf.perf_buffers.values())
        self._readers = (ctypes.c_void_p * len(found))(*found)
        self._consume = lib.perf_reader_consume
        return [lib.perf_reader_fd(reader) for reader in found]

    def drain(self) -> None:
        """Call back for every sample that is in the ring."""
        if self._readers is not None:
            self._consume(len(self._readers), self._readers)

    def close(self) -> None:
        """Give up descriptors; what is attached or pinned stays."""
        self._readers = None
        self._bpf.cleanup()


@contextlib.contextmanager
def _clang_output() -> Iterator[Callable[[], str]]:
    """Catches what clang and the verifier print to descriptor 2: the exception alone says only that it failed."""
    with tempfile.TemporaryFile() as spool:
        saved = os.dup(2)
        dismiss = _post_witness(spool.fileno(), saved)
        os.dup2(spool.fileno(), 2)

        def said() -> str:
            spool.seek(0)
            return spool.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            dismiss()


def _post_witness(spool: int, stderr: int) -> Callable[[], None]:
    """LLVM ends the whole process on some errors (a stack beyond 512 bytes): a child then prints what was caught."""
    life, alive = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(alive)
        if not os.read(life, 1):
            os.write(stderr, b"algate: the compiler gave up: " + os.pread(spool, 65536, 0))
        os._exit(0)
    os.close(life)

    def dismiss() -> None:
        os.write(alive, b"k")
        os.close(alive)
        os.waitpid(child, 0)

    return dismiss


def _first_error(text: str, fallback: str) -> str:
    errors = [line for line in text.splitlines() if "error" in line.lower()]
    return f"the gateway program doesn't compile: {errors[0].strip() if errors else fallback}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("processed ")]
    return lines[-1].strip() if lines else ""
