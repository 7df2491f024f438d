"""Two checkouts beside each other: what both measured, by the medians of all turns."""

from __future__ import annotations

import pytest

from tests.bpf.beside import compare

pytestmark = pytest.mark.unit
OUT, IN = ("testrun.udp.out", "algate-tc"), ("testrun.udp.in", "algate-tc")


def test_what_both_have_by_medians() -> None:
    there = [{OUT: 100.0, IN: 1.0}, {OUT: 900.0}, {OUT: 110.0}]
    here = [{OUT: 121.0, IN: 1.0}, {OUT: 119.0}, {OUT: 130.0}]
    assert compare(there, here) == [(OUT, 110.0, 121.0)]
