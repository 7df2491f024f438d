"""`capture`: which sessions can be recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.admin.capture import need_ipv4
from algate.alg.errors import AlgateError
from tests.fake_daemon import SESSIONS

pytestmark = pytest.mark.unit


def test_sessions_of_ipv6_are_refused_in_one_line() -> None:
    need_ipv4(SESSIONS[0])
    inside, outside = "[2001:db8:1::5]:40000", "[2001:db8:9::2]:21"
    for row in (replace(SESSIONS[0], inside=inside), replace(SESSIONS[0], outside=outside)):
        with pytest.raises(AlgateError, match="is a session of IPv6"):
            need_ipv4(row)
