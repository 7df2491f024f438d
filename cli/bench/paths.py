"""ns per packet of each path through the programs, by test-run, next to bare XDP forwarding by test-run.

The law of this file: which frame takes which path, and which figure that is. A test-run has no driver, no allocation
and warm caches: it compares code, not gateways.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from algate.bpf import abi
from algate.cli.bench import frames
from algate.cli.bench.benchmark import VARY_BOTH, VARY_NOTHING, VARY_SOURCE, shared
from algate.cli.bench.contenders import TC, XDP, XDP_FORWARD
from algate.cli.bench.plan import TESTRUN, Plan
from algate.cli.bench.record import Figure, Record
from algate.cli.bench.rig import ISN, OK, REDIRECT, BenchRig, name_neighbours
from algate.cli.lab.host import LabError
from algate.cli.lab.lab import Lab, LabPlan

OUT, IN = abi.Direction.OUT, abi.Direction.IN
FTP, DATA = 21, 20_000  # ports: control connection, first expected one
TRIES = 5  # the best counts: disturbances only add to a run
ONCE, SOME, MANY = 400, 2000, 50_000  # runs: where the port pool limits them, where each makes a session, elsewhere
POOL = 64_512  # ports of the example configuration's range
NAT64 = "2001:db8:64::/96"
LINE = b"RETR some-file-with-a-name\r\n"
XDP_REDIRECTS = 4
LOAD = 40  # bytes of payload: a replayed frame has at least 80


def figure(key: str, title: str) -> Figure:
    return Figure(f"testrun.{key}", f"Test-run, {title}", "ns/packet")


@dataclass(frozen=True, slots=True)
class Path:
    """A frame, the program that gets it, and the result that it must have."""

    key: str
    title: str
    gateway: str
    program: str
    frame: bytes
    repeat: int = MANY
    vary: int = VARY_NOTHING
    wanted: int = REDIRECT
    turns: bool = False  # it becomes a packet of the other family


class PathBench:
    """A lab, for its devices and routes; no packet leaves it. Each round loads a new gateway with empty maps."""

    group = TESTRUN

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        self.programs = shared()
        self.lab = stack.enter_context(Lab(LabPlan(six=True)))
        name_neighbours(self.lab, 4)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        yield "test-run: paths", partial(self._round, number)
        yield "test-run: NAT64", partial(self._six, number, "NAT64")
        yield "test-run: IPv6", partial(self._six, number, "filter")

    def _round(self, number: int) -> None:
        with BenchRig(self.lab, self.programs) as rig:
            for path in established(rig):
                self._measure(rig, path, number)
            for path in watched(rig):
                self._measure(rig, path, number)
            for path in rare(rig):
                self._measure(rig, path, number)
            self._ports(rig, number)
            for name, info in rig.sizes().items():
                size = Figure(f"code.{name}", f"Machine code of {name}", "bytes", info=True)
                self.record.add(size, TC if name.startswith(("tc", "stage", "control")) else XDP, number, info.jited)

    def _six(self, number: int, gateway: str) -> None:
        """The same packets of an IPv6 host: by NAT64, or through the filter."""
        turns = gateway == "NAT64"
        with BenchRig(self.lab, self.programs, NAT64 if turns else "", not turns) as rig:
            rig.open6(5000, 443)
            out, into = rig.outward(5000, 443), rig.inward(443, 5000)
            for proto, word in ((frames.UDP, "udp"), (frames.TCP, "tcp")):
                there, back = rig.inside6(out, payload(proto, out)), rig.outside6(into, payload(proto, into))
                for way, program, frame in (("out", "tc_lan", there), ("in", "tc_wan_in", back)):
                    title = f"established {word.upper()} {way}, {gateway}"
                    key = f"{gateway.lower()}.{word}.{way}"
                    self._measure(rig, Path(key, title, TC, program, frame, turns=turns), number)
            for proto, word in ((frames.UDP, "udp"), (frames.TCP, "tcp")):
                first = rig.outward(40_000, 443)
                frame = rig.inside6(first, opening(proto, first))
                title = f"first packet of a new {word.upper()} session, {gateway}"
                key = f"{gateway.lower()}.new.{word}"
                path = Path(key, title, TC, "tc_lan", frame, SOME, VARY_SOURCE, turns=turns)
                self._measure(rig, path, number)

    def _measure(self, rig: BenchRig, path: Path, number: int) -> None:
        self.record.add(figure(path.key, path.title), path.gateway, number, cost(rig, path, self.plan.quick))

    def _ports(self, rig: BenchRig, number: int) -> None:
        """The cost of a new session when the pool is empty, and when 99 % of it is taken."""
        empty = new_path(rig, "ports.empty", "new UDP session, empty port pool", frames.UDP, 2, 1024, ONCE)
        full = new_path(rig, "ports.full", "new UDP session, 99 % of the ports taken", frames.UDP, 3, 1024, ONCE // 2)
        shown = {"ports.empty": cost(rig, empty)}
        fill = POOL * 99 // 100 - rig.taken(abi.ProtoClass.UDP)
        cost(rig, new_path(rig, "", "", frames.UDP, 2, 1024 + ONCE, fill))
        shown["ports.full"] = cost(rig, full)
        for path in (empty, full):
            self.record.add(Figure(path.key, path.title, "ns"), TC, number, shown[path.key])


def cost(rig: BenchRig, path: Path, quick: bool = False) -> float:
    """ns per run, without the cost of restoring the packet. LabError if the path wasn't taken."""
    rig.beat()
    xdp = path.program.startswith("xdp") or path.gateway == XDP_FORWARD
    program = rig.programs.fds["forward"] if path.gateway == XDP_FORWARD else rig.gateway.fds[path.program]
    nothing = rig.programs.fds["nothing_xdp" if xdp else "nothing_tc"]
    repeat = min(path.repeat, SOME) if quick else path.repeat
    context = rig.context(path.program, path.frame)
    times = []
    for _ in range(TRIES if path.vary == VARY_NOTHING else 1):
        done = rig.repeated(program, path.frame, context, repeat, path.vary)
        if done.value != path.wanted:
            raise LabError(f"path {path.key}: {path.program} gave {done.value}, expected {path.wanted}")
        restoring = float(rig.repeated(nothing, path.frame, context, MANY, path.vary).duration)
        if path.turns:
            both = rig.repeated(rig.programs.fds["turn_tc"], path.frame, context, MANY, path.vary).duration
            restoring += (both - restoring) / 2
        times.append(done.duration - restoring)
    return min(times)


