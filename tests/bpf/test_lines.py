"""Lines that pass the gate without waiting for the helper, and everything that doesn't (lines.h)."""

from __future__ import annotations

import select

import pytest

from algate.alg.engine.digest import digest
from algate.alg.gateway import records
from algate.alg.plugin.model import READ_MOST
from algate.bpf import abi, syscall
from algate.bpf.tables import U32
from tests import packets
from tests.bpf.rig import REDIRECT, SECRET, SHOT, Outcome, Rig
from tests.bpf.watched import FIRST, FTP, IN, OUT, Watched, watch

INTEREST = 7
NOOP, REPLY = b"NOOP\r\n", b"200 fine.\r\n"


@pytest.fixture
def told(rig: Rig) -> Watched:
    """A session for which the helper said: NOOP, CWD and 200 don't matter, EPSV, LIST and 220 are read afterwards, and
    by LIST nothing begins to matter."""
    session = tell(watch(rig))
    rig.taken()
    return session


def tell(session: Watched) -> Watched:
    passing, copied = abi.Line.PASSES, abi.Line.COPIED
    words = {b"NOOP": passing, b"CWD\0": passing, b"200\0": passing, b"EPSV": copied, b"220\0": copied}
    words[b"LIST"] = abi.Line.TOLD
    for word, kind in words.items():
        key = abi.PassableKey(interest=INTEREST, reply=word[:1].isdigit())
        key.word[:4] = list(word)
        session.rig.gateway.passable.put(key, kind)
    state(session)
    return session


def state(
    session: Watched, at: tuple[int, int] = (0, 0), interest: int = INTEREST, unanswered: int = 0, more: int = 0
) -> None:
    """Write what the helper writes when nothing is unanswered: both streams are `at` these places."""
    decided = FIRST[OUT] + at[0], FIRST[IN] + at[1]
    lines = session.track().lines
    flags = abi.AdjustFlag.LINES | unanswered << abi.ADJUST_UNANSWERED | more
    record = abi.Adjust(id=session.id, decided=decided, flags=flags, interest=interest, lines=lines)
    session.rig.gateway.adjusts.put(session.key, record)


def passes(out: Outcome) -> bool:
    assert out.action in (REDIRECT, SHOT)
    if out.action == REDIRECT:
        assert out.counts.get("LINES_PASSED") == 1 and not out.counts.get("PUNTS")
    else:
        assert out.drops == {"punt-held": 1} and not out.counts.get("LINES_PASSED")
    return out.action == REDIRECT


def say(session: Watched, line: bytes, side: abi.Direction = OUT, at: int = 0, flags: str = "PA") -> bool:
    return passes(session.send(side, session.frame(side, line, flags, at=at)))


def copied(session: Watched, line: bytes, side: abi.Direction = OUT, at: int = 0) -> abi.Punt:
    """The line leaves at once as it came, and a copy goes to the helper."""
    frame = session.frame(side, line, at=at)
    out = session.send(side, frame)
    assert out.action == REDIRECT and out.drops == {}
    assert out.counts["LINES_COPIED"] == 1 and not out.counts.get("LINES_PASSED") and not out.counts.get("PUNTS")
    packets.same(out.data[12:], session.expected(side, frame)[12:])
    ((punt, copy),) = session.rig.taken()
    packets.same(copy, frame, "copy")
    assert (punt.kind, punt.seq, punt.payload_size) == (abi.PuntKind.COPY, FIRST[side] + at, len(line))
    assert punt.lines == session.track().lines, "itself is counted"
    return punt


def part(word: int, shift: int, bits: int) -> int:
    return word >> shift & (1 << bits) - 1


def test_a_command_and_its_reply_pass_as_they_came(told: Watched) -> None:
    frame = told.frame(OUT, NOOP)
    out = told.send(OUT, frame)
    assert passes(out)
    packets.same(out.data[12:], told.expected(OUT, frame)[12:])
    assert say(told, REPLY, IN)
    word = told.track().lines
    assert part(word, abi.LINES_COMMANDS, 7) == part(word, abi.LINES_REPLIES, 7) == 1
    assert part(word, abi.LINES_BYTES, 14) == len(NOOP) and part(word, abi.LINES_BYTES + 14, 14) == len(REPLY)
    assert told.rig.taken() == [] and part(word, abi.LINES_COPIES, 6) == 0


