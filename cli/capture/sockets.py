"""Packet sockets: the frames of one session on one device, with the moment and the way each took.

The law of this file: frames in, no judgement. The filter is the kernel's, so that other traffic of the device costs
nothing here; what this process is too slow for is dropped by the kernel and counted.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35  # asm-generic/socket.h
SOL_PACKET, STATISTICS, AUXDATA = 263, 6, 8  # linux/if_packet.h
CHECKSUM_NOT_READY = 1 << 3  # TP_STATUS_CSUMNOTREADY
ETH_P_ALL = 0x0003  # ETH_P_IP would leave out what this host sends
ETHERNET = 14
BUFFER = 16 << 20  # bytes that the kernel may queue for us
FRAME_MOST = 1 << 17
KEEP, DROP = 0x40000, 0
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
AT_ONCE = 64  # frames read between two looks at other sockets

End = tuple[IPv4Address | IPv6Address, int]
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k (linux/filter.h)
LabelledInstruction = tuple[int, int | str, int | str, int]


class SeenFrame(NamedTuple):
    """One frame. `at`: ns since the epoch. `ip`: where its IP header begins. `finished`: its checksum was, already."""

    at: int
    data: bytes
    ip: int
    outgoing: bool
    finished: bool


def filter_program(proto: int, one: End, other: End, ip: int = ETHERNET) -> list[Instruction]:
    """Classic BPF: both directions between two end points of one family, first fragments alone. Behind extension
    headers of IPv6 no control session's segment passes the gateway."""
    six = one[0].version == 6
    source = ip + (8 if six else 12)
    code: list[LabelledInstruction] = []
    if ip:
        code = [(0x28, 0, 0, 12), (0x15, 0, "drop", 0x86DD if six else 0x0800)]  # ldh ethertype
    code += [(0x30, 0, 0, ip + (6 if six else 9)), (0x15, 0, "drop", proto)]  # ldb protocol
    if not six:
        code += [(0x28, 0, 0, ip + 6), (0x45, "drop", 0, 0x1FFF)]  # ldh fragment offset
    code += [(0x01, 0, 0, 40) if six else (0xB1, 0, 0, ip)]  # x = length of the IP header
    code += _from_to(source, ip, one, other, "back")
    back = len(code)
    code += [*_from_to(source, ip, other, one, "drop"), (0x06, 0, 0, DROP), (0x06, 0, 0, KEEP)]
    places = {"back": back, "drop": len(code) - 2, "keep": len(code) - 1}

    def jump(target: int | str, at: int) -> int:
        return places[target] - at - 1 if isinstance(target, str) else target

    return [(op, jump(yes, at), jump(no, at), k) for at, (op, yes, no, k) in enumerate(code)]


def _from_to(source: int, ip: int, one: End, other: End, no: str) -> list[LabelledInstruction]:
    """To "keep" from one end point to the other, else to `no`. `source`: where the addresses begin; x as above."""
    code: list[LabelledInstruction] = []
    packed = one[0].packed + other[0].packed
    for at in range(0, len(packed), 4):
        code += [(0x20, 0, 0, source + at), (0x15, 0, no, int.from_bytes(packed[at : at + 4], "big"))]  # ld word
    return [*code, (0x48, 0, 0, ip), (0x15, 0, no, one[1]), (0x48, 0, 0, ip + 2), (0x15, "keep", no, other[1])]


class PacketSocket:
    """One device's. Open it in the namespace of the device; it stays there. OSError if that can't be done."""

    def __init__(self, device: str, proto: int, one: End, other: End) -> None:
        self.device = device
        self.received = self.dropped = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.bind((device, 0))  # nothing comes before the filter is set
            self.ethernet = self._socket.getsockname()[3] in (ARPHRD_ETHER, ARPHRD_LOOPBACK)
            program = filter_program(proto, one, other, ETHERNET if self.ethernet else 0)
            raw = b"".join(struct.pack("HBBI", *one) for one in program)
            memory = ctypes.create_string_buffer(raw)
            wanted = struct.pack("HP", len(program), ctypes.addressof(memory))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, wanted)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(SOL_PACKET, AUXDATA, 1)
            self._socket.bind((device, ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def take(self) -> list[SeenFrame]:
        """The frames that came, some at a time."""
        found: list[SeenFrame] = []
        while len(found) < AT_ONCE:
            try:
                data, ancillary, _, address = self._socket.recvmsg(FRAME_MOST, 256, socket.MSG_DONTWAIT)
            except (BlockingIOError, OSError):
                break
            at, status = 0, 0
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, nanoseconds = struct.unpack("qq", value[:16])
                    at = seconds * 1_000_000_000 + nanoseconds
                elif level == SOL_PACKET and kind == AUXDATA:
                    (status,) = struct.unpack("I", value[:4])
            outgoing = address[2] == socket.PACKET_OUTGOING
            ip = ETHERNET if self.ethernet else 0
            found.append(SeenFrame(at, data, ip, outgoing, not status & CHECKSUM_NOT_READY))
        return found

    def count(self) -> None:
        """Add up what came, and what of it the kernel had no room for."""
        came, lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, STATISTICS, 8))
        self.received += came
        self.dropped += lost

    def close(self) -> None:
        """No more frames."""
        self._socket.close()
