"""What must hold between a gateway's tables: sessions, ports, and what is counted of them.

The law of this file: pure; a picture in, what is broken in it out. A rule speaks only of what was so from the beginning
to the end of the look, or never: races with a running gateway aren't damage. The rules for control sessions are in
obligations.py, those for port blocks in block_rules.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from algate.alg.gateway import block_rules, obligations, records
from algate.alg.gateway.addresses import NOBODY, is_handle
from algate.alg.gateway.picture import Broken, Picture, Slot, end_text, row_of, session_text
from algate.alg.gateway.records import CLASS_NAMES, OWNED, SessionValue
from algate.bpf import abi, ticks

_S, _K, _F = abi.SessionState, abi.PortKind, abi.SessionFlag
TCP = 6
TCP_STATES = range(_S.NEW, _S.RESET + 1)
OTHER_STATES = (_S.UNREPLIED, _S.ACTIVE)
SLOW = 30.0  # s: the sweep, which tidies the bitmap, comes every ten


def judge(picture: Picture) -> list[Broken]:
    """Everything broken; nothing in a sound gateway."""
    rules: tuple[Callable[[Picture], Iterator[Broken]], ...] = (
        _sessions, _relations, _slots, _mappings, _shares, _hosts, _pools, _peers, _handles, _bitmap, _forwards,
        _counters, *block_rules.RULES, *obligations.RULES,
    )  # fmt: skip
    return [one for rule in rules for one in rule(picture)]


def _sessions(p: Picture) -> Iterator[Broken]:
    """Each has a possible state and a port that is its own."""
    for key, one in p.stable.items():
        for rule, detail in _session(p, key, one):
            yield Broken(rule, f"{one.id:016x}", f"session {one.id:016x} ({session_text(key)}) {detail}")


def _session(p: Picture, key: bytes, one: SessionValue) -> Iterator[tuple[str, str]]:
    flow = records.unpack_key(key)
    if one.state not in (TCP_STATES if flow.proto == TCP else OTHER_STATES):
        yield "session-state", "is marked dead and wasn't deleted" if not one.state else f"has the state {one.state}"
    if ticks.distance(one.last_seen, p.tick) > ticks.AHEAD:
        yield "session-age", "was last seen in the future"
    if one.flags & _F.EXPECTED and one.id not in p.relations:
        yield "session-related", "was expected, by no control session"
    exempt = one.port_index == abi.EXEMPT_ROW
    if exempt or one.flags & _F.EXEMPT:
        told = one.flags & _F.EXEMPT or is_handle(flow.remote_ip)  # IPv6 to IPv6 needs no flag
        if not (exempt and told) or any(one.public_ip):
            yield "session-exempt", "is half translated, half exempt"
        return
    if one.port_index >= p.rows or (one.port_index >> 16) % 3 != row_of(0, flow.proto, 0) >> 16:
        yield "session-row", f"has row {one.port_index} of the port table, which isn't its protocol's"
        return
    slot = p.slots.get(one.port_index)
    if slot is None or not slot.owner:
        yield "session-port", f"has the public port {p.public(one.port_index)}, which nobody owns"
    elif slot.kind in OWNED and (slot.ip, slot.port) != (flow.inside_ip, flow.inside_port):
        yield "session-port", f"has the port {p.public(one.port_index)} of {end_text(slot.ip, slot.port)}"
    elif slot.kind == _K.SHARED:
        owner = p.shares.get((one.port_index, flow.remote_ip, flow.remote_port), 0)
        if owner.to_bytes(8, "little")[:6] != flow.inside_ip + flow.inside_port.to_bytes(2, "big"):
            yield "session-share", f"has no share of the port {p.public(one.port_index)}"
    elif slot.kind == _K.LOCAL:
        yield "session-port", f"has the port {p.public(one.port_index)} of the gateway's own socket"


def _relations(p: Picture) -> Iterator[Broken]:
    """A relation is a session's; a young one isn't judged: its session may have come and gone in between."""
    for number in p.relations.keys() - p.ids:
        if p.age(number >> abi.TICK_SHIFT & 0xFFFFFFFF) > SLOW:
            name = f"{number:016x}"
            yield Broken("relation-session", name, f"a control session is kept for session {name}, which has ended")


def _slots(p: Picture) -> Iterator[Broken]:
    """A port is owned as long as somebody stands on it, and by as many as it says."""
    least, most = p.refs
    for row, slot in p.slots.items():
        where = p.public(row)
        if slot.owner and not slot.sessions:
            yield Broken("port-count", where, f"port {where} has an owner and no session")
        elif not slot.owner and slot.sessions:
            yield Broken("port-count", where, f"port {where} has {slot.sessions} sessions and no owner")
        if not slot.owner:
            continue
        if slot.kind not in (*_K,) or slot.kind == _K.FREE:
            yield Broken("port-kind", where, f"port {where} is of kind {slot.kind}, which there isn't")
            continue
        if slot.kind == _K.HOME and (row >> 16 >= 3 or row & 0xFFFF != slot.port):
            yield Broken("port-home", where, f"port {where} is no home of {end_text(slot.ip, slot.port)}")
        if slot.kind == _K.LOCAL or not slot.sessions:
            continue
        low, high = _bounds(p, row, slot, least[row], most[row])
        if not low <= slot.sessions <= high:
            lacks = "sessions missing" if slot.sessions > high else "sessions not counted"
            detail = f"port {where} counts {slot.sessions} references for {most[row]} sessions: {lacks}"
            yield Broken("port-count", where, detail)


def _bounds(p: Picture, row: int, slot: Slot, least: int, most: int) -> tuple[int, int]:
    """How many references a port may have: a forward and a reservation have one of their own."""
    if slot.kind == _K.FORWARD:
        served = p.forwards.get(slot.forward_id)
        return least + (served is not None and served.first <= row & 0xFFFF <= served.last), most + 1
    return least, most + (slot.kind == _K.RESERVED)


def _mappings(p: Picture) -> Iterator[Broken]:
    """An entry leads to a port of its end point, that has no home then, and is counted."""
    first, last = p.mappings
    always = {end: row for end, row in last.items() if first.get(end) == row}
    for end, row in always.items():
        slot, name = p.slots.get(row), end_text(end.ip, end.port)
        bound = slot is not None and slot.kind == _K.FORWARD and is_handle(end.ip)  # a forward to an IPv6 host binds it
        if not bound and (slot is None or slot.kind != _K.MAPPING or (slot.ip, slot.port) != (end.ip, end.port)):
            yield Broken(
                "mapping-port", f"{end.proto} {name}", f"the mapping of {name} leads to {p.public(row)}, another's"
            )
        home = p.slots.get(row_of(0, end.proto, end.port))
        if home is not None and home.kind == _K.HOME and (home.ip, home.port) == (end.ip, end.port):
            yield Broken("mapping-twice", f"{end.proto} {name}", f"{name} has a mapping and its home port at once")
    least = Counter(row_of(0, end.proto, end.port) for end in always)
    most = Counter(row_of(0, end.proto, end.port) for end in {**first, **last})
    for row in {*most, *(row for row, slot in p.slots.items() if slot.away)}:
        away = p.slots[row].away if row in p.slots else 0
        if not least[row] <= away <= most[row]:
            where = p.public(row)
            yield Broken("mapping-away", where, f"port {where} counts {away} mappings elsewhere of {most[row]}")


def _shares(p: Picture) -> Iterator[Broken]:
    """A share is a session's."""
    if not p.shares:
        return
    seen = set()
    for key, one in p.either():
        flow = records.unpack_key(key)
        seen.add((one.port_index, flow.remote_ip, flow.remote_port))
    for row, ip, port in p.shares.keys() - seen:
        where = f"{p.public(row)} towards {end_text(ip, port)}"
        yield Broken("share-session", where, f"the share of port {where} has no session")
    for row in {row for row, *_ in p.shares}:
        slot = p.slots.get(row)
        if slot is None or slot.kind != _K.SHARED:
            yield Broken("share-port", p.public(row), f"port {p.public(row)} has shares and isn't shared")