def test_the_next_line_goes_on_where_the_last_ended(told: Watched) -> None:
    assert say(told, NOOP)
    assert say(told, b"cwd /pub\r\n", at=6)
    assert not say(told, NOOP, at=30), "beyond a gap"


def test_a_reply_to_no_command_that_passed_is_read(told: Watched) -> None:
    copied(told, REPLY, IN)


def test_replies_of_commands_that_passed_and_no_more(told: Watched) -> None:
    assert say(told, NOOP) and say(told, REPLY, IN)
    copied(told, REPLY, IN, at=len(REPLY))


def test_replies_that_were_still_to_come(told: Watched) -> None:
    state(told, unanswered=2)
    assert say(told, REPLY, IN) and say(told, REPLY, IN, at=len(REPLY))
    frame = told.frame(OUT, b"", "A", ack=FIRST[IN] + 2 * len(REPLY))
    assert told.send(OUT, frame).action == REDIRECT
    copied(told, REPLY, IN, at=2 * len(REPLY))


def test_replies_are_counted_in_seven_bits_and_no_more_pass(told: Watched) -> None:
    """With 99 unanswered ones and 100 commands: beyond 127 the helper would pair all later replies wrongly."""
    state(told, unanswered=99)
    track = told.track()
    track.lines |= 100 << abi.LINES_COMMANDS | 99 << abi.LINES_REPLIES
    told.rig.gateway.tracks.put(told.key, track)
    assert say(told, REPLY, IN)
    assert not say(told, REPLY, IN, at=len(REPLY))


def test_what_is_read_afterwards_leaves_at_once(told: Watched) -> None:
    assert say(told, NOOP)
    punt = copied(told, b"epsv\r\n", at=6)
    assert part(punt.lines, abi.LINES_COMMANDS, 7) == 2 and part(punt.lines, abi.LINES_COPIES, 6) == 1
    assert part(punt.lines, abi.LINES_BYTES, 14) == 12 and punt.lines & 0xFFFF == told.track().lines & 0xFFFF
    again = told.send(OUT, told.frame(OUT, b"epsv\r\n", at=6))
    assert again.action == REDIRECT and again.counts["DECISIONS_PASS"] == 1 and told.rig.taken() == []


def test_behind_a_copy_everything_is_read(told: Watched) -> None:
    """Until the helper has judged it: 200 may be the answer that matters."""
    copied(told, b"EPSV\r\n")
    copied(told, REPLY, IN)
    copied(told, NOOP, at=6)
    for side, at in ((IN, len(REPLY)), (OUT, 12)):  # both acknowledge
        ack = told.frame(side, b"", "A", at=at, ack=FIRST[abi.Direction(1 - side)] + (12 if side == IN else len(REPLY)))
        assert told.send(side, ack).action == REDIRECT
    state(told, (12, len(REPLY)), unanswered=1)
    assert say(told, REPLY, IN, at=len(REPLY))


def test_while_something_matters_everything_is_read(told: Watched) -> None:
    state(told, more=abi.AdjustFlag.COPIES)
    copied(told, NOOP)
    copied(told, REPLY, IN)


def test_no_more_copies_wait_to_be_judged_than_a_conversation_has_room_for(told: Watched) -> None:
    at = 0
    for _ in range(READ_MOST):
        copied(told, b"EPSV\r\n", at=at)
        at += 6
        assert told.send(IN, told.frame(IN, b"", "A", ack=FIRST[OUT] + at)).action == REDIRECT
    assert not say(told, b"EPSV\r\n", at=at)
    told.rig.taken()
    state(told, (at, 0))
    copied(told, b"EPSV\r\n", at=at)


def test_the_greeting_passes_before_the_helper_has_heard_of_the_session(rig: Rig) -> None:
    flags = abi.AdjustFlag.BEGINS | abi.AdjustFlag.LINES | abi.AdjustFlag.COPIES
    fd = rig.gateway.map_fd("openings")
    select.select(rig.ring, [], [], 0)
    syscall.update(fd, U32.pack(FTP), records.pack_opening(flags, INTEREST))
    try:
        session = watch(rig)
    finally:
        syscall.update(fd, U32.pack(FTP), records.pack_opening(0, 0))
    key = abi.PassableKey(interest=INTEREST, reply=1)
    key.word[:4] = list(b"220\0")
    rig.gateway.passable.put(key, abi.Line.COPIED)
    assert not wakes(session)
    assert [punt.kind for punt, _ in rig.taken()] == [abi.PuntKind.OPENED]
    copied(session, b"220 hello\r\n", IN)
    rig.gateway.adjusts.put(session.key, abi.Adjust(id=session.id, flags=abi.AdjustFlag.BEGINS))
    assert not say(session, NOOP), "the helper has withdrawn it"


