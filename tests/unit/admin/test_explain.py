"""Each sentence of `explain`, from a snapshot that asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from algate.alg.admin.explain import DROPS, ORDER, explain
from algate.alg.admin.inquiry import parse
from algate.alg.admin.known import Data, Snapshot
from algate.alg.admin.reasons import WORDS, sentence
from algate.alg.engine.effects import View
from algate.alg.errors import AlgateError
from algate.alg.plugin.words import Words
from algate.alg.protocols.ftp.words import FtpWords
from algate.alg.rows import AllowRow, EventRow, ExpectationRow, ForwardRow, RefusalRow, SessionRow

pytestmark = pytest.mark.unit
ID = "00000000000000a1"
CONTROL = SessionRow(ID, "tcp", "established", "10.0.0.2:40001", "198.51.100.2:21", "203.0.113.1:40001",
                     20, 18, 900, 1400, 61.5, 7380.0, "ftp", None)  # fmt: skip
SIX = "[2001:db8:1::5]:8443"
LET_IN = AllowRow("tcp", "8440-8450", "2001:db8:1::5", ("2001:db8:113::/64",), "config", 3)
READY = View("ready", 0, False, (0, 0))


def session(state: str, packets_out: int = 3, packets_in: int = 0) -> SessionRow:
    return SessionRow("00000000000000a2", "tcp", state, "10.0.0.2:40002", "198.51.100.2:51234", "203.0.113.1:40002",
                      packets_out, packets_in, 120, 4000, 9.0, 60.0, None, ID)  # fmt: skip


def event(name: str, reason: str = "", detail: str = "", ago: float = 10.0, **fields: str) -> EventRow:
    return EventRow(1000.0 - ago, name, ID, "ftp", detail, reason, fields)


def expectation(state: str, inward: bool) -> ExpectationRow:
    if inward:
        return ExpectationRow(
            "e1", state, "tcp", "198.51.100.2", "203.0.113.1:40050", "10.0.0.2:50001", 100.0, ID, "ftp"
        )
    return ExpectationRow("e2", state, "tcp", "10.0.0.2", None, "198.51.100.2:51234", 60.0, ID, "ftp")


def of(**given: Any) -> Snapshot:
    return replace(Snapshot(ID, 1000.0, control=CONTROL, view=READY, alg="ftp", words=FtpWords()), **given)


NAMED = "10.0.0.2:50001"
ANNOUNCED = event("expectation-made", "", "PORT x", to=NAMED, announced="192.0.2.9:40050")
CASES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"state": "waiting for an address on wan0"}, "blocked", "not-translating", "waiting for an address on wan0"),
    ({"expectations": [expectation("open", False)]}, "waiting", "syn-missing",
     "server 198.51.100.2 was announced at port 51234, but the SYN of 10.0.0.2 never came; 60 s are left"),
    ({"expectations": [expectation("open", True)]}, "waiting", "syn-missing",
     "198.51.100.2 may connect to 203.0.113.1:40050 (which leads to 10.0.0.2:50001): its SYN never came"),
    ({"expectations": [expectation("pending", True)]}, "waiting", "expectation-pending",
     "named 10.0.0.2:50001 (outside: 203.0.113.1:40050); the other side's 2xx never came"),
    ({"expectations": [expectation("pending", False)]}, "waiting", "expectation-pending", "2xx never came"),
    ({"expectations": [expectation("pending", True)], "events": [ANNOUNCED]}, "waiting", "expectation-pending",
     "named 10.0.0.2:50001 (outside: 192.0.2.9:40050); the other side's 2xx never came"),
    ({"expectations": [expectation("open", True)], "events": [ANNOUNCED]}, "waiting", "syn-missing",
     "to 203.0.113.1:40050 (which leads to 10.0.0.2:50001; announced as 192.0.2.9:40050): its SYN never came"),
    ({"expectations": [expectation("open", True)], "events": [ANNOUNCED, event("expectation-made", to=NAMED)]},
     "waiting", "syn-missing", "(which leads to 10.0.0.2:50001): its SYN"),
    ({"expectations": [expectation("open", True)], "events": [event("expectation-made", to="x", announced="y")]},
     "waiting", "syn-missing", "(which leads to 10.0.0.2:50001): its SYN"),
    ({"expectations": [expectation("used", True)]}, "working", "expectation-used", "came"),
    ({"data": [Data(session("new"), 3.0, "RETR f")]}, "blocked", "syn-unanswered",
     "10.0.0.2:40002's SYN went to 198.51.100.2:51234 3 times and was never answered"),
    ({"data": [Data(session("new", 0, 2), 3.0, "")]}, "blocked", "syn-unanswered",
     "198.51.100.2:51234's SYN went to 10.0.0.2:40002 2 times"),
    ({"data": [Data(session("established"), 42.0, "RETR f")]}, "blocked", "data-idle",
     "(RETR f) is up, but nothing has passed for 42 s: 120 bytes out, 4000 bytes in"),
    ({"data": [Data(session("established"), 0.1, "RETR f")]}, "working", "data-moving", "is working"),
    ({"data": [Data(session("reset"), 0.1, "RETR f")]}, "ended", "data-reset", "was reset"),
    ({"data": [Data(session("time-wait"), 0.1, "RETR f")]}, "ended", "data-closed", "is over"),
    ({"events": [event("expectation-expired", "", "PORT x", 5.0, **{"from": "198.51.100.2", "to": "10.0.0.2:50001"})]},
     "refused", "syn-never-came",
     "198.51.100.2 was to connect to 10.0.0.2:50001 (PORT x), but its SYN didn't come in time"),
    ({"events": [event("expectation-refused", "port-not-client", "PORT 10,0,0,9,4,5")]}, "refused", "port-not-client",
     "PORT named 10.0.0.9, not the client, and third_party does not list it, 10 s ago"),
    ({"events": [event("expectation-refused", "third-party", "227 (192,0,2,7,4,5)")]}, "refused", "third-party",
     "the server named 192.0.2.7, not itself"),
    ({"events": [event("expectation-refused", "port-too-low", "PORT 10,0,0,2,0,22")], "policy": {"min_port": 1024}},
     "refused", "port-too-low", "below min_port (1024)"),
    ({"events": [event("expectation-refused", "no-port", "PORT 10.0.0.2:1")]}, "refused", "no-port", "no public port"),
    ({"events": [event("command-refused", "denied-command", "DELE x")]}, "refused", "denied-command", "'DELE x'"),
    ({"events": [event("transfer-failed", "reply-550", "RETR f", answer="550 no such file")]}, "refused", "reply-550",
     "the server answered 'RETR f' with '550 no such file'"),
    ({"events": [event("expectation-withdrawn", "declined", "PORT x")]}, "refused", "declined", "the server refused"),
    ({"view": READY._replace(bypassed=True), "events": [event("bypass", "tls")]}, "blocked", "tls", "encrypted"),
    ({"view": READY._replace(bypassed=True), "events": [event("bypass", "tls")],
      "policy": {"tls_passive_ports": "50000-50100"}}, "waiting", "tls", "data passes to ports 50000-50100 only"),
    ({"view": READY._replace(bypassed=True), "events": [event("bypass", "not-ftp")]}, "blocked", "bypassed", "not-ftp"),
    ({"view": READY._replace(unanswered=2)}, "waiting", "unanswered", "(2)"),
    ({"view": READY._replace(unanswered=1), "data": [Data(session("established"), 0.1, "RETR f")]}, "working",
     "data-moving", "is working"),
    ({"view": READY._replace(phase="greeting")}, "waiting", "greeting", "not greeted"),
    ({"view": READY._replace(phase="login")}, "waiting", "login", "not logged in"),
    ({"view": READY._replace(unfinished=(5, 0))}, "waiting", "unfinished-line", "5 bytes from the client are waiting"),
    ({"lost": 3}, "working", "punt-lost", "3 control segments never reached the helper"),
    ({"reasons": {"helper-dead": 4}}, "working", "helper-dead", "4 control segments came while no helper was running"),
    ({"reasons": {"too-big": 4}}, "working", "too-big", "4 control packets were larger than the link"),
    ({"reasons": {"helper-too-big": 2}}, "working", "helper-too-big", "2 packets became larger than the link"),
    ({}, "working", "idle", "no data connection is expected or under way"),
    ({"control": None, "view": None, "events": [event("transfer", "reset")]}, "ended", "control-ended", "is over"),
    ({"control": None, "view": None}, "unknown", "nothing-known", ID),
    ({"control": None, "view": None, "ends": ("192.0.2.1:80",)}, "unknown", "no-session", "no session of 192.0.2.1:80"),
    ({"control": None, "view": None, "ends": ("192.0.2.1:80",), "allow_out": ["tcp/21"]}, "refused",
     "allow-out", "tcp/21"),
    ({"control": None, "view": None, "ends": ("203.0.113.1:21",),
      "forwards": [ForwardRow("tcp", "21", "10.0.0.5:21", ("192.0.2.0/24",), "ftp", "config", 7)]}, "unknown",
     "forward", "port 21 leads to 10.0.0.5:21, open only to 192.0.2.0/24: 7 connections"),
    ({"control": None, "view": None, "ends": (SIX,), "shut": (SIX,), "allowed": [LET_IN]}, "unknown", "allow-in",
     "tcp port 8443 of [2001:db8:1::5] is let in from 2001:db8:113::/64: 3 connections"),
    ({"control": None, "view": None, "ends": (SIX,), "shut": (SIX,), "allowed": [replace(LET_IN, port="8444")]},
     "unknown", "allow-in", "nobody outside may open port 8443 of [2001:db8:1::5]"),
    ({"control": None, "view": None, "ends": (SIX,), "shut": (SIX,), "allowed": [LET_IN], "proto": "udp"}, "unknown",
     "allow-in", "nobody outside may open udp port 8443 of [2001:db8:1::5]"),
    ({"control": None, "view": None, "plain": [session("new")]}, "blocked", "syn-unanswered", "never answered"),
    ({"control": None, "view": None, "plain": [session("established")]}, "working", "session", "120 bytes out"),
    ({"control": None, "view": None, "plain": [session("established")], "usual": {"tcp/51234": "toy"}}, "blocked",
     "not-watched", "no plug-in watches it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("proto", "found"),
    [
        (None, ["if it is a service: algate allow add tcp 5060 [2001:db8:1::5]"]),
        ("tcp", ["if it is a service: algate allow add tcp 5060 [2001:db8:1::5]"]),
        ("udp", ["if it is a service: algate allow add udp 5060 [2001:db8:1::5]"]),
        ("icmp", []),
    ],
)
def test_what_would_let_the_outside_in(proto: str | None, found: list[str]) -> None:
    """The port may be a client's own as well: that it is a service nobody but the asker knows."""
    end = "[2001:db8:1::5]:5060"
    said = explain(of(control=None, view=None, ends=(end, "[2001:db8:9::1]:443"), shut=(end,), proto=proto))
    assert [one.fix for one in said.findings if one.topic == "allow-in"] == found