def _hosts(p: Picture) -> Iterator[Broken]:
    """A host is counted what it has."""
    before, after = p.hosts
    least = Counter(_host(p, key) for key in p.stable)
    most = Counter(_host(p, key) for key, _ in p.either())
    waiting, ports, held = _waiting(p), Counter[bytes](), Counter[tuple[bytes, int]]()
    for owner, proto, counted in _held(p):
        ip = p.host(owner)
        ports[ip] += counted
        held[ip, proto] += 1
    for ip, counts in after.items():
        name = end_text(ip, 0).removesuffix(":0")
        if before.get(ip) != counts:
            continue  # at work: a leak will show when it is quiet
        if not least[ip] <= counts.sessions <= most[ip]:
            text = f"host {name} counts {_signed(counts.sessions)} sessions and has {most[ip]}"
            yield Broken("host-sessions", name, text)
        if not waiting[0][ip] <= counts.unanswered <= waiting[1][ip]:
            text = f"host {name} counts {_signed(counts.unanswered, 32)} unanswered sessions of {waiting[1][ip]}"
            yield Broken("host-unanswered", name, text)
        if counts.ports != ports[ip]:
            text = f"host {name} counts {_signed(counts.ports)} ports and has {ports[ip]}"
            yield Broken("host-ports", name, text)
        for proto, kind in enumerate(CLASS_NAMES):
            says, has = _signed(counts.held[proto], 32), held[ip, proto]
            if says != has:
                text = f"host {name} counts {says} {kind} ports, reserved ones too, and has {has}"
                yield Broken("host-held", f"{kind} {name}", text)