def test_before_the_first_decision_streams_begin_behind_their_syns(told: Watched) -> None:
    record = told.rig.gateway.adjusts[told.key]
    record.decided[:], record.flags = [0, 0], record.flags | abi.AdjustFlag.BEGINS
    told.rig.gateway.adjusts.put(told.key, record)
    copied(told, b"220 hello\r\n", IN)
    assert say(told, NOOP, at=5) is False
    track = told.track()
    track.flags &= ~abi.TrackFlag.SYN_IN
    track.lines = 0
    told.rig.gateway.tracks.put(told.key, track)
    assert not say(told, b"220 hello\r\n", IN, at=11)


@pytest.mark.usefixtures("one_cpu")
def test_what_the_ring_has_no_room_for_is_held(told: Watched) -> None:
    """A line that nobody would ever read doesn't pass, and leaves no trace."""
    frame = told.frame(OUT, b"EPSV\r\n")
    fill(told)
    state(told)
    before = told.track().lines
    out = told.send(OUT, frame)
    assert out.action == SHOT and out.drops == {"punt-lost": 1}
    assert told.track().lines & ~0xFFFF == before & ~0xFFFF
    assert told.rig.gateway.decisions.get(abi.DecisionKey(id=told.id, seq=FIRST[OUT], size=6, dir=OUT)) is None
    told.rig.taken()
    state(told)
    copied(told, b"EPSV\r\n")


def fill(session: Watched) -> None:
    """Send what is punted until the ring has no room even for a line."""
    at = 5000
    for load in (bytes(1400), b"EPSV\r\n"):
        while not session.send(OUT, session.frame(OUT, load, at=at)).drops.get("punt-lost"):
            at += 1
            assert at < 100_000


def test_a_copy_of_an_adjusted_stream_is_shifted_on_its_way(told: Watched) -> None:
    told.adjust([(FIRST[OUT] - 10, FIRST[OUT] - 5, 0, 7)])
    record = told.rig.gateway.adjusts[told.key]
    record.decided[:] = [FIRST[OUT], FIRST[IN]]
    record.flags, record.interest, record.lines = abi.AdjustFlag.LINES, INTEREST, told.track().lines
    told.rig.gateway.adjusts.put(told.key, record)
    frame = told.frame(OUT, b"EPSV\r\n")
    out = told.send(OUT, frame)
    assert out.action == REDIRECT and out.counts["LINES_COPIED"] == 1
    packets.same(out.data[12:], told.expected(OUT, frame, TCP_seq=FIRST[OUT] + 7)[12:])
    ((punt, _),) = told.rig.taken()
    assert punt.seq == FIRST[OUT]


LIST = b"LIST\r\n"


def acknowledge(session: Watched, upto: int) -> None:
    """The outside has so much of what the inside said, so there is room for more."""
    frame = session.frame(IN, b"", "A", ack=FIRST[OUT] + upto)
    assert session.send(IN, frame).action == REDIRECT


def heard(session: Watched, upto: int, at: int) -> None:
    """The same of the inside, which has said `at` bytes."""
    frame = session.frame(OUT, b"", "A", at=at, ack=FIRST[IN] + upto)
    assert session.send(OUT, frame).action == REDIRECT


def test_behind_what_is_only_told_others_pass_uncopied(told: Watched) -> None:
    copied(told, LIST)
    assert say(told, REPLY, IN) and say(told, NOOP, at=6) and told.rig.taken() == []
    word = told.track().lines
    assert part(word, abi.LINES_COPIES, 6) == 1 and part(word, abi.LINES_COMMANDS, 7) == 2
    for number, line in enumerate((LIST, b"EPSV\r\n", NOOP, LIST), 2):
        acknowledge(told, 6 * number)
        copied(told, line, at=6 * number)
    copied(told, REPLY, IN, at=len(REPLY))


def test_what_is_told_while_all_is_read_ends_nothing(told: Watched) -> None:
    state(told, more=abi.AdjustFlag.COPIES)
    copied(told, LIST)
    copied(told, REPLY, IN)