REFUSED = RefusalRow("10.0.0.2", "host-sessions", 3, 4.0, 5, 5, "sessions", "max_sessions_per_host")


@pytest.mark.parametrize(
    ("row", "text", "fix"),
    [
        (REFUSED,
         "host 10.0.0.2 was refused new sessions (host-sessions) 3 times, the last 4 s ago: it has 5 of 5 sessions",
         "[nat] max_sessions_per_host is the limit; `algate sessions --inside 10.0.0.2 --by remote` says what it has"),
        (replace(REFUSED, reason="host-rate", times=1, has=None, of="of these a second"),
         "host 10.0.0.2 was refused new sessions (host-rate) once, the last 4 s ago: it may begin 5 of these a second",
         "[nat] max_sessions_per_host is the limit"),
        (replace(REFUSED, reason="allow-out", has=None, limit=None, of=None, setting=None),
         "host 10.0.0.2 was refused new sessions (allow-out) 3 times, the last 4 s ago", ""),
    ],
)  # fmt: skip
def test_a_refused_flow_names_the_host_its_count_and_its_limit(row: RefusalRow, text: str, fix: str) -> None:
    ends = ("10.0.0.2:40001", "198.51.100.2:80")
    found = explain(Snapshot("x", 1000.0, ends=ends, refusals=[row], reasons={row.reason: 3}))
    assert (found.verdict, found.findings[0].topic, found.findings[0].text) == ("refused", row.reason, text)
    assert found.findings[0].fix.startswith(fix)


