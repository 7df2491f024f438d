"""RFC 6888: a NAT for many subscribers: pools, limits, exhaustion, logging."""

from __future__ import annotations

import asyncio

from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Ghost, Row
from tests.compliance.packet import ICMP, PROHIBITED, TCP, UDP, UNREACHABLE
from tests.compliance.plan import POOL, SMALL
from tests.compliance.rfc4787 import MUST_NOT, RECOMMENDED, hairpin_udp, restored
from tests.compliance.talk import Connection, connect, kept_udp, map_udp, reaches, refused
from tests.compliance.verdict import MUST, SHOULD, No, need, requirement

SIZE = SMALL[1] - SMALL[0] + 1


def neighbours(row: Row, count: int) -> list[Ghost]:
    return [row.bed.host_inside(number % 2) for number in range(count)]


async def addresses(row: Row, lan: Ghost) -> set[str]:
    """The public addresses that a host's flows show."""
    seen = {(await map_udp(row, lan, row.port(), host, 53))[0] for host in (row.a1, row.a2) for _ in range(4)}
    seen |= {(await connect(row, lan, host)).public[0] for host in (row.a1, row.a2)}
    return seen


@requirement(
    "6888-1", MUST, "what else a CGN must do: DCCP (RFC 5597)", excuse="DCCP is refused and counted: no client asks"
)
async def dccp(row: Row) -> None:
    row.lan1.raw(pk.ip(row.lan1.ip, row.a1.ip, pk.DCCP, bytes(24)))
    need(await row.a1.get(0.3, proto=pk.DCCP), "DCCP is refused and counted")


@requirement("4787-2", RECOMMENDED, "an inside host keeps one public address (paired pooling)", config="pool")
async def paired(row: Row) -> str | None:
    for lan in neighbours(row, 6):
        need(len(await addresses(row, lan)) == 1, "a host shows several addresses")
    return "it has one address only" if row.kernel else None


@requirement("6888-2", MUST, "paired pooling holds for UDP, TCP, ICMP and FTP data alike", config="pool")
async def paired_all(row: Row) -> str | None:
    for lan in neighbours(row, 4):
        public = (await connect(row, lan, row.a1)).public[0]
        tag = row.tag()
        lan.echo(row.a1.ip, row.port(), data=tag)
        seen = await row.a1.get(proto=ICMP, data=tag)
        need(seen and seen.source == public, "echo shows another address than TCP")
        c = await connect(row, lan, row.a1, 21)
        need(await c.back("PA", b"220 ready\r\n") and await c.out("PA", b"USER x\r\n"), "the greeting does not pass")
        need(await c.back("PA", b"230 in\r\n"), "the login does not pass")
        lan.tcp(c.sport, row.a1.ip, 21, "PA", seq=c.seq[0], ack=c.seq[1],
                data=f"PORT {lan.ip.replace('.', ',')},200,1\r\n".encode())  # fmt: skip
        port = await row.a1.get(2.0, proto=TCP, dport=21, data=lambda data: data.startswith(b"PORT"))
        need(port, "PORT does not arrive")
        assert port is not None
        need(public.replace(".", ",").encode() in port.data, "PORT names another address than the control connection's")
    return "it has one address only" if row.kernel else None


@requirement("6888-3", SHOULD, "any number of addresses, next to each other or not", config="pool")
async def scattered(row: Row) -> str | None:
    used = {(await map_udp(row, lan, row.port(), row.a1, 53))[0] for lan in neighbours(row, 30)}
    need(used == set(POOL) or row.kernel, f"{len(used)} of {len(POOL)} addresses are in use")
    return "snat to a map does it, masquerade doesn't" if row.kernel else None


@requirement(
    "7857-4", SHOULD, "a host's address has no port left: policy decides, here refusal", config="pool-small", alone=True
)
async def paired_full(row: Row) -> None:
    await row.bed.flush()
    publics = [await map_udp(row, row.lan1, row.port(), row.a1, 53) for _ in range(SIZE)]
    need(len({ip for ip, _ in publics}) == 1, "flows of one host spread over addresses")
    row.lan1.udp(row.port(), row.a1.ip, 53, b"one more")
    need(await row.a1.silent(data=b"one more"), "a further flow leaves by another address")