def test_what_is_read_for_another_lines_sake_opens_nothing_itself(told: Watched) -> None:
    """The helper judges the line that mattered; what passed behind it was copied, but keeps no others from passing."""
    copied(told, b"EPSV\r\n")
    state(told, (6, 0), more=abi.AdjustFlag.COPIES)
    seen = copied(told, NOOP, at=6).lines
    acknowledge(told, 12)
    record = told.rig.gateway.adjusts[told.key]
    one = 1 << abi.LINES_COPIES | 1 << abi.LINES_COMMANDS | 6 << abi.LINES_BYTES
    record.lines, record.decided[0], record.flags = seen - one, FIRST[OUT] + 6, abi.AdjustFlag.LINES
    told.rig.gateway.adjusts.put(told.key, record)
    assert say(told, NOOP, at=12) and say(told, REPLY, IN)


THEN = INTEREST + 1
SETTLES = abi.AdjustFlag.SETTLES


@pytest.fixture
def settling(told: Watched) -> Watched:
    """As `told`, and 230 settles what mattered; behind it CWD is read, and NOOP, LIST and 200 are not."""
    passable = told.rig.gateway.passable
    for interest, word, kind in (
        (INTEREST, b"230\0", abi.Line.COPIED | abi.Line.SETTLES), (THEN, b"CWD\0", abi.Line.COPIED),
        (THEN, b"NOOP", abi.Line.PASSES), (THEN, b"LIST", abi.Line.PASSES), (THEN, b"200\0", abi.Line.PASSES),
        (INTEREST, bytes(4), THEN),
    ):  # fmt: skip
        key = abi.PassableKey(interest=interest, reply=word[:1].isdigit())
        key.word[:4] = list(word)
        passable.put(key, kind)
    state(told, more=SETTLES)
    return told


WELCOME = b"230 come in\r\n"


def test_what_settles_all_ends_the_copies_before_the_helper_reads_it(settling: Watched) -> None:
    copied(settling, b"EPSV\r\n")
    acknowledge(settling, 6)
    copied(settling, NOOP, at=6)
    copied(settling, REPLY, IN)
    copied(settling, WELCOME, IN, at=len(REPLY))
    acknowledge(settling, 12)
    heard(settling, len(REPLY + WELCOME), 12)
    assert say(settling, LIST, at=12), "by the words that hold from now on"
    assert say(settling, REPLY, IN, at=len(REPLY + WELCOME))
    acknowledge(settling, 18)
    copied(settling, b"CWD /\r\n", at=18)
    acknowledge(settling, 25)
    copied(settling, NOOP, at=25)


def test_what_leaves_something_unanswered_settles_nothing(settling: Watched) -> None:
    copied(settling, b"EPSV\r\n")
    copied(settling, NOOP, at=6)
    copied(settling, WELCOME, IN)
    acknowledge(settling, 12)
    copied(settling, NOOP, at=12)


def test_what_is_unanswered_at_the_helpers_word_counts_too(settling: Watched) -> None:
    state(settling, unanswered=2, more=SETTLES | abi.AdjustFlag.COPIES)
    copied(settling, WELCOME, IN)
    copied(settling, NOOP)
    state(settling, (6, len(WELCOME)), unanswered=2, more=SETTLES | abi.AdjustFlag.COPIES)
    heard(settling, len(WELCOME), 6)
    copied(settling, REPLY, IN, at=len(WELCOME))
    copied(settling, WELCOME, IN, at=len(WELCOME + REPLY))
    acknowledge(settling, 6)
    assert say(settling, NOOP, at=6)


def test_a_reply_that_nobody_asked_for_settles_nothing(settling: Watched) -> None:
    copied(settling, WELCOME, IN)
    copied(settling, NOOP)


def test_where_the_helper_is_not_certain_nothing_settles(settling: Watched) -> None:
    state(settling)
    copied(settling, b"EPSV\r\n")
    copied(settling, WELCOME, IN)
    acknowledge(settling, 6)
    copied(settling, NOOP, at=6)
    copied(settling, REPLY, IN, at=len(WELCOME))
    state(settling, (12, len(WELCOME + REPLY)), more=abi.AdjustFlag.COPIES)
    acknowledge(settling, 12)
    copied(settling, NOOP, at=12)


