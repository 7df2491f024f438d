"""Creates or takes over the maps, loads the programs, and hands both out.

The law of this file: it attaches nothing to a device and compiles nothing. Which maps and programs there are is in
programs.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from algate.bpf import abi, compiler, description, libbcc, syscall
from algate.bpf.compiler import MapSpec
from algate.bpf.errors import UNSUPPORTED, AlgateError
from algate.bpf.keep import FOLDER, Keep
from algate.bpf.packing import picker
from algate.bpf.pins import folder as gateway_folder
from algate.bpf.pins import names
from algate.bpf.programs import (
    PORT_ROWS_LEAST,
    STAGES,
    STAGES6,
    STAGES64,
    UNPINNED,
    XDP_PROGRAMS,
    entries,
    programs,
)
from algate.bpf.ring import MOST, Ring, SampleCallback
from algate.bpf.tables import U32, U64, PerCpuCounters, Table, layout


class Gateway:
    """The loaded programs (`fds` by name) and the pinned tables. Attached programs live on; pins keep the maps."""

    def __init__(
        self,
        pin_folder: Path,
        max_sessions: int,
        addresses: int,
        header_folder: Path | None = None,
        six: bool = False,
        nat64: bool = False,
    ) -> None:
        """In a run directory's own pin folder programs are kept for the next start; `kept`: they were. `six`: with what
        IPv6 needs; `nat64`: with that too."""
        self.pins = pin_folder
        self.kept = False
        own = header_folder is not None and pin_folder.parent == gateway_folder(header_folder)
        self._keep = pin_folder / FOLDER if own else None
        self._programs_pinned = False
        self.notes: list[str] = []
        self.max_sessions = self._kept("sessions", max_sessions)
        rows = max(addresses, PORT_ROWS_LEAST) * abi.PORTS_PER_ADDRESS
        self.port_rows = self._kept("ports", rows, least=addresses * abi.PORTS_PER_ADDRESS)
        self.six, self.nat64 = six or nat64, nat64
        self.artifact, self.headers = programs(header_folder, self.six, nat64)
        self._own = tuple(spec.name for spec in self.artifact.maps if spec.name in UNPINNED)
        self._map_fds: dict[str, int] = {}
        self.fds: dict[str, int] = {}
        self._ring: Ring | None = None
        try:
            for spec in self.artifact.maps:
                self._map_fds[spec.name] = self._map(spec)
            self._map_fds[description.PIN] = description.keep(self.pins)
            self._load_all()
        except BaseException:
            self.close()
            raise
        self._open_tables()

    def _open_tables(self) -> None:
        fd = self._map_fd
        self.sessions = Table(fd("sessions"), layout(abi.SessionKey), layout(abi.Session))
        self.relations = Table(fd("relations"), U64, U64)
        self.beginnings = Table(fd("beginnings"), U64, layout(abi.Beginning))
        self.ports = Table(fd("ports"), U32, layout(abi.PortSlot))
        self.mappings = Table(fd("mappings"), layout(abi.MappingKey), layout(abi.Mapping))
        self.hosts = Table(fd("hosts"), layout(abi.MappingKey), layout(abi.Host))
        self.pools = Table(fd("pools"), U32, layout(abi.Pool))
        self.port_blocks = Table(fd("port_blocks"), U32, layout(abi.PortBlock))
        self.block_bits = Table(fd("block_bits"), U32, U64)
        self.block_lists = Table(fd("block_lists"), layout(abi.MappingKey), layout(abi.BlockList))
        self.block_networks = Table(fd("block_networks"), layout(abi.ExemptKey), layout(abi.BlockNetwork))
        self.shares = Table(fd("shares"), layout(abi.ShareKey), layout(abi.Share))
        self.forwards = Table(fd("forwards"), U32, layout(abi.Forward))
        self.forward_sources = Table(fd("forward_sources"), layout(abi.ForwardSourceKey), U32)
        self.alg_ports = Table(fd("alg_ports"), layout(abi.ServiceKey), U32)
        self.allow_out = Table(fd("allow_out"), layout(abi.ServiceKey), U32)
        self.expectations = Table(fd("expectations"), layout(abi.ExpectationKey), layout(abi.Expectation))
        self.adjusts = Table(fd("adjusts"), layout(abi.SessionKey), layout(abi.Adjust))
        self.tracks = Table(fd("tracks"), layout(abi.SessionKey), layout(abi.Track))
        self.passable = Table(fd("passable"), layout(abi.PassableKey), U32)
        self.decisions = Table(fd("decisions"), layout(abi.DecisionKey), layout(abi.Decision))
        self.replacements = Table(fd("replacements"), layout(abi.DecisionKey), layout(abi.Replacement))
        self.held = Table(fd("held"), layout(abi.DecisionKey), layout(abi.Replacement))
        self.fragments_fd = fd("fragments")
        self.exempt = Table(fd("exempt"), layout(abi.ExemptKey), U32)
        self.devices = Table(fd("devices"), U32, U32)
        self.wan_networks = Table(fd("wan_networks"), layout(abi.ExemptKey), U32)
        self.port_bits = Table(fd("port_bits"), U32, U64)
        self.configs = Table(fd("configs"), U32, layout(abi.Config))
        self.heartbeat = Table(fd("heartbeat"), U32, U64)
        if self.six:
            self.handles = Table(fd("handles"), layout(abi.Address6), U32)
            self.addresses6 = Table(fd("addresses6"), U32, layout(abi.Interned))
            self.configs6 = Table(fd("configs6"), U32, layout(abi.Config6))
            self.allow_in = Table(fd("allow_in"), layout(abi.AdmissionKey), layout(abi.Admission))
            self.allow_in_sources = Table(fd("allow_in_sources"), layout(abi.AdmissionSourceKey), U32)
            self.askers = Table(fd("askers"), U32, U64)
            self.pieces = Table(fd("pieces"), layout(abi.PieceKey), layout(abi.Pieces))
        self.counters = PerCpuCounters(fd("counters"))
        self.drops = PerCpuCounters(fd("drops"))

    def _kept(self, name: str, wanted: int, least: int = 0) -> int:
        """The size of the pinned map, which only --purge changes; without one, what is wanted now."""
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

    def _map(self, spec: MapSpec) -> int:
        """The pinned map of that name, or a new one, pinned unless it belongs to this load only."""
        path = self.pins / spec.name
        if spec.name not in UNPINNED and path.exists():
            fd = syscall.obj_get(path)
            info = syscall.map_info(fd)
            if (info.type, info.key_size, info.value_size) != (spec.kind, spec.key_size, spec.value_size):
                raise AlgateError(f"the pinned map {path} is of another version: `algate down --purge`, then start")
            return fd
        size = entries(spec, self.max_sessions, self.port_rows)
        fd = libbcc.create_map(spec, size)
        if spec.name not in UNPINNED:
            try:
                syscall.obj_pin(fd, path)
            except OSError as error:
                raise AlgateError(f"can't pin {path}: {error.strerror}", UNSUPPORTED) from None
        return fd

    def _load_all(self) -> None:
        """Load all programs, in parallel on all CPUs: the verifier takes most of a start's time."""
        if self._take_kept():
            return
        with libbcc.quiet(), ThreadPoolExecutor() as pool:
            loading = {name: pool.submit(self._load, name, code) for name, code in self.artifact.programs.items()}
        for name, one in loading.items():
            if one.exception() is None:
                self.fds[name] = one.result()
        for one in loading.values():
            one.result()
        self._keep_programs()

    def _load(self, name: str, code: bytes) -> int:
        code = compiler.bind(code, [self._map_fds[spec.name] for spec in self.artifact.maps])
        return libbcc.load(libbcc.XDP if name in XDP_PROGRAMS else libbcc.SCHED_CLS, name, code)

    def _take_kept(self) -> bool:
        """Take the programs of an earlier start, with the maps of that load, if they are those to be loaded."""
        found = Keep(self._keep, self.artifact, self._own).take(self._map_fds) if self._keep is not None else None
        if found is None:
            return False
        for name in self._own:
            os.close(self._map_fds[name])
            self._map_fds[name] = found.pop(name)
        self.fds, self.kept, self._programs_pinned = found, True, True
        return True

    def _keep_programs(self) -> None:
        """Pin what was loaded for the next start."""
        if self._keep is None:
            return
        try:
            fds = {**self.fds, **{name: self._map_fds[name] for name in self._own}}
            Keep(self._keep, self.artifact, self._own).put(fds)
            self._programs_pinned = True
        except OSError as error:
            self.notes.append(f"the next start must load all programs anew: {error}")

    def _map_fd(self, name: str) -> int:
        return self._map_fds[name]

    def map_fd(self, name: str) -> int:
        """A map's descriptor, as long as this gateway isn't closed."""
        return self._map_fds[name]

    def install_stages(self) -> None:
        """Put this load's stages into the pinned program array: from now on the attached programs call them too."""
        stages = self._map_fd("stages")
        for stage, name in STAGES.items():
            syscall.update(stages, U32.pack(int(stage)), U32.pack(self.fds[name]))
        for row, name in STAGES6.items():
            if self.six:
                syscall.update(stages, U32.pack(row), U32.pack(self.fds[name]))
            else:  # an earlier start's
                syscall.delete(stages, U32.pack(row))
        for row, name in STAGES64.items():
            if self.nat64:
                syscall.update(stages, U32.pack(row), U32.pack(self.fds[name]))
            else:
                syscall.delete(stages, U32.pack(row))

    def unpinned(self) -> list[str]:
        """The maps that should be pinned and aren't, and the folder of programs if one of those isn't."""
        there = names(self.pins)
        missing = [name for name in self._map_fds if name not in UNPINNED and name not in there]
        return missing + ([FOLDER] if self._programs_pinned and not self._programs_there() else [])

    def _programs_there(self) -> bool:
        return self._keep is not None and names(self._keep) >= {*self._own, *self.artifact.programs}

    def pin_again(self) -> None:
        """Pin what was unpinned. OSError: what the bpffs says."""
        self.pins.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in self.unpinned():
            if name == FOLDER:
                self._keep_programs()
            else:
                syscall.obj_pin(self._map_fds[name], self.pins / name)

    def open_ring(self, callback: SampleCallback, lost: Callable[[int], None], pages: int) -> list[int]:
        """Open the perf ring, `pages` (a power of two) of memory per CPU, or listen to the one that is open. Returns
        descriptors to wait on."""
        if self._ring is not None:
            self._ring.listen(callback, lost)
            return self._ring.fds
        self._ring = Ring(
            self._map_fds["punts"], callback, lost, pages, picker("punt", "time"), quiet_fd=self._map_fds["unhurried"]
        )  # fmt: skip
        return self._ring.fds

    def lead_here(self) -> None:
        """Have the attached programs call this load's stages, and write into this ring."""
        if self._ring is not None:
            self._ring.enlist()
        self.install_stages()

    def turn(self, most: int = MOST) -> bool:
        """Call back for the oldest samples in the ring, at most `most`. True: call again, no descriptor will say so."""
        return self._ring is not None and self._ring.turn(most)

    def unread(self) -> int:
        """Bytes of samples that wait in the ring."""
        return 0 if self._ring is None else self._ring.unread

    def drain(self) -> None:
        """Call back for every sample that is in the ring."""
        while self.turn():
            pass

    def close(self) -> None:
        """Give up descriptors; what is attached or pinned stays."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        for fd in (*self.fds.values(), *self._map_fds.values()):
            os.close(fd)
        self.fds.clear()
        self._map_fds.clear()
