"""A control session whose two ends a test holds: exact bytes, exact chunks, and real data connections.

The law of this file: it speaks and looks; the tests say what is right. A `hear` that gets other bytes than wanted fails
at once, since these bytes have left the gateway.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any, NamedTuple, Self

from algate.cli.lab.host import Host
from algate.cli.lab.judge import private_text
from algate.cli.lab.wire import Connection
from tests.cases.bed import ADDRESSES, FTP, LEAST, PLAN, STRANGER, Bed, listener
from tests.cases.ends import Data, Speaker, six

PUBLIC = PLAN.public[0]
INSIDE = PLAN.clients[0]
_PORTS = itertools.count(20_011, 7)


class Wire(NamedTuple):
    """The control session on both links: `up` from the client, `down` from the server."""

    inside: Connection
    outside: Connection


class Dialogue:
    """A scripted client and a scripted server, with the gateway between them.

    `inside`: which of the two is inside. `policy`: which address the outside host has (bed.POLICIES).
    `watched`: the gateway's helper watches the control port.
    """

    def __init__(
        self, bed: Bed, inside: str = "client", policy: str = "default", *, client_port: int = 0, index: int = 0,
        port: int = FTP, inner_ip: str = "", watched: bool = True,
    ) -> None:  # fmt: skip
        self.bed = bed
        self.client_inside = inside == "client"
        self.inner: Host = bed.lab.clients[index]
        self.inner_ip = inner_ip or self.inner.address
        self.outer: Host = bed.lab.server
        self.outer_ip = ADDRESSES[policy]
        self._stack = contextlib.ExitStack()
        try:
            self._connect(port, client_port)
        except BaseException:
            self._stack.close()
            raise
        self.id = self._find_id() if bed.algate and watched else ""

    def _connect(self, port: int, client_port: int) -> None:
        if self.client_inside:
            server_host, server_ip, target = self.outer, self.outer_ip, self.outer_ip
            client_host, client_ip = self.inner, self.inner_ip
        else:
            server_host, server_ip, target = self.inner, self.inner_ip, PUBLIC
            client_host, client_ip = self.outer, self.outer_ip
        with listener(server_host, server_ip, port) as ear:
            ear.settimeout(self.bed.patience)
            sock = self._stack.enter_context(client_host.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(self.bed.patience)
            sock.bind((client_ip, client_port))
            sock.connect((target, port))
            accepted = self._stack.enter_context(ear.accept()[0])
        self.client, self.server = Speaker(sock, self.bed.patience), Speaker(accepted, self.bed.patience)

    def _find_id(self) -> str:
        inner, outer = (self.client, self.server) if self.client_inside else (self.server, self.client)
        for row in self.bed.gateway.ask("sessions", {"inside": str(inner.local), "outside": str(outer.local)}):
            if row["alg"]:
                return str(row["id"])
        raise AssertionError(f"no control session of {inner.local} with {outer.local}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- speaking ------------------------------------------------------------------------------------------------------

    def command(self, line: bytes, seen: bytes | None = None) -> None:
        """The client says a line, the server hears `seen` (default: the same)."""
        self.client.say(line)
        self.server.hear(line if seen is None else seen)

    def reply(self, line: bytes, seen: bytes | None = None) -> None:
        """The server says a line, the client hears `seen` (default: the same)."""
        self.server.say(line)
        self.client.hear(line if seen is None else seen)

    def ask(self, command: bytes, reply: bytes) -> None:
        """A command and its reply, both unchanged."""
        self.command(command)
        self.reply(reply)

    def login(self) -> Self:
        """Greeting, USER and PASS."""
        self.reply(b"220 ready\r\n")
        self.ask(b"USER lab\r\n", b"331 password?\r\n")
        self.ask(b"PASS secret\r\n", b"230 welcome\r\n")
        return self

    def alive(self) -> None:
        """Check that both streams are in step: one more command and its answer."""
        self.ask(b"NOOP\r\n", b"200 still here\r\n")

    def six(self, port: int) -> bytes:
        """The inside host's address and that port in six numbers."""
        return six(self.inner_ip, port)

    def port(self, port: int, *, agree: bool = True) -> int:
        """The inside client's PORT; returns the public port that the server was told."""
        self.client.say(b"PORT " + self.six(port) + b"\r\n")
        public = self.told(self.server, b"PORT ", b"\r\n")
        if agree:
            self.reply(b"200 PORT done\r\n")
        return public

    def pasv(self, port: int) -> int:
        """PASV to the inside server, which says 227; returns the public port that the client was told."""
        self.command(b"PASV\r\n")
        self.server.say(b"227 Entering Passive Mode (" + self.six(port) + b").\r\n")
        return self.told(self.client, b"227 Entering Passive Mode (", b").\r\n")

    def told(self, hearer: Speaker, before: bytes, after: bytes) -> int:
        """The public port in the six numbers of the next line heard; all other bytes must be as given."""
        line = hearer.line()
        start = before + PUBLIC.replace(".", ",").encode() + b","
        assert line.startswith(start) and line.endswith(after), f"heard {line!r}, wanted {start!r}...{after!r}"
        high, _, low = line[len(start) : len(line) - len(after)].partition(b",")
        assert high.isdigit() and low.isdigit(), f"heard {line!r}"
        port = int(high) * 256 + int(low)
        assert line == start + b"%d,%d" % (port >> 8, port & 255) + after, f"heard {line!r}, not canonical"
        return port

    def told_extended(self, hearer: Speaker, before: bytes, after: bytes) -> int:
        """The public port, the only text between `before` and `after` (EPRT, 229)."""
        line = hearer.line()
        digits = line[len(before) : len(line) - len(after)]
        assert line == before + digits + after and digits.isdigit(), f"heard {line!r}, wanted {before!r}...{after!r}"
        return int(digits)

    def eprt(self, port: int, delimiter: bytes = b"|", *, agree: bool = True) -> int:
        """The inside client's EPRT (RFC 2428); returns the public port that the server was told."""
        before = b"EPRT " + delimiter + b"1" + delimiter
        self.client.say(before + self.inner_ip.encode() + delimiter + b"%d" % port + delimiter + b"\r\n")
        public = self.told_extended(self.server, before + PUBLIC.encode() + delimiter, delimiter + b"\r\n")
        if agree:
            self.reply(b"200 EPRT done\r\n")
        return public

    def epsv(self, port: int, delimiter: bytes = b"|", command: bytes = b"EPSV\r\n") -> int:
        """EPSV to the inside server, which says 229; returns the public port that the client was told."""
        before, after = b"229 Extended Passive Mode (" + delimiter * 3, delimiter + b")\r\n"
        self.command(command)
        self.server.say(before + b"%d" % port + after)
        return self.told_extended(self.client, before, after)

    def opens_nothing(self, line: bytes, reason: str, port: int = 0, answer: bytes = b"501 no\r\n") -> None:
        """A command that passes unchanged and opens nothing, even if the server accepts it; the session goes on."""
        self.command(line)
        self.told_reason("expectation-refused", reason)
        self.reply(answer)
        self.nothing_open(port)

    def nothing_open(self, port: int = 0) -> None:
        """Check that there is no live expectation and nobody outside reaches that port of the inside host."""
        assert not self.bed.algate or self.expectations() == []
        if port:
            self.shut_in(port, port)
        self.alive()

    @staticmethod
    def new_port() -> int:
        """A port that no test has named: no expectation of another test can apply to it."""
        return next(_PORTS)

    # -- data connections ----------------------------------------------------------------------------------------------

    def inward(
        self, public: int, inside: int, source: str = "", seconds: float | None = None, source_port: int = 0
    ) -> Data | None:
        """The outside host (or another `source`) connects to the public port; the inside host listens at `inside`."""
        caller = self.outer.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        caller.bind((source or self.outer_ip, source_port))
        return self._call(caller, (PUBLIC, public), self.inner, self.inner_ip, inside, seconds)

    def outward(self, ip: str, port: int, index: int = 0, seconds: float | None = None) -> Data | None:
        """An inside host connects to an outside end point, where the outside host listens."""
        caller = self.bed.lab.clients[index].socket()
        return self._call(caller, (ip, port), self.outer, ip, port, seconds)

    def _call(
        self, caller: socket.socket, to: tuple[str, int], host: Host, ip: str, port: int, seconds: float | None
    ) -> Data | None:
        with listener(host, ip, port) as ear:
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                caller.connect(to)
            ready, _, _ = select.select([ear], [], [], self.bed.patience if seconds is None else seconds)
            if not ready:
                caller.close()
                return None
            accepted, _ = ear.accept()
        for one in (caller, accepted):
            one.settimeout(self.bed.patience)
            self._stack.enter_context(one)
        return Data(caller, accepted)

    def comes_in(self, public: int, inside: int) -> Data:
        """The peer gets through."""
        made = self.inward(public, inside)
        assert made is not None and made.carries(), f"the peer does not get from {PUBLIC}:{public} to port {inside}"
        return made

    def goes_out(self, ip: str, port: int) -> Data:
        """The inside host gets through."""
        made = self.outward(ip, port)
        assert made is not None and made.carries(), f"the inside host does not get to {ip}:{port}"
        return made

    def shut_in(self, public: int, inside: int, *sources: str, source_port: int = 0) -> None:
        """Neither the peer nor a stranger (or none of `sources`) gets through."""
        with listener(self.inner, self.inner_ip, inside) as ear, contextlib.ExitStack() as callers:
            for source in sources or (self.outer_ip, STRANGER):
                caller = callers.enter_context(self.outer.socket())
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                caller.bind((source, source_port))
                caller.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    caller.connect((PUBLIC, public))
            ready, _, _ = select.select([ear], [], [], LEAST)
            if ready:
                accepted, (source, _) = ear.accept()
                accepted.close()
                raise AssertionError(f"{source} gets in by port {public}")

    def shut_out(self, ip: str, port: int) -> None:
        """The inside host doesn't get through."""
        assert self.outward(ip, port, seconds=LEAST) is None, f"the inside host gets to {ip}:{port}"

    # -- observing -----------------------------------------------------------------------------------------------------

    def expectations(self) -> list[dict[str, Any]]:
        """Live expectations of this control session (of the kernel: all)."""
        return [row for row in self.bed.expectations() if row["control"] in (self.id, None)]

    def told_reason(self, event: str, reason: str = "") -> None:
        """Check that algate reports that event of this session; the kernel can't."""
        if self.bed.algate:
            self.bed.until(lambda: [one for one in self.told_events(event) if reason in ("", one["reason"])])

    def told_events(self, event: str) -> list[dict[str, Any]]:
        """This session's events of that name so far."""
        return [one for one in list(self.bed.events) if one["control"] == self.id and one["event"] == event]

    def wire(self, quiet: float = 0.03) -> Wire:
        """The session on both links since the test began."""
        inside, outside = self.bed.links(quiet)
        client, server = self.client, self.server
        ends = ((client.local, client.remote), (server.remote, server.local))
        wanted = ends if self.client_inside else ends[::-1]
        found = []
        for link, (one, other) in zip((inside, outside), wanted, strict=True):
            found += [c for c in link.connections if (c.client, c.server) == (one, other)][-1:]
        assert len(found) == 2, f"the control session is not on both links: {wanted}"
        return Wire(*found)

    def nothing_private(self) -> None:
        """No segment outside carries an inside address, in a header or in the control text."""
        network = IPv4Network(PLAN.inside)
        _, outside = self.bed.links()
        for segment in outside.segments:
            texts = private_text(segment.payload, network)
            assert not texts, f"outside: {segment.payload!r}"
            for peer in (segment.src, segment.dst):
                assert not peer.ip.startswith(PLAN.inside.rpartition(".")[0] + "."), f"outside: a packet of {peer}"


@contextlib.contextmanager
def dialogue(bed: Bed, inside: str = "client", policy: str = "default", **more: Any) -> Iterator[Dialogue]:
    """A logged-in dialogue."""
    with Dialogue(bed, inside, policy, **more) as made:
        yield made.login()
