"""Addresses that go and come back."""

from __future__ import annotations

from algate.cli.lab.lab import ip
from tests.faults.bed import Bed, Incident
from tests.faults.fault import fault

BACK = "addr add 198.51.100.2/24 dev wan0\nroute add default via 198.51.100.1"


@fault("the WAN's address is removed, and given again at once")
def test_the_wan_address(bed: Bed, incident: Incident) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: ip("addr del 198.51.100.2/24 dev wan0", bed.lab.gw.netns))
        wanted = "not translating: wan0 has no IPv4 address"
        incident.noticed(f"`{wanted}`, `/health` 503", lambda: bed.state == wanted)
        assert bed.health() == (503, wanted)
        ip(BACK, bed.lab.gw.netns)
        incident.mended(lambda: bed.translating)
        incident.spared(traffic)