def test_a_session_that_lives_is_not_refused_though_its_host_is() -> None:
    found = explain(of(refusals=[REFUSED]))
    assert found.verdict == "working" and "has 5 of 5 sessions" in found.findings[-1].text


@pytest.mark.parametrize(
    ("given", "verdict", "topic", "text"), CASES, ids=[f"{n}-{one[2]}" for n, one in enumerate(CASES)]
)
def test_sentences(given: dict[str, Any], verdict: str, topic: str, text: str) -> None:
    answer = explain(of(**given))
    assert answer.verdict == verdict, answer
    (found,) = [one for one in answer.findings if one.topic == topic]
    assert text in found.text


def test_where_a_nat_stands_before_the_gateway_it_is_named() -> None:
    (found,) = explain(of(expectations=[expectation("open", True)], events=[ANNOUNCED])).findings
    assert found.fix.endswith("it can reach 192.0.2.9:40050: a NAT must lead that to 203.0.113.1:40050")


@pytest.mark.parametrize("reason", DROPS)
def test_counters_are_told_where_there_is_no_session(reason: str) -> None:
    answer = explain(of(control=None, view=None, ends=("192.0.2.1:80",), reasons={reason: 17}))
    found = [one for one in answer.findings if one.topic == reason][-1]
    assert "(17 packets)" in found.text