@requirement("6888-4", MUST, "ports per host are limited, and neighbours don't feel it", config="limits")
async def port_limit(row: Row) -> None:
    ports = [row.port() for _ in range(5)]
    flows = [(port, await map_udp(row, row.lan1, port, row.a1, 53)) for port in ports]
    row.lan1.udp(row.port(), row.a1.ip, 53, b"sixth")
    need(await row.a1.silent(data=b"sixth"), "a sixth port is given where five are allowed")
    need(await row.lan1.get(proto=ICMP, kind=UNREACHABLE, code=PROHIBITED), "the refusal is not told (ICMP 3/13)")
    await map_udp(row, row.lan1, ports[0], row.a2, 99)  # another session of a port it has
    await map_udp(row, row.lan2, row.port(), row.a1, 53)
    for port, public in flows:
        need(await reaches(row, row.a1, 53, public, row.lan1, port), "a live flow suffers")


@requirement("6888-5", SHOULD, "sessions per host are limited", config="sessions")
async def session_limit(row: Row) -> None:
    port = row.port()
    for number in range(5):
        await map_udp(row, row.lan1, port, row.a1, 100 + number)
    row.lan1.udp(port, row.a1.ip, 999, b"sixth")
    need(await row.a1.silent(data=b"sixth"), "a sixth session is made where five are allowed")
    need(await row.lan1.get(proto=ICMP, kind=UNREACHABLE, code=PROHIBITED), "the refusal is not told (ICMP 3/13)")
    await map_udp(row, row.lan1, port, row.a1, 100)
    await map_udp(row, row.lan2, row.port(), row.a1, 53)


@requirement("6888-5-rate", SHOULD, "new sessions per second and host are limited", config="rate", alone=True)
async def rate_limit(row: Row) -> None:
    await asyncio.sleep(1.1)
    for _ in range(100):
        row.lan1.tcp(row.port(), row.a1.ip, 80, "S", seq=5)
    await map_udp(row, row.lan2, row.port(), row.a1, 53)
    await asyncio.sleep(0.3)
    passed = sum(1 for one in row.a1.inbox if one.proto == TCP)
    need(passed <= 40, f"{'all' if passed == 100 else 'too many'} SYNs of a flood pass where ten a second are allowed")
    need(passed >= 5, "fewer pass than are allowed")
    await asyncio.sleep(1.5)
    await map_udp(row, row.lan1, row.port(), row.a1, 53)


@requirement("6888-6", MUST, "given destinations are exempt from translation", config="exempt")
async def exempt(row: Row) -> None:
    plain = Ghost(row.bed.outside, "192.0.200.9", row.bed.router_mac)
    sport = row.port()
    for _ in range(2):
        row.lan1.udp(sport, plain.ip, 53, b"as I am")
        seen = await plain.get(proto=UDP, data=b"as I am")
        need(seen and (seen.source, seen.sport) == (row.lan1.ip, sport), "it is translated or lost")
    plain.udp(53, row.lan1.ip, sport, b"answer")
    need(await row.lan1.get(proto=UDP, data=b"answer"), "the answer does not come back")
    plain.udp(54, row.lan1.ip, sport, b"stranger")
    need(await row.lan1.silent(data=b"stranger"), "an exempt destination may send what nobody asked for")
    c = await connect(row, row.lan1, plain)
    need(c.public == (row.lan1.ip, c.sport) and await c.works(), "TCP to an exempt destination does not work")
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(public[0] == row.public, "another destination is exempt too")


