"""FTP-7 to FTP-11: what a server's 227 and 229 may look like."""

from __future__ import annotations

import pytest

from tests.cases.bed import Bed
from tests.cases.case import case
from tests.cases.dialogue import INSIDE, dialogue, six

PORT = 5001
WORDINGS = {
    "bare": (b"227 Entering Passive Mode ", b"\r\n"),
    "equals": (b"227 Entering Passive Mode =", b"\r\n"),
    "brackets": (b"227 Entering Passive Mode [", b"]\r\n"),
    "dot": (b"227 Entering Passive Mode (", b").\r\n"),
    "other words": (b"227 ok, connect to <", b"> now\r\n"),
    "none": (b"227 ", b"\r\n"),
}


@pytest.mark.parametrize("wording", WORDINGS)
@case(7, "a 227 without parentheses, with =, [ ], a trailing dot, other words: only its six numbers are rewritten")
def test_ftp_07_227_without_parentheses(bed: Bed, wording: str) -> None:
    before, after = WORDINGS[wording]
    with dialogue(bed, "server") as d:
        d.command(b"PASV\r\n")
        d.server.say(before + six(INSIDE, PORT) + after)
        public = d.told(d.client, before, after)
        d.comes_in(public, PORT)
        d.alive()
        d.nothing_private()