@pytest.mark.parametrize("reason", (*WORDS, *FtpWords.refusals))
def test_every_reason_makes_a_sentence(reason: str) -> None:
    policy = {"min_port": 1024, "max_line": 4096}
    text, cure = sentence(event("x", reason, "PORT 10,0,0,9,4,5"), policy, FtpWords())
    assert "{" not in text and len(text) > 10 and "?" not in text + cure


def test_what_explains_most_comes_first_and_old_news_is_left_out() -> None:
    answer = explain(of(
        data=[Data(session("new"), 3.0, "")], expectations=[expectation("open", True)],
        events=[event("command-refused", "read-only", "x"), event("command-refused", "tls-refused", "AUTH", 900.0)],
    ))  # fmt: skip
    assert [one.verdict for one in answer.findings] == ["blocked", "refused", "waiting"]
    assert [ORDER.index(one.verdict) for one in answer.findings] == [0, 1, 2]


def test_a_plug_ins_own_refusal_is_one_with_words_or_without() -> None:
    """Whatever it calls the event; a bypass, a command or a transfer isn't one, whatever reason it gives."""
    found = explain(of(events=[event("offer-refused", "too-many", "DCC SEND")], words=Words()))
    assert (found.verdict, found.findings[0].topic) == ("refused", "too-many")
    assert found.findings[0].text.startswith("'DCC SEND': too-many")
    for name in ("command", "transfer"):
        assert explain(of(events=[event(name, "bare-lf", "x")], words=Words())).verdict == "working"


def test_a_host_is_a_subject() -> None:
    assert parse(["10.0.0.2"]).host == "10.0.0.2"
    assert parse(["2001:db8::1"]).host == "2001:db8::1"
    assert parse(["10.0.0.2:21"]).host is None


def test_a_transfer_that_worked_since_makes_refusals_old_news() -> None:
    refused = event("expectation-refused", "port-not-client", "PORT 10,0,0,9,4,5")
    assert explain(of(events=[refused])).verdict == "refused"
    assert explain(of(events=[refused, event("transfer", "", "RETR f")])).verdict == "working"


def test_hostile_text_is_escaped() -> None:
    hostile = event("transfer-failed", "reply-550", "RETR \x1b[2J", answer="550 \x07")
    assert "\x1b" not in repr(explain(of(events=[hostile])).as_dict()["findings"][0]["text"])
    assert explain(of(events=[hostile])).findings[0].text.isprintable()


@pytest.mark.parametrize(
    ("words", "id_", "proto", "ends"),
    [
        (["a1"], ID, None, ()),
        ([ID], ID, None, ()),
        (["10.0.0.2:4000"], None, None, ("10.0.0.2:4000",)),
        (["tcp", "10.0.0.2:4000", "->", "198.51.100.2:21"], None, "tcp", ("10.0.0.2:4000", "198.51.100.2:21")),
        (["UDP 10.0.0.2:4000, 198.51.100.2:21"], None, "udp", ("10.0.0.2:4000", "198.51.100.2:21")),
    ],
)
def test_subjects(words: list[str], id_: str | None, proto: str | None, ends: tuple[str, ...]) -> None:
    found = parse(words)
    assert (found.id, found.proto, found.ends) == (id_, proto, ends)


@pytest.mark.parametrize("words", [[], ["x"], ["10.0.0"], ["10.0.0.2:70000"], ["tcp"], ["1.2.3.4:5"] * 3, ["\x1b:1"]])
def test_no_subjects(words: list[str]) -> None:
    with pytest.raises(AlgateError, match="is no session id, no IP, and not"):
        parse(words)
