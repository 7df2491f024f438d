"""What passed a link, recorded by the kernel's packet socket inside a namespace.

The law of this file: frames in, records out, no judgement (wire.py). A socket filter keeps what tells the story:
all of the control channels, segments of other TCP with SYN, FIN or RST (their sequence numbers give bytes and times),
everything that isn't TCP, and every packet that carries an address of `forbidden`. So a gigabyte of data costs
nothing.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
import time
from ipaddress import IPv4Network
from types import TracebackType

from algate.cli.lab.host import Host, call_in
from algate.cli.lab.wire import SeenSegment, parse_frame

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SOL_PACKET = 263
PACKET_STATISTICS = 6
ETH_P_ALL = 0x0003
BUFFER = 64 << 20  # bytes the kernel may queue for us
KEEP, DROP = 0x40000, 0

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k (linux/filter.h)


def filter_program(control_ports: tuple[int, ...], forbidden: tuple[IPv4Network, ...]) -> list[Instruction]:
    """Classic BPF over an Ethernet frame; jumps are written as labels and resolved here."""
    code: list[tuple[int, int | str, int | str, int]] = [
        (0x28, 0, 0, 12),  # ldh ethertype
        (0x15, "six", 0, 0x86DD),
        (0x15, 0, "keep", 0x0800),
        (0x30, 0, 0, 23),  # ldb protocol
        (0x15, 0, "keep", 6),
        (0x28, 0, 0, 20),  # ldh fragment offset
        (0x45, "keep", 0, 0x1FFF),
    ]
    for network in forbidden:
        for offset in (26, 30):  # source, destination
            code += [(0x20, 0, 0, offset), (0x54, 0, 0, int(network.netmask))]
            code += [(0x15, "keep", 0, int(network.network_address))]
    code += [(0xB1, 0, 0, 14), (0x50, 0, 0, 27), (0x45, "keep", 0, 0x07)]  # x = IP header length; flags
    for offset in (14, 16):
        code.append((0x48, 0, 0, offset))
        code += [(0x15, "keep", 0, port) for port in control_ports]
    code += [(0x06, 0, 0, DROP)]
    places = {"six": len(code)}
    code += [(0x30, 0, 0, 20), (0x15, 0, "keep", 6), (0x30, 0, 0, 67), (0x45, "keep", 0, 0x07)]
    for offset in (54, 56):
        code.append((0x28, 0, 0, offset))
        code += [(0x15, "keep", 0, port) for port in control_ports]
    code += [(0x06, 0, 0, DROP), (0x06, 0, 0, KEEP)]
    places["keep"] = len(code) - 1

    def jump(target: int | str, at: int) -> int:
        return places[target] - at - 1 if isinstance(target, str) else target

    return [(op, jump(t, at), jump(f, at), k) for at, (op, t, f, k) in enumerate(code)]


class Capture:
    """Records a host's device from construction to `close`; `take` returns what came since the last call."""

    def __init__(
        self,
        host: Host,
        device: str | None = None,
        *,
        control_ports: tuple[int, ...] = (21,),
        forbidden: tuple[str, ...] = (),
    ) -> None:
        self.device = device or host.device
        self.lost = 0
        self._lock = threading.Lock()
        self._draining = threading.Lock()  # who reads, so that records stay in order
        self._segments: list[SeenSegment] = []
        self._last = time.monotonic()
        program = filter_program(control_ports, tuple(IPv4Network(f) for f in forbidden))
        self._socket = call_in(host.netns, lambda: self._open(program))
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._read, name=f"capture-{host.name}", daemon=True)
        self._thread.start()

    def _open(self, program: list[Instruction]) -> socket.socket:
        sock = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, 0
        )  # protocol 0: nothing arrives before the filter is set
        raw = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
        memory = ctypes.create_string_buffer(raw)
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(memory)))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((self.device, ETH_P_ALL))
        return sock

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._stop_read, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if self._socket.fileno() in ready:
                self._drain()
            elif self._stop_read in ready:
                return

    def _drain(self) -> None:
        with self._draining:
            while self._next():
                pass

    def _next(self) -> bool:
        """Record a frame that waits; False if none does."""
        try:
            frame, ancillary, _, address = self._socket.recvmsg(1 << 17, 64, socket.MSG_DONTWAIT)
        except (BlockingIOError, OSError):
            return False
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16]) if ancillary else (0, 0)
        outgoing = address[2] == socket.PACKET_OUTGOING
        segment = parse_frame(frame, seconds + nanoseconds / 1e9, outgoing)
        with self._lock:
            self._last = time.monotonic()
            if segment is not None:
                self._segments.append(segment)
        return True

    def take(self, quiet: float = 0.03, timeout: float = 2.0) -> list[SeenSegment]:
        """All records since the last call, once none has come for `quiet` s (at most `timeout` s later). Whatever
        passed before the call is among them: on a busy machine the thread may not have read it for longer than `quiet`.

        Raises RuntimeError if the kernel had to drop some: a judgement on the rest would be worthless.
        """
        start = time.monotonic()
        self._drain()
        while time.monotonic() < start + timeout and time.monotonic() - max(self._last, start) < quiet:
            time.sleep(quiet / 4)
            self._drain()
        _, lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.lost += lost
        if self.lost:
            raise RuntimeError(f"capture on {self.device} lost {self.lost} frames")
        with self._lock:
            taken, self._segments = self._segments, []
        return taken

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._stop_read, self._stop_write):
            os.close(fd)
        self._socket.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
