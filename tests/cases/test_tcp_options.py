"""FTP-58 to FTP-65: unusual packet sizes, options and numbers, and what the gateway may not know about a stream."""

from __future__ import annotations

from tests.cases.case import case
from tests.cases.scripted import GREETING, Stage, named, port_line
from tests.cases.speaker import WRAP, End, meet


@case(58, "GSO packets, checksums unfinished: read whole, rewritten whole, never larger than the link allows")
def test_ftp_58_gso_packets(stage: Stage) -> None:
    for gso in (1448, 536):
        talk = stage.talk(server={"mss": gso + 12, "stamps": True}, client={"mss": gso + 12, "stamps": True})
        line = port_line(talk.client.place.ip, stage.links.port())
        fill = [b"NOOP %04d " % n + b"g" * 80 + b"\r\n" for n in range(400)]
        said = b"".join(fill[:60]) + line + b"".join(fill[60:120])
        start = len(talk.server.stream)
        talk.client.say_super(said, gso)
        talk.server.hears(fill[119])
        heard = bytes(talk.server.stream[start:])
        address = b",".join(str(part).encode() for part in (*stage.public.split("."), *divmod(named(heard)[1], 256)))
        assert heard == said.replace(line, b"PORT " + address + b"\r\n")
        talk.server.say(b"200 ok\r\n" * 120 + b"200 ok\r\n")
        talk.client.hears(b"200 ok\r\n" * 121)
        talk.right()
        reply = b"".join(b"211-%04d " % n + b"h" * 90 + b"\r\n" for n in range(400)) + b"211 end\r\n"
        talk.client.say(b"STAT\r\n")
        talk.server.hears(b"STAT\r\n")
        talk.server.say_super(reply, gso)
        talk.client.hears(b"211 end\r\n")
        assert bytes(talk.client.stream).endswith(reply)
        talk.works()


@case(59, "options of a SYN, ECN and CWR, timestamps: as they were; a session with an MD5 option isn't rewritten")
def test_ftp_59_options_untouched(stage: Stage) -> None:
    ends = {"stamps": True, "scale": 7, "sack": True}
    talk = stage.connect(client=ends, server=ends)
    for end in talk.ends:
        syn = next(one for one in end.arrived if "S" in one.flags)
        assert syn.options[:9] == b"\2\4\5\xb4\4\2\3\3\7", "MSS, SACK permitted, window scale"
    talk.server.say(GREETING, "PAEC")
    talk.client.hears(GREETING)
    assert set(talk.client.data[-1].flags) == set("PAEC")
    line = port_line(talk.client.place.ip, stage.links.port())
    talk.client.say(line, "PAC")
    stage.links.until(lambda: talk.server.data, "PORT")
    told = talk.server.data[-1]
    assert set(told.flags) == set("PAC") and named(told.data)[0] == stage.public
    sent = (talk.client.clock).to_bytes(4, "big")
    assert told.options[:4] == b"\1\1\x08\x0a" and told.options[4:8] == sent
    talk.server.say(b"200 ok\r\n")
    talk.client.hears(b"200 ok\r\n")
    talk.works()
    digest = b"\x13\x12" + bytes(range(16)) + b"\1\1"
    links = stage.links
    client, server = stage.apart()
    client.send(b"", "S", at=-1, options=digest)
    syn = meet(server, client.iss)
    assert syn.options == digest
    server.take(syn)
    server.send(b"", "SA", at=-1, options=digest)
    links.until(lambda: client.first is not None, "the SYN-ACK")
    line = port_line(client.place.ip, links.port())
    client.say(line, options=digest)
    server.hears(line)
    assert server.data[-1].options == digest and not server.faults


@case(60, "data in the SYN, data with the third ACK, a simultaneous opening: the first line isn't missed")
def test_ftp_60_early_data_and_crossing_syns(stage: Stage) -> None:
    links = stage.links
    client, server = stage.apart()
    line = port_line(client.place.ip, 50_001)
    client.send(b"USER x\r\n" + line, "S", at=-1, options=b"\x22\x0a" + bytes(8) + b"\1\1")
    links.pump(0.1)
    assert not any(one.data for one in server.place.inbox), "data of a SYN went through uninspected"
    server.place.inbox.clear()
    client.highest = 0
    client.send(b"", "S", at=-1)
    syn = meet(server, client.iss)
    server.take(syn)
    server.send(b"", "SA", at=-1)
    links.until(lambda: client.first is not None, "the SYN-ACK")
    client.say(line)  # with the third ACK
    links.until(lambda: b"\r\n" in server.stream, "PORT")
    assert named(bytes(server.stream))[0] == stage.public
    assert not server.faults
    one, two = stage.apart()
    one.send(b"", "S", at=-1)
    syn = meet(two, one.iss)
    two.send(b"", "S", at=-1)  # crossing
    links.until(lambda: one.first is not None, "the crossing SYN")
    two.take(syn)
    one.send(b"", "SA", at=-1)
    two.send(b"", "SA", at=-1)
    links.until(lambda: one.arrived[-1].flags == two.arrived[-1].flags == "SA", "both SYN-ACKs")
    two.say(GREETING)
    one.hears(GREETING)
    one.say(port_line(one.place.ip, 50_001))
    links.until(lambda: b"\r\n" in two.stream, "PORT")
    assert named(bytes(two.stream))[0] == stage.public
    assert not one.faults and not two.faults