def established(rig: BenchRig) -> Iterator[Path]:
    """UDP and TCP, both ways, through XDP, TC and bare XDP forwarding."""
    for proto, port, word in ((frames.UDP, 5000, "udp"), (frames.TCP, 5001, "tcp")):
        rig.open(proto, port, 443)
        out, into, bare = rig.outward(port, 443), rig.inward(443, port), rig.unmapped(443, port)
        for way, ends, lan, unmapped in (("out", out, True, out), ("in", into, False, bare)):
            key, title = f"{word}.{way}", f"established {word.upper()} {way}"
            frame, plain = payload(proto, ends), payload(proto, unmapped)
            xdp, tc = ("xdp_lan", "tc_lan") if lan else ("xdp_wan", "tc_wan_in")
            yield Path(key, title, XDP_FORWARD, xdp, plain, wanted=XDP_REDIRECTS)
            yield Path(key, title, XDP, xdp, frame, wanted=XDP_REDIRECTS)
            yield Path(key, title, TC, tc, frame)


def payload(proto: int, way: frames.Way) -> bytes:
    """A frame of an established session."""
    if proto == frames.UDP:
        return frames.udp(way, bytes(LOAD))
    seq = ISN[OUT] if way.destination_port == 443 else ISN[IN]
    return frames.tcp(way, bytes(LOAD), frames.ACK, seq, ISN[IN] if seq == ISN[OUT] else ISN[OUT])


def watched(rig: BenchRig) -> Iterator[Path]:
    """What a control session and its data connections meet."""
    control = rig.open(frames.TCP, 5021, FTP)
    key = rig.key(frames.TCP, 5021, FTP)
    out, into = rig.outward(5021, FTP), rig.inward(FTP, 5021)
    rig.adjust(control.id, key, 6)
    rig.decide(control.id, ISN[OUT] + 60, LINE)
    line = frames.tcp(out, LINE, frames.PSH_ACK, ISN[OUT] + 60, ISN[IN])
    yield Path("alg.pass", "ALG segment, its decision in the map", TC, "tc_lan", line)
    edges = struct.pack("!BBBBII", 1, 1, 5, 10, ISN[OUT] + 70, ISN[OUT] + 80)
    ack = frames.tcp(into, b"", frames.ACK, ISN[IN], ISN[OUT] + 66, edges) + bytes(14)  # padded by the link
    yield Path("seqadj.sack", "ALG acknowledgement, shifted, with SACK", TC, "tc_wan_in", ack)
    rig.expect(control, key, DATA, SOME)
    syn = frames.tcp(rig.outward(30_000, DATA), bytes(LOAD), frames.SYN, 1, 0)
    yield Path("expected", "first packet of an expected connection", TC, "tc_lan", syn, SOME, VARY_BOTH)


def rare(rig: BenchRig) -> Iterator[Path]:
    """First packets, ICMP errors, fragments."""
    yield new_path(rig, "new.udp", "first packet of a new UDP session", frames.UDP, 1, 40_000, SOME)
    yield new_path(rig, "new.tcp", "first packet of a new TCP session", frames.TCP, 1, 40_000, SOME)
    rig.open(frames.UDP, 5002, 53)
    out, into = rig.outward(5002, 53), rig.inward(53, 5002)
    quoted = frames.udp(replace(out, source=rig.public), bytes(LOAD))
    error = frames.icmp_error(into, quoted)
    yield Path("icmp.error", "ICMP error from outside", TC, "tc_wan_in", error, wanted=OK)
    rig.once("tc_wan_in", frames.head(into, 77), OK)
    yield Path("fragment", "fragment behind its head", TC, "tc_wan_in", frames.tail(into, bytes(64), 77), wanted=OK)


def new_path(rig: BenchRig, key: str, title: str, proto: int, host: int, port: int, repeat: int) -> Path:
    """Every packet has another source port."""
    way = rig.outward(port, 443, host=host)
    return Path(key, title, TC, "tc_lan", opening(proto, way), repeat, VARY_SOURCE)


def opening(proto: int, way: frames.Way) -> bytes:
    """The first frame of a session."""
    return frames.udp(way, bytes(LOAD)) if proto == frames.UDP else frames.tcp(way, bytes(LOAD), frames.SYN, 1, 0)
