"""The perf ring's reading end, by libbcc.

The law of this file: samples as bytes to a callback; it knows nothing of what is in them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from algate.bpf import perf, syscall
from algate.bpf.tables import U32

SampleCallback = Callable[[int, bytes], None]  # CPU, sample


class Ring:
    """One buffer a CPU that is online. `fds` become readable when `drain` has something to do."""

    def __init__(self, map_fd: int, callback: SampleCallback, lost: Callable[[int], None], pages: int) -> None:
        """`callback` gets a sample as the kernel wrote it, padded; `lost` how many had no room."""
        perf.need()
        from bcc.libbcc import bcc_perf_buffer_opts, lib
        from bcc.table import _LOST_CB_TYPE, _RAW_CB_TYPE
        from bcc.utils import get_online_cpus

        self._lib = lib
        self._map_fd = map_fd
        self._kept: list[Any] = []  # ctypes would free the callbacks
        self._cpus: list[int] = list(get_online_cpus())
        readers: list[int] = []
        for cpu in self._cpus:
            on_sample = _RAW_CB_TYPE(self._sample_of(cpu, callback))
            on_lost = _LOST_CB_TYPE(lambda _, number: lost(number))
            options = bcc_perf_buffer_opts()
            options.pid, options.cpu, options.wakeup_events = -1, cpu, 1
            reader = lib.bpf_open_perf_buffer_opts(on_sample, on_lost, None, pages, ctypes.byref(options))
            if not reader:
                raise OSError(ctypes.get_errno(), f"can't open the perf ring of CPU {cpu}: CAP_PERFMON is needed")
            syscall.update(map_fd, U32.pack(cpu), U32.pack(lib.perf_reader_fd(reader)))
            self._kept += [on_sample, on_lost]
            readers.append(reader)
        self.fds = [lib.perf_reader_fd(reader) for reader in readers]
        self._readers = (ctypes.c_void_p * len(readers))(*readers)

    @staticmethod
    def _sample_of(cpu: int, callback: SampleCallback) -> Callable[[Any, int, int], None]:
        def on_sample(_: Any, data: int, size: int) -> None:
            callback(cpu, ctypes.string_at(data, size))

        return on_sample

    def drain(self) -> None:
        """Call back for every sample that is there."""
        self._lib.perf_reader_consume(len(self._readers), self._readers)

    def close(self) -> None:
        """Stop reading: the kernel's submits fail from now on."""
        for cpu, reader in zip(self._cpus, self._readers, strict=True):
            syscall.delete(self._map_fd, U32.pack(cpu))
            self._lib.perf_reader_free(reader)
