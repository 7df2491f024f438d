"""What the gateway says of itself while something is amiss."""

from __future__ import annotations

from algate.alg.audit.families import HOST
from algate.alg.daemon.losses import FENCED, KINDS, Losses
from algate.alg.gateway.host import Trouble, Weight


def test_the_metrics_have_every_kind() -> None:
    assert KINDS == HOST


def test_what_weighs_most_is_said() -> None:
    one = Losses()
    assert one.state() == "translating"
    one.amiss["rp"] = Trouble("rp_filter", "rp_filter is strict", "", Weight.TOLD)
    assert one.state() == "translating"
    one.amiss["pins"] = Trouble("pins", "pins are gone", "", Weight.RISK)
    assert one.state() == "translating, but pins are gone"
    one.amiss["link"] = Trouble("link", "wan0 is down", "")
    assert one.state() == "not translating: wan0 is down"
    one.problem = "no device wan0"
    assert one.state() == "not translating: no device wan0"
    assert one.now() == {"rp_filter": 1, "pins": 1, "link": 1}


def test_a_renamed_device_is_not_a_missing_one() -> None:
    one = Losses(problem="no device wan0")
    one.amiss["wan0"] = Trouble("renamed", "wan0 is called other now", "", Weight.RISK)
    assert one.state() == "translating, but wan0 is called other now"


def test_who_has_the_address_and_doesnt_lead_says_so() -> None:
    one = Losses()
    one.fence(True)
    assert one.state() == f"translating, but {FENCED}" and one.now()["pair"] == 1
    one.fence(False)
    assert one.state() == "translating" and not one.amiss