def _waiting(p: Picture) -> tuple[Counter[bytes], Counter[bytes]]:
    """Unanswered sessions by host: at least, at most."""
    bit = abi.StateBit.UNANSWERED
    some = {one.id: _host(p, key) for key, one in p.either() if one.word & bit}
    some |= {one.id: _host(p, key) for key, one in p.before.items() if one.word & bit}
    least = Counter(_host(p, key) for key, one in p.stable.items() if one.word & bit)
    return least, Counter(some.values())


def _host(p: Picture, key: bytes) -> bytes:
    return p.host(records.unpack_key(key).inside_ip)


def _held(p: Picture) -> Iterator[tuple[bytes, int, bool]]:
    """Each port that a host has: whose, its protocol class, whether it is one of `ports`."""
    for row, slot in p.slots.items():
        if slot.kind in OWNED:
            yield slot.ip, (row >> 16) % 3, slot.kind != _K.RESERVED
    for (row, *_), owner in p.shares.items():
        yield owner.to_bytes(8, "little")[:4], (row >> 16) % 3, True


def _signed(count: int, bits: int = 64) -> int:
    return count - (1 << bits) if count >> bits - 1 else count


def _pools(p: Picture) -> Iterator[Broken]:
    """What all hosts take from is counted; judged while nothing is made or ended."""
    before, after = p.pools
    if p.made[0] != p.made[1] or before.get(abi.POOL_SESSIONS) != after.get(abi.POOL_SESSIONS):
        return
    has = Counter(row >> 16 for row, slot in p.slots.items() if slot.kind in (*OWNED, _K.SHARED))
    has |= {abi.POOL_SESSIONS: len(p.after), abi.POOL_HANDLES: len(p.interned)}
    names = {abi.POOL_SESSIONS: "sessions", abi.POOL_HANDLES: "IPv6 addresses"}
    for row, used in after.items():
        if row != abi.POOL_FREED and used == before.get(row) and used != has[row]:  # that one only grows
            what = names.get(row) or f"{CLASS_NAMES[row % 3]} ports of address {row // 3 + 1}"
            yield Broken("pool", what, f"{_signed(used)} {what} are counted, and there are {has[row]}")