@requirement("6888-7", RECOMMENDED, "filtering is endpoint-independent by default")
async def eif_default(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(
        await reaches(row, row.a2, 99, public, row.lan1, sport, SILENCE), "the safer address-and-port-dependent one is"
    )


@requirement("6888-8", SHOULD, "a freed port goes to another host only after the hold-down", config="holddown")
async def hold_down(row: Row) -> None:
    sport = await kept_udp(row, row.lan1, row.a1)
    first = row.public, sport
    await asyncio.sleep(2.2)  # the session ends after 1 s (2 s where the kernel counts), swept soon after
    other = await map_udp(row, row.lan2, sport, row.a1, 53)
    need(other != first, "another host gets it at once")
    need(first == await map_udp(row, row.lan1, sport, row.a1, 53), "its former owner does not get it back")


@requirement("6888-8-after", SHOULD, "after the hold-down anyone may have it", config="holddown")
async def after_hold_down(row: Row) -> None:
    sport = row.port()
    first = await map_udp(row, row.lan1, sport, row.a1, 53)
    await asyncio.sleep(5.5)
    need(first == await map_udp(row, row.lan2, sport, row.a1, 53), "it is held for longer")


@requirement("6888-9", MUST, "a port control protocol (PCP)", excuse="forwards come by configuration and CLI")
async def pcp(row: Row) -> None:
    request = (
        bytes([2, 1, 0, 0]) + (3600).to_bytes(4, "big") + bytes(10) + b"\xff\xff" + pk.address(row.lan1.ip) + bytes(36)
    )
    row.lan1.udp(row.port(), row.bed.lab.plan.gateway, 5351, request)
    need(await row.lan1.get(0.4, proto=UDP, sport=5351), "nobody answers: forwards come by configuration and CLI")


@requirement("6888-10", SHOULD, "it can be watched: sessions, mappings, counters")
async def manageable(row: Row) -> str | None:
    if row.kernel:
        return "/proc/net/nf_conntrack, nf_conntrack_count"
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    rows = row.bed.station.ask("sessions", {"inside": f"{row.lan1.ip}:{sport}"})
    need([one["mapped"] for one in rows] == [f"{public[0]}:{public[1]}"], "`sessions` does not list a live session")
    need(
        any(one["public"] == f"{public[0]}:{public[1]}" for one in row.bed.station.ask("mappings")),
        "`mappings` lacks it",
    )
    need(row.bed.station.ask("stats")["algate_sessions_created_total"] > 0, "`stats` counts no session")
    return None


def machine_wide(row: Row) -> None:
    need(not row.kernel, "not tried: conntrack's limit is the whole machine's")


@requirement("6888-11", MUST_NOT, "a full table ends no live session", config="full", alone=True)
async def full(row: Row) -> None:
    machine_wide(row)
    c = await connect(row, row.lan1, row.a1)
    flows = []
    for number in range(80):
        port = row.port()
        row.lan1.udp(port, row.a1.ip, 53, b"%d" % number)
        seen = await row.a1.get(0.15, proto=UDP, data=b"%d" % number)
        if seen is not None:
            row.a1.udp(53, seen.source, seen.sport, b"replied")
            flows.append((port, (seen.source, seen.sport)))
    need(40 <= len(flows) <= 70, f"{len(flows)} of 80 flows fit into a table of 64")
    need(await c.works(), "a live connection ended when the table was full")
    for port, public in flows:
        need(await reaches(row, row.a1, 53, public, row.lan1, port), "a live flow ended when the table was full")


@requirement("6888-11-tell", SHOULD, "a refusal for want of room is told (ICMP) and counted", config="full", alone=True)
async def full_told(row: Row) -> None:
    machine_wide(row)
    for number in range(80):
        row.lan1.udp(row.port(), row.a1.ip, 53, b"%d" % number)
    need(await row.lan1.get(proto=ICMP, kind=UNREACHABLE, code=PROHIBITED), "nothing is told to the inside host")
    if not row.kernel:
        need(row.bed.station.dropped("table-full") > 0, "the refusals are not counted")


@requirement(
    "6888-11-embryonic", SHOULD, "sessions that nobody answered make room for new ones", config="flooded", alone=True
)
async def embryonic(row: Row) -> None:
    machine_wide(row)
    for _ in range(100):  # SYNs without an answer, opening timer 30 s
        row.lan2.tcp(row.port(), row.a2.ip, 81, "S", seq=1)
        await asyncio.sleep(0.002)
    for _ in range(12):
        c = Connection(row, row.lan1, row.port(), row.a1, 80)
        seen = await c.out("S", timeout=0.4)
        if seen is not None:
            c.public = (seen.source, seen.sport)
            need(await c.back("SA") and await c.out("A") and await c.works(), "the new connection does not work")
            return
    raise No("a SYN flood keeps everybody out")


@requirement("6888-12", "SHOULD NOT", "destinations stay out of the log")
async def no_destinations(row: Row) -> None:
    await connect(row, row.lan1, row.a1)
    await map_udp(row, row.lan1, row.port(), row.a1, 53)
    if not row.kernel:
        need(row.a1.ip not in row.bed.station.gateway.log, "the log names a destination")


@requirement("6888-14", SHOULD, "flows cost little log (none here)")
async def log_volume(row: Row) -> None:
    if row.kernel:
        return
    before = len(row.bed.station.gateway.log)
    for _ in range(50):
        await map_udp(row, row.lan1, row.port(), row.a1, 53)
    need(len(row.bed.station.gateway.log) - before < 200, "each flow writes to the log")


@requirement("6888-14-blocks", SHOULD, "with port blocks, all flows of a host cost one line of a log", config="blocks")
async def log_of_blocks(row: Row) -> None:
    need(not row.kernel, "it has no port blocks")
    lan = row.bed.host_inside()
    ports = {(await map_udp(row, lan, row.port(), row.a1, 53))[1] for _ in range(30)}
    ports.add((await connect(row, lan, row.a1)).public[1])
    await asyncio.sleep(1.5)  # blocks are looked at once a second
    lines = [one for one in row.bed.station.translations.read_text().splitlines() if f"inside={lan.ip} " in one]
    need(len(lines) == 1 and " block-assigned " in lines[0], f"{len(lines)} lines")
    first, last = (int(one) for one in lines[0].rpartition("ports=")[2].split("-"))
    need(last - first == 63 and all(first <= port <= last for port in ports), "a flow's port lies outside of the block")


@requirement("4787-9-blocks", MUST, "hairpin: inside hosts meet at ports of their own blocks", config="blocks")
async def hairpin_blocks(row: Row) -> None:
    await hairpin_udp(row, punch=False)


@requirement("6888-2-blocks", MUST, "with port blocks, too, a host keeps one public address", config="blocks")
async def paired_blocks(row: Row) -> str | None:
    need(len(await addresses(row, row.lan1)) == 1, "a host shows several addresses")
    return "it has one address only, and no blocks" if row.kernel else None


# -- few ports: rows that need the whole pool ----------------------------------------------------------------


@requirement(
    "6888-13", SHOULD, "no port is refused before the last one is given (issue: 99.9 %)", config="small", alone=True
)
async def fill(row: Row) -> None:
    await row.bed.flush()
    given = set()
    for number in range(SIZE):
        lan = (row.lan1, row.lan2)[number % 2]
        given.add(await map_udp(row, lan, row.port(), row.a1, 53))
    need(len(given) == SIZE, "a port was given twice")
    need(all(SMALL[0] <= port <= SMALL[1] for _, port in given), "a port outside of the range was given")


@requirement(
    "5508-8", SHOULD, "no port left: the inside host gets ICMP unreachable, code 13", config="small", alone=True
)
async def exhausted(row: Row) -> None:
    await row.bed.flush()
    ports = [row.port() for _ in range(SIZE)]
    flows = [(port, await map_udp(row, row.lan1, port, row.a1, 53)) for port in ports]
    row.lan1.inbox.clear()
    sent = row.lan2.udp(row.port(), row.a1.ip, 53, b"one more")
    need(await row.a1.silent(data=b"one more"), "a packet leaves although no port is left")
    for port, public in flows:
        need(await reaches(row, row.a1, 53, public, row.lan1, port), "a live flow suffers")
    seen = await row.lan2.get(proto=ICMP)
    need(seen, "it is dropped in silence")
    assert seen is not None
    need((seen.kind, seen.code) == (UNREACHABLE, PROHIBITED), "another error than code 13 is sent")
    restored(seen, sent, row.bed.lab.plan.gateway)
    if not row.kernel:
        need(row.bed.station.dropped("no-port") > 0, "it is not counted")
    await connect(row, row.lan2, row.a1)  # TCP has its own ports


@requirement("4787-11", MUST, "behaviour doesn't change when ports get scarce", config="small", alone=True)
async def deterministic(row: Row) -> None:
    await row.bed.flush()
    flows = []
    for _ in range(SIZE - 2):
        port = row.port()
        flows.append((port, await map_udp(row, row.lan1, port, row.a1, 53)))
    sport = row.port()
    public = await map_udp(row, row.lan2, sport, row.a1, 53)
    need(public == await map_udp(row, row.lan2, sport, row.a2, 53), "the mapping depends on the destination now")
    need(public not in [one for _, one in flows], "a port is shared now")
    need(await refused(row, row.a1, 54, public, row.lan2, sport), "the filter lets strangers in now")
    port, first = flows[0]
    need(first == await map_udp(row, row.lan1, port, row.a2, 53), "an old mapping depends on the destination now")


@requirement("S-dynamic", MUST, "a port that was freed serves again when none else is left", config="small", alone=True)
async def again(row: Row) -> None:
    await row.bed.flush()
    for _ in range(2):
        given = {await map_udp(row, row.lan1, row.port(), row.a1, 53) for _ in range(SIZE)}
        need(len(given) == SIZE, "a port was given twice")
        await row.bed.flush()
