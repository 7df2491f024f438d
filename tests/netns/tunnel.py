"""A link without Ethernet headers: two tun devices in two namespaces, joined by this process, as PPP joins two hosts.

The law of this file: packets from one end to the other, unchanged; it remembers them, so that a test can judge what was
on the wire. It knows nothing of NAT.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
from types import TracebackType

from algate.alg.helper.tap import IFF_NO_PI, TUNSETIFF
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import ip

IFF_TUN = 0x0001
KEPT = 4096  # packets remembered


class Tunnel:
    """`one`'s device and `other`'s, both up. `seen`: packets in the order that they crossed, with their sender."""

    def __init__(self, one: tuple[Host, str], other: tuple[Host, str], mtu: int = 1500) -> None:
        self.ends = (one, other)
        self.mtu = mtu
        self.seen: list[tuple[str, bytes]] = []
        self._fds: list[int] = []
        self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self) -> Tunnel:
        for host, device in self.ends:
            self._fds.append(call_in(host.netns, lambda device=device: open_tun(device)))  # type: ignore[misc]
            ip(f"link set {device} mtu {self.mtu} up", host.netns)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stop[1], b"x")
        self._thread.join()
        for fd in (*self._fds, *self._stop):
            os.close(fd)

    def _carry(self) -> None:
        peers = dict(zip(self._fds, reversed(self._fds), strict=True))
        names = {fd: host.name for fd, (host, _) in zip(self._fds, self.ends, strict=True)}
        while True:
            ready, _, _ = select.select([*peers, self._stop[0]], [], [])
            if self._stop[0] in ready:
                return
            for fd in ready:
                packet = os.read(fd, 65536)
                if len(self.seen) < KEPT:
                    self.seen.append((names[fd], packet))
                with contextlib.suppress(OSError):  # the other end is down
                    os.write(peers[fd], packet)

    def sent_by(self, host: Host) -> list[bytes]:
        """IPv4 packets that this end sent."""
        return [packet for name, packet in self.seen if name == host.name and packet[0] >> 4 == 4]


def open_tun(device: str) -> int:
    """A tun device of that name in the caller's namespace; it lives as long as the descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return fd