def test_what_settled_before_the_helpers_word_is_its_business(settling: Watched) -> None:
    copied(settling, b"EPSV\r\n")
    copied(settling, WELCOME, IN)
    acknowledge(settling, 6)
    state(settling, (6, len(WELCOME)), more=SETTLES | abi.AdjustFlag.COPIES)
    copied(settling, NOOP, at=6)
    copied(settling, REPLY, IN, at=len(WELCOME))


@pytest.mark.usefixtures("one_cpu")
def test_what_is_held_after_all_settles_nothing(settling: Watched) -> None:
    copied(settling, b"EPSV\r\n")
    before = settling.track().lines
    fill(settling)
    record = settling.rig.gateway.adjusts[settling.key]
    record.lines = settling.track().lines & 0xFFFF | record.lines & ~0xFFFF
    settling.rig.gateway.adjusts.put(settling.key, record)
    assert settling.send(IN, settling.frame(IN, WELCOME)).drops == {"punt-lost": 1}
    assert settling.track().lines >> 16 == before >> 16 and not settling.track().settled


def wakes(session: Watched) -> bool:
    """Whether what came since the last call makes a descriptor of the ring readable."""
    return bool(select.select(session.rig.ring, [], [], 0.05)[0])


def test_a_quiet_copy_wakes_nobody_and_keeps_its_place(told: Watched) -> None:
    wakes(told)
    key = abi.PassableKey(interest=INTEREST)
    key.word[:4] = list(b"EPSV")
    told.rig.gateway.passable.put(key, abi.Line.COPIED | abi.Line.QUIET)
    for number in range(READ_MOST - 2):
        assert told.send(OUT, told.frame(OUT, b"EPSV\r\n", at=6 * number)).counts["LINES_COPIED"] == 1
        acknowledge(told, 6 * (number + 1))
    assert not wakes(told)
    assert told.send(OUT, told.frame(OUT, b"EPSV\r\n", at=6 * (READ_MOST - 2))).counts["LINES_COPIED"] == 1
    assert wakes(told), "before a line has to wait for it"
    assert not say(told, b"PASV\r\n", at=6 * (READ_MOST - 1))
    assert wakes(told)
    kinds = [punt.kind for punt, _ in told.rig.taken()]
    assert kinds == [abi.PuntKind.COPY] * (READ_MOST - 1) + [abi.PuntKind.SEGMENT], "in their order"


def test_a_copy_that_isnt_quiet_wakes_the_helper(told: Watched) -> None:
    wakes(told)
    copied(told, b"EPSV\r\n")
    assert wakes(told)


def test_what_is_told_is_copied_as_often_as_anything(told: Watched) -> None:
    for number in range(READ_MOST):
        copied(told, LIST, at=6 * number)
        acknowledge(told, 6 * (number + 1))
    assert not say(told, LIST, at=6 * READ_MOST)


def test_a_copy_of_long_ago_opens_nothing(told: Watched) -> None:
    """The helper has judged it: its record counts it."""
    copied(told, b"EPSV\r\n")
    state(told, at=(6, 0))
    assert say(told, NOOP, at=6)
    acknowledge(told, 12)
    copied(told, LIST, at=12)
    assert say(told, NOOP, at=18)


def test_no_number_of_punts_brings_a_statement_back(told: Watched) -> None:
    track = told.track()
    stated = track.lines & 0xFFFF
    track.lines = track.lines & ~0xFFFF | (stated - 2) & 0xFFFF  # 65534 punts later
    told.rig.gateway.tracks.put(told.key, track)
    for unfinished in (b"N", b"NO", b"NOO"):
        assert not say(told, unfinished)
    assert told.track().lines & 0xFFFF == stated + 2
    assert not say(told, NOOP)


@pytest.mark.parametrize(
    "line",
    [
        b"PASV\r\n", b"PORT 10,0,0,2,4,1\r\n", b"NOOP\n", b"NOOP", b"NOOP\r\nNOOP\r\n", b"NOOPS\r\n", b" NOOP\r\n",
        b"CWD\t/\r\n", b"CWD \xff\xf4\r\n", b"CWD \0\r\n", b"CWD a\rb\r\n", b"CWDX\r\n", b"\r\n", b"200 x\r\n",
        b"A\r\n", b"CWD a\x1fb\r\n", b"CWD \x7f\r\n",
        b"CWD " + b"a" * 260 + b"\r\n", b"CWD " + b"a" * 250 + b"\n\n", b"NOOP\n\r\n",
    ],
)  # fmt: skip
def test_anything_else_is_punted_with_the_account(told: Watched, line: bytes) -> None:
    assert say(told, NOOP)
    told.rig.taken()
    assert not say(told, line, at=6)
    ((punt, _),) = told.rig.taken()
    assert punt.lines == told.track().lines and part(punt.lines, abi.LINES_COMMANDS, 7) == 1


