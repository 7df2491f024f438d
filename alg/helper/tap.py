"""The TAP device by which the helper gives held segments back to the kernel.

The law of this file: one descriptor, one device. The device belongs to the process and vanishes with it.
"""

from __future__ import annotations

import fcntl
import os
import struct

from algate.alg.errors import FAILED, MISSING, AlgateError
from algate.alg.gateway import netlink
from algate.bpf import calls

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
NO_OFFLOAD = bytes(10)  # struct virtio_net_hdr: the frame is complete, its checksum finished, no segmentation
MTU = 65521


class Tap:
    """An open TAP device, up, with IFF_VNET_HDR. `write` takes Ethernet frames."""

    def __init__(self, pattern: str = "algate%d") -> None:
        self.pattern = pattern
        self._open()

    def renew(self) -> None:
        """Somebody removed the device, or took it down: in the place of the old one a new one, which may be called
        otherwise."""
        os.close(self.fd)
        self._open()

    def _open(self) -> None:
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise AlgateError(
                f"can't open /dev/net/tun ({error.strerror}): `modprobe tun`, or run as root", MISSING
            ) from None
        try:
            flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
            answer = fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", self.pattern.encode(), flags))
            self.name = answer[:16].split(b"\0")[0].decode()
            # No IPv6 on it, or it would send router solicitations that nobody wants.
            self._quiet()
            self.index = netlink.set_up(self.name, MTU)
        except OSError as error:
            os.close(self.fd)
            code = MISSING if isinstance(error, PermissionError) else FAILED
            raise AlgateError(f"can't make a TAP device: {error.strerror}", code) from None

    def _quiet(self) -> None:
        try:
            with open(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6", "w") as switch:
                switch.write("1")
        except OSError:
            pass  # a kernel without IPv6

    def write(self, frame: bytes) -> bool:
        """Hand a frame to TC. False if the device's queue is full or it is down: TCP will repeat it."""
        return calls.send(self.fd, NO_OFFLOAD, frame)

    def close(self) -> None:
        """Close the descriptor; the device vanishes with it."""
        os.close(self.fd)