@case(62, "only one direction comes by here: nothing is opened on one side's word")
def test_ftp_62_one_way_path(stage: Stage) -> None:
    links = stage.links
    client, server = stage.apart()
    client.send(b"", "S", at=-1)
    syn = meet(server, client.iss)
    server.take(syn)
    client.first = server.iss + 1  # the SYN-ACK took another way
    server.auto = False
    client.ack()
    port = links.port()
    client.say(port_line(client.place.ip, port))
    links.pump(0.1)
    public = named(bytes(server.stream)) if b"PORT" in server.stream else (stage.public, port)
    client.first, client.got = server.iss + 1, 8  # "200 ok" took the other way too
    client.ack()
    client.say(b"LIST\r\n")
    links.pump(0.05)
    data = End(links, server.place, 20, public, iss=70_000)
    for _ in range(3):
        data.send(b"", "S", at=-1)
        links.pump(0.1)
    assert not [one for one in client.place.inbox if one.dport == port], "opened on the client's word alone"
    if stage.gateway.name == "algate":
        assert "one-way" in stage.gateway.log, "no warning"  # type: ignore[attr-defined]


@case(63, "a new connection on an old 5-tuple knows nothing of the old one's shift")
def test_ftp_63_reused_five_tuple(stage: Stage) -> None:
    for ending in ("RA", "FA"):
        talk = stage.talk()
        talk.port()
        client, server = talk.ends
        client.send(b"", ending)
        if ending == "FA":
            client.sent += 1
            stage.links.until(lambda: server.fin is not None, "the FIN")  # noqa: B023
            server.say(b"", "FA")
            client.told()
        stage.links.pump(0.05)
        for end in talk.ends:
            end.place.ends.remove(end)
        again = stage.connect(place=client.place, other=server.place, sport=client.port,
                              client={"iss": client.iss + 500_000}, server={"iss": server.iss + 900_000})  # fmt: skip
        again.server.say(GREETING)
        again.client.hears(GREETING)
        assert again.server.peer == server.peer, "another public port"
        again.works()
        public = again.port()
        assert public[0] == stage.public
        again.works()


@case(64, "numbers that pass 2^32 in both directions, before, in and after shifted lines")
def test_ftp_64_numbers_that_wrap(stage: Stage) -> None:
    for below in (15, 33, 47, 60, 75):
        for inside in (True, False):
            client, server = {"iss": WRAP - below}, {"iss": WRAP - below - 10}
            talk = stage.talk(client=client, server=server, inside=inside)
            for _ in range(4):
                public = talk.port() if inside else talk.passive()
                assert public[0] == stage.public
                talk.works()


@case(65, "+n and -n: the shift returns to nothing, and what is acknowledged late still means what it meant")
def test_ftp_65_shift_that_returns_to_nothing(stage: Stage) -> None:
    talk = stage.talk(place=stage.links.place(0, "10.77.9.9"))  # its lines grow, whichever test came before
    client, server = talk.client, talk.server
    ports = iter(range(58_100, 58_110))  # nobody else's, so that each is kept and has as many digits outside
    server.auto = False
    ours, theirs = [client.sent], [server.got]
    lines = [port_line(client.place.ip, next(ports)), b"NOOP\r\n"]
    grown = len(port_line(stage.public, 20_000)) - len(port_line(client.place.ip, 20_000))
    for _ in range(2):
        line = port_line(client.place.ip, next(ports))
        wide = line.replace(b"PORT ", b"PORT " + b"0" * 0)
        # leading zeros are decimal (FTP-3) and leave canonical: this one shrinks by as much as the other grew
        octets, padding = line[5:-2].split(b","), 2 * grown
        for place, octet in enumerate(octets):
            add = min(3 - len(octet), padding)
            octets[place], padding = b"0" * add + octet, padding - add
        wide = b"PORT " + b",".join(octets) + b"\r\n"
        lines += [wide, b"NOOP\r\n", port_line(client.place.ip, next(ports)), b"NOOP\r\n"]
    for line in lines:
        start = len(server.stream)
        client.say(line)
        server.lines_after(start)
        ours.append(client.sent)
        theirs.append(server.got)
    shifts = [other - one for one, other in zip(ours, theirs, strict=True)]
    assert shifts[0] == 0 and 0 in shifts[1:] and max(shifts) > 0, shifts
    for place, ack in enumerate(theirs):
        count = len(client.arrived)
        server.ack(ack=ack)
        client.more(count, "the acknowledgement")
        assert client.acked == ours[place], (place, client.acked, ours, theirs)
    server.auto = True
    talk.works()