def test_the_longest_line(told: Watched) -> None:
    line = b"CWD " + b"a" * (abi.LINE_MAX - 6) + b"\r\n"
    assert len(line) == abi.LINE_MAX and say(told, line)
    assert not say(told, line.replace(b"\r", b"a\r"), at=len(line))


@pytest.mark.parametrize("flags", ["PAF", "PAU", "P", "RA"])
def test_flags_that_mean_more(told: Watched, flags: str) -> None:
    out = told.send(OUT, told.frame(OUT, NOOP, flags))
    assert not out.counts.get("LINES_PASSED")


def test_after_a_punt_nothing_passes_until_the_helper_speaks(told: Watched) -> None:
    assert not say(told, b"PASV\r\n")
    assert not say(told, NOOP)
    state(told)
    assert say(told, NOOP)


def test_without_a_statement_nothing_passes(rig: Rig) -> None:
    session = watch(rig)
    assert not say(session, NOOP)
    session.adjust()
    assert not say(session, b"HELP\r\n")


def test_words_of_another_interest(told: Watched) -> None:
    state(told, interest=INTEREST + 1)
    assert not say(told, NOOP)


def test_a_wrong_sum_is_the_helpers_business(told: Watched) -> None:
    frame = bytearray(told.frame(OUT, NOOP))
    frame[-3] ^= 0x20
    assert not passes(told.send(OUT, bytes(frame)))


def test_a_sum_left_to_the_device(told: Watched) -> None:
    frame = bytearray(told.frame(OUT, NOOP))
    source, size = frame[26:34], len(frame) - 34
    total = sum(int.from_bytes(source[i : i + 2], "big") for i in range(0, 8, 2)) + 6 + size
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    frame[50:52] = total.to_bytes(2, "big")
    assert passes(told.send(OUT, bytes(frame)))


def test_a_repetition_meets_the_decision_that_the_line_left(told: Watched) -> None:
    assert say(told, NOOP)
    again = told.send(OUT, told.frame(OUT, NOOP))
    assert again.action == REDIRECT and again.counts["DECISIONS_PASS"] == 1
    key = abi.DecisionKey(id=told.id, seq=FIRST[OUT], size=6, dir=OUT)
    assert told.rig.gateway.decisions[key].digest == digest(SECRET, NOOP)
    other = told.send(OUT, told.frame(OUT, b"NOOB\r\n"))
    assert other.action == SHOT and other.drops == {"punt-held": 1}


def test_two_unacknowledged_lines_a_direction_and_no_more(told: Watched) -> None:
    assert say(told, NOOP) and say(told, NOOP, at=6)
    assert not say(told, NOOP, at=12), "its repetition could not be told from something else"


def test_acknowledged_lines_make_room_and_leave_nothing(told: Watched) -> None:
    at = 0
    for number in range(6):
        assert say(told, NOOP, at=at)
        at += 6
        frame = told.frame(IN, REPLY, at=number * len(REPLY), ack=FIRST[OUT] + at)
        assert passes(told.send(IN, frame))
        ack = told.frame(OUT, b"", "A", at=at, ack=FIRST[IN] + (number + 1) * len(REPLY))
        assert told.send(OUT, ack).action == REDIRECT
    assert len(list(told.rig.gateway.decisions.items())) <= 4


def test_a_fin_right_behind_a_line_does_not_wait(told: Watched) -> None:
    assert say(told, NOOP)
    assert told.send(OUT, told.frame(OUT, b"", "FA", at=6)).action == REDIRECT


def test_a_dead_helper_lets_nothing_pass(told: Watched) -> None:
    told.rig.gateway.heartbeat.put(0, 1)
    out = told.send(OUT, told.frame(OUT, NOOP))
    assert out.action == SHOT and out.drops == {"helper-dead": 1}


