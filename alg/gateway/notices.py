"""What the kernel tells of sessions (tell.h): records of translations from raw notices, and what it is asked for.

The law of this file: it turns bytes into records and a wish into a word of struct config. When the ring is read, and
who gets the records, is the daemon's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from algate.alg.audit.relay import Wish
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.records import NOTICE
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway

SIZE = NOTICE.size
_MADE, _ENDED = int(abi.NoticeKind.MADE), int(abi.NoticeKind.ENDED)
_PORT, _SHARED = int(abi.NoticeFlag.PORT), int(abi.NoticeFlag.SHARED)
_CREATED, _OVER = TranslationKind.SESSION_CREATED, TranslationKind.SESSION_ENDED
_TAKEN, _FREED = TranslationKind.MAPPING_CREATED, TranslationKind.MAPPING_ENDED
_OCTETS = (1 << 56) - 1  # of session.bytes
_NO_IP = bytes(4)
_PROTOS = {6: abi.TellFlag.TCP, 17: abi.TellFlag.UDP, 1: abi.TellFlag.ICMP}


def records(
    samples: Sequence[bytes], names: Mapping[int, str], sessions: bool = True, mappings: bool = True,
    packed: Callable[[bytes], bytes] = lambda raw: raw,
) -> list[Translation]:  # fmt: skip
    """The records in these samples, in their order; what is too short for one is passed over. `names`: plug-in number
    -> name; `sessions`, `mappings`: which kinds are wanted; `packed`: the address that four bytes stand for."""
    offset = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    made: list[Translation] = []
    for sample in samples:
        if len(sample) < SIZE:
            continue
        (
            at, related, inside_ip, remote_ip, inside_port, remote_port, proto, number, counted_out, counted_in,
            low_out, low_in, _, _, _, _, word, alg, _, last_seen, row, public_ip, since, kind, flags,
        ) = NOTICE.unpack_from(sample)  # fmt: skip
        if not (inside_ip[0] and remote_ip[0]):
            inside_ip, remote_ip = packed(inside_ip), packed(remote_ip)
        inside = PackedEnd(inside_ip, int.from_bytes(inside_port, "big"))
        remote = PackedEnd(remote_ip, inside.port if proto == 1 else int.from_bytes(remote_port, "big"))
        public = None if public_ip == _NO_IP else PackedEnd(public_ip, row & 0xFFFF)
        moment, state, name = at / 1e9 + offset, STATE_NAMES.get(word & 0xFF, ""), names.get(alg)
        towards = remote if flags & _SHARED else None
        ported = mappings and flags & _PORT and public is not None
        if kind == _MADE:
            if ported:
                made.append(Translation(_TAKEN, moment, proto, inside, public, towards))
            if sessions:
                whose = (proto, inside, public, remote, number, name, related)
                made.append(Translation(_CREATED, moment, *whose, 0.0, (0, 0), (0, 0), 0.0, state))
        elif kind == _ENDED:
            began, now = number / 1e9 + offset, at >> abi.TICK_SHIFT
            if sessions:
                lasted = max(0, ticks.whole(last_seen, now) - ticks.of(number)) * ticks.SECONDS
                octets = counted_out & _OCTETS, counted_in & _OCTETS
                packets = counted_out >> 56 << 32 | low_out, counted_in >> 56 << 32 | low_in
                whose = (proto, inside, public, remote, number, name, related)
                made.append(Translation(_OVER, moment, *whose, began, octets, packets, lasted, state))
            if ported:
                taken = began if towards else ticks.whole(since, now) * ticks.SECONDS + offset
                made.append(Translation(_FREED, moment, proto, inside, public, towards, since=taken))
    return made


def ask(gateway: Gateway, wish: Wish) -> None:
    """Have the kernel tell what is wished for; nothing for an empty wish."""
    config = gateway.configs[0]
    config.tell = _flags(wish)
    config.tell_net, config.tell_mask = (abi.ip_to_be32(one) for one in wish.network)
    gateway.configs.put(0, config)


def _flags(wish: Wish) -> int:
    flag = abi.TellFlag
    if not wish:
        return 0
    chosen = {flag.SESSIONS: wish.sessions, flag.PORTS: wish.mappings, flag.WATCHED: wish.watched}
    protos = [_PROTOS[one] for one in wish.protos or _PROTOS]
    return sum(int(bit) for bit in (*(bit for bit, wanted in chosen.items() if wanted), *protos))