def _peers(p: Picture) -> Iterator[Broken]:
    """A peer is counted by its sessions."""
    least, most = (
        Counter(peer for key, one in some if one.flags & _F.PEER for peer in _peers_of(key))
        for some in (p.stable.items(), p.either())
    )
    for peer in {*p.peers, *least}:
        ip, remote, port, proto = peer
        if not least[peer] <= p.peers.get(peer, 0) <= most[peer]:
            name = f"{proto} {end_text(ip, port)} and {end_text(remote, 0).removesuffix(':0')}"
            yield Broken("peer-count", name, f"{name} count {p.peers.get(peer, 0)} sessions of {most[peer]}")


def _peers_of(key: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Under which rows a session counts; over IPv6 also as one of any peer's (peers6.h)."""
    flow = records.unpack_key(key)
    yield flow.inside_ip, flow.remote_ip, flow.inside_port, flow.proto
    if is_handle(flow.remote_ip):
        yield flow.inside_ip, NOBODY, flow.inside_port, flow.proto


def _handles(p: Picture) -> Iterator[Broken]:
    """What stands for an IPv6 address has one, as long as a session needs it."""
    for key, one in p.stable.items():
        flow = records.unpack_key(key)
        for ip in (flow.inside_ip, flow.remote_ip):
            if is_handle(ip) and ip not in p.interned:
                name = f"{one.id:016x}"
                yield Broken("session-address", name, f"session {name} has an IPv6 address that nobody knows any more")


def _bitmap(p: Picture) -> Iterator[Broken]:
    """It shows a port as taken while it has an owner or is held down; the sweep takes care of the rest."""
    taken = set()
    for at, bits in p.bits.items():
        block, word = divmod(at, abi.BITMAP_BLOCK)
        if word < abi.BITMAP_WORDS:
            taken |= {(block << 16) + word * 64 + bit for bit in range(64) if bits >> bit & 1}
    for row, slot in p.slots.items():
        if slot.owner and slot.kind != _K.LOCAL and row not in taken and p.age(slot.stamp) > SLOW:
            yield Broken(
                "bitmap-clear", p.public(row), f"the bitmap shows port {p.public(row)} as free: it has an owner"
            )
    after = p.hold_down * ticks.SECONDS + SLOW
    for row in taken if p.helper else ():
        found = p.slots.get(row)
        if found is None or (not found.owner and p.age(found.stamp) > after):
            yield Broken("bitmap-set", p.public(row), f"the bitmap shows port {p.public(row)} as taken: nobody has it")


def _forwards(p: Picture) -> Iterator[Broken]:
    """A forward has its ports on every public address."""
    for number, one in p.forwards.items():
        for place in range(len(p.addresses)):
            for port in range(one.first, one.last + 1):
                slot = p.slots.get(row_of(place, one.proto, port))
                if slot is None or slot.kind != _K.FORWARD or slot.forward_id != number:
                    where = p.public(row_of(place, one.proto, port))
                    yield Broken("forward-port", where, f"the forward of port {where} doesn't hold that port")
    for number in sorted(p.sources - {number for number, one in p.forwards.items() if one.sources}):
        yield Broken("forward-sources", str(number), f"sources are listed for forward {number}, which has none")


def _counters(p: Picture) -> Iterator[Broken]:
    """Made less ended is what there is."""
    live = p.made[1] - p.ended
    least, most = len(p.stable), sum(1 for _ in p.either()) + p.made[1] - p.made[0]
    if not least <= live <= most:
        text = f"{p.made[1]} sessions made less {p.ended} ended are {live}, and there are {most}"
        yield Broken("counters", "sessions", text)