def test_a_timestamp_older_than_one_seen_is_the_helpers_business(rig: Rig) -> None:
    """RFC 7323 section 5: the receiver would drop it, and a line that passes must arrive."""

    def stamp(value: int) -> list[tuple[str, object]]:
        return [("NOP", None), ("NOP", None), ("Timestamp", (value, 0))]

    session = tell(watch(rig, stamp(1000)))
    assert passes(session.send(OUT, session.frame(OUT, NOOP, options=stamp(1001))))
    assert not passes(session.send(OUT, session.frame(OUT, NOOP, at=6, options=stamp(900))))
    state(session, (6, 0))
    assert not passes(session.send(OUT, session.frame(OUT, NOOP, at=6))), "both ends agreed to timestamps"
    state(session, (6, 0))
    assert passes(session.send(OUT, session.frame(OUT, NOOP, at=6, options=stamp(1001))))


# -- a reply that agrees (agree.h) -------------------------------------------------------------------------------------


def expected(session: Watched, number: int = 99, control: int | None = None) -> abi.ExpectationKey:
    """A pending expectation, named by a record that says: 200 agrees to it."""
    key = abi.ExpectationKey(to_port=4000, proto=6, dir=IN)
    made = abi.Expectation(id=99, control_id=session.id if control is None else control)
    made.control_key, made.state = session.key, abi.ExpectationState.PENDING
    session.rig.gateway.expectations.put(key, made)
    word = abi.PassableKey(interest=INTEREST, reply=1)
    word.word[:4] = list(b"200\0")
    session.rig.gateway.passable.put(word, abi.Line.COPIED | abi.Line.AGREES)
    state(session, unanswered=1, more=abi.AdjustFlag.COPIES)
    record = session.rig.gateway.adjusts[session.key]
    record.agrees, record.agrees_key = number, key
    session.rig.gateway.adjusts.put(session.key, record)
    return key


def state_of(session: Watched, key: abi.ExpectationKey) -> int:
    return int(session.rig.gateway.expectations[key].state)


def test_the_reply_that_agrees_opens_what_the_record_names(told: Watched) -> None:
    """And what follows is copied no more for its sake; nobody is woken for it."""
    key = expected(told)
    wakes(told)
    assert told.send(IN, told.frame(IN, REPLY)).counts["LINES_COPIED"] == 1
    assert state_of(told, key) == abi.ExpectationState.OPEN and told.track().agreed == 99
    assert not wakes(told) and len(told.rig.taken()) == 1
    assert say(told, NOOP) and told.rig.taken() == []
    copied(told, LIST, at=6)
    acknowledge(told, 12)
    assert say(told, NOOP, at=12)


@pytest.mark.parametrize(("line", "side"), [(NOOP, OUT), (b"220 hello\r\n", IN)])
def test_a_reply_agrees_only_as_the_very_next_line(told: Watched, line: bytes, side: abi.Direction) -> None:
    key = expected(told)
    copied(told, line, side)
    copied(told, REPLY, IN, at=len(line) if side == IN else 0)
    assert state_of(told, key) == abi.ExpectationState.PENDING and told.track().agreed == 0


def test_another_reply_agrees_to_nothing(told: Watched) -> None:
    key = expected(told)
    copied(told, b"220 hello\r\n", IN)
    assert state_of(told, key) == abi.ExpectationState.PENDING and told.track().agreed == 0


@pytest.mark.parametrize(("number", "control"), [(98, None), (99, 5)])
def test_a_reply_opens_nothing_of_anothers(told: Watched, number: int, control: int | None) -> None:
    """A row that has another expectation by now, or belongs to another session."""
    key = expected(told, number, control)
    assert told.send(IN, told.frame(IN, REPLY)).counts["LINES_COPIED"] == 1
    assert state_of(told, key) == abi.ExpectationState.PENDING


def test_a_reply_opens_nothing_again(told: Watched) -> None:
    key = expected(told)
    row = told.rig.gateway.expectations[key]
    row.state = abi.ExpectationState.USED
    told.rig.gateway.expectations.put(key, row)
    assert told.send(IN, told.frame(IN, REPLY)).counts["LINES_COPIED"] == 1
    assert state_of(told, key) == abi.ExpectationState.USED


@pytest.mark.usefixtures("one_cpu")
def test_a_reply_that_the_ring_has_no_room_for_opens_nothing(told: Watched) -> None:
    fill(told)
    key = expected(told)
    assert told.send(IN, told.frame(IN, REPLY)).drops == {"punt-lost": 1}
    assert state_of(told, key) == abi.ExpectationState.PENDING and told.track().agreed == 0
