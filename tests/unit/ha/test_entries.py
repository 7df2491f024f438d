"""Messages between gateways: whole or refused, and a log that begins anew replaces what stood only at its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.ha.entries import Authorship, Entry, EntryError, EntryKind, begin, number, pack, pages, unpack
from algate.alg.ha.standby import Standby

ENTRIES = st.builds(Entry, st.sampled_from(EntryKind), st.binary(max_size=20), st.none() | st.binary(max_size=300))
AUTHOR = Authorship("a", "layout", "boot", 12, 3.5)
END = Entry(EntryKind.END, b"")


@given(st.lists(ENTRIES, max_size=8), st.integers(20, 400))
def test_entries_come_back_in_pages_of_a_size(entries: list[Entry], most: int) -> None:
    groups = list(pages(entries, most))
    assert [one for group in groups for one in unpack(pack(group))] == entries
    assert all(len(pack(group)) <= most or len(group) == 1 for group in groups)


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.data())
def test_a_message_that_was_cut_is_refused_or_shorter(entries: list[Entry], data: st.DataObject) -> None:
    whole = pack(entries)
    try:
        found = unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])
    except EntryError:
        return
    assert found == entries[: len(found)] and len(found) < len(entries)


def told(session: int, value: bytes | None = b"raw") -> Entry:
    return Entry(EntryKind.SESSION, number(session), value)


def test_what_was_known_stands_until_the_new_log_has_told_everything() -> None:
    held = Standby()
    held.take([told(1)])
    first = held.kept
    assert first is None
    held.take([begin(AUTHOR), told(1), told(2), END, told(3)])
    assert held.kept is not None and set(held.kept.sessions) == {1, 2, 3}
    held.take([begin(AUTHOR._replace(node="b")), told(3), told(2, None)])
    assert set(held.kept.sessions) == {1, 3}
    held.take([END])
    assert set(held.kept.sessions) == {3} and held.kept.beginning.node == "b"


def test_with_a_session_goes_what_belongs_to_it() -> None:
    held = Standby()
    things = [Entry(EntryKind.ADJUST, number(1), b"a"), Entry(EntryKind.TRACK, number(1), b"t"),
              Entry(EntryKind.HELD, number(1) + b"\1", b"h"), Entry(EntryKind.PARENT, number(1), number(9)),
              Entry(EntryKind.EXPECTATION, number(5), number(1) + b"x")]  # fmt: skip
    held.take([begin(AUTHOR), told(1), told(2), *things, Entry(EntryKind.ADJUST, number(2), b"b"), END])
    held.take([told(1, None)])
    kept = held.kept
    assert kept is not None
    assert set(kept.sessions) == set(kept.adjusts) == {2}
    assert not kept.tracks and not kept.held and not kept.expectations and not kept.parents


def test_another_versions_log_is_refused_and_what_stood_stands() -> None:
    held = Standby()
    held.take([begin(AUTHOR), told(1), END])
    with pytest.raises(EntryError, match="another version"):
        held.take([begin(AUTHOR)._replace(key=b"\2")])
    with pytest.raises(EntryError):
        unpack(b"\xff" + pack([told(1)])[1:])
    assert held.kept is not None and set(held.kept.sessions) == {1}
