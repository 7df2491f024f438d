"""Runs a loaded program over a packet (BPF_PROG_TEST_RUN): for tests, the sweep and the frame generator of the bench.

The law of this file: a program's descriptor and bytes in, bytes out; it attaches nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any

from algate.bpf.libbpf import check, library

UINT64 = ctypes.c_uint64
UINT32 = ctypes.c_uint32
ROOM = 65536


class ProgramRun(IntFlag):
    """Flags of a test-run. LIVE_FRAMES: what an XDP program returns is sent (BPF_F_TEST_XDP_LIVE_FRAMES). SUMMED:
    the packet comes as from a device that has summed all of it; OSError EBADMSG says that this isn't its sum any more
    (BPF_F_TEST_SKB_CHECKSUM_COMPLETE, Linux 6.17)."""

    LIVE_FRAMES = 2
    SUMMED = 4


class SkBuff(ctypes.Structure):
    """`struct __sk_buff`. A test-run takes mark, priority, ingress_ifindex, ifindex, cb, tstamp, wire_len, gso_segs,
    gso_size and hwtstamp; anything else must be 0 (else EINVAL)."""

    _fields_ = [
        ("len", UINT32), ("pkt_type", UINT32), ("mark", UINT32), ("queue_mapping", UINT32), ("protocol", UINT32),
        ("vlan_present", UINT32), ("vlan_tci", UINT32), ("vlan_proto", UINT32), ("priority", UINT32),
        ("ingress_ifindex", UINT32), ("ifindex", UINT32), ("tc_index", UINT32), ("cb", UINT32 * 5), ("hash", UINT32),
        ("tc_classid", UINT32), ("data", UINT32), ("data_end", UINT32), ("napi_id", UINT32), ("family", UINT32),
        ("remote_ip4", UINT32), ("local_ip4", UINT32), ("remote_ip6", UINT32 * 4), ("local_ip6", UINT32 * 4),
        ("remote_port", UINT32), ("local_port", UINT32), ("data_meta", UINT32), ("flow_keys", UINT64),
        ("tstamp", UINT64), ("wire_len", UINT32), ("gso_segs", UINT32), ("sk", UINT64), ("gso_size", UINT32),
        ("tstamp_type", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("hwtstamp", UINT64),
    ]  # fmt: skip


class XdpMd(ctypes.Structure):
    """`struct xdp_md`. For a test-run data_end must be the packet's size."""

    _fields_ = [
        ("data", UINT32), ("data_end", UINT32), ("data_meta", UINT32), ("ingress_ifindex", UINT32),
        ("rx_queue_index", UINT32), ("egress_ifindex", UINT32),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunResult:
    """`value` is what the program returned, `data` the packet afterwards, `duration` the mean ns per run."""

    value: int
    data: bytes
    duration: int
    context: Any = field(default=None, repr=False)


class _RunOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t), ("data_in", ctypes.c_void_p), ("data_out", ctypes.c_void_p), ("data_size_in", UINT32),
        ("data_size_out", UINT32), ("ctx_in", ctypes.c_void_p), ("ctx_out", ctypes.c_void_p), ("ctx_size_in", UINT32),
        ("ctx_size_out", UINT32), ("retval", UINT32), ("repeat", ctypes.c_int), ("duration", UINT32), ("flags", UINT32),
        ("cpu", UINT32), ("batch_size", UINT32),
    ]  # fmt: skip


def run(
    fd: int,
    data: bytes,
    context: SkBuff | XdpMd | None = None,
    *,
    repeat: int = 1,
    flags: ProgramRun | int = 0,
    batch_size: int = 0,
    room: int | None = None,
) -> RunResult:
    """Run a program over a packet (BPF_PROG_TEST_RUN). `room`: bytes of output to expect, 65,536 if None.

    LIVE_FRAMES returns no packet. OSError EINVAL for a context or flag that the program type doesn't take.
    """
    live = bool(flags & ProgramRun.LIVE_FRAMES)
    out = ctypes.create_string_buffer(max(len(data) + 4096, ROOM) if room is None else room)
    options = _RunOptions(sz=ctypes.sizeof(_RunOptions), repeat=repeat, flags=int(flags), batch_size=batch_size)
    source = ctypes.create_string_buffer(data, len(data))
    options.data_in, options.data_size_in = ctypes.addressof(source), len(data)
    after = None if context is None else type(context)()
    if not live:
        options.data_out, options.data_size_out = ctypes.addressof(out), len(out)
    if context is not None:
        options.ctx_in, options.ctx_size_in = ctypes.addressof(context), ctypes.sizeof(context)
    if after is not None and not live:
        options.ctx_out, options.ctx_size_out = ctypes.addressof(after), ctypes.sizeof(after)
    check(library().bpf_prog_test_run_opts(fd, ctypes.byref(options)), "bpf_prog_test_run", f"{len(data)} bytes")
    size = 0 if live else options.data_size_out
    return RunResult(options.retval, ctypes.string_at(out, size), options.duration, after)


def skb_context(
    *, ifindex: int = 0, ingress_ifindex: int = 0, mark: int = 0, gso_size: int = 0, gso_segs: int = 0
) -> SkBuff:
    """The context of a TC test-run. `ifindex` is the device that the skb belongs to and must exist."""
    return SkBuff(ifindex=ifindex, ingress_ifindex=ingress_ifindex, mark=mark, gso_size=gso_size, gso_segs=gso_segs)


def xdp_context(size: int, *, ingress_ifindex: int = 0, rx_queue_index: int = 0) -> XdpMd:
    """The context of an XDP test-run over a packet of `size` bytes."""
    return XdpMd(data=0, data_end=size, ingress_ifindex=ingress_ifindex, rx_queue_index=rx_queue_index)
