"""What a pair's metrics say, on the node that leads and on the one that stands by."""

from __future__ import annotations

import urllib.error
import urllib.request
from ipaddress import IPv4Address

import pytest

from algate.alg.answers import HaAnswer
from algate.alg.audit.metrics import Metrics
from algate.alg.audit.pair import PairFamilies
from algate.alg.plugin.model import EndPoint
from tests.fake_daemon import HA
from tests.unit.ha.engines import free_port

pytestmark = pytest.mark.unit
STANDS_BY: HaAnswer = {**HA, "role": "stands by", "fenced": True, "epoch": None, "state": "loading the programs"}


def told(answer: HaAnswer) -> tuple[PairFamilies, Metrics]:
    families = PairFamilies(lambda: answer)
    page = Metrics(None, lambda: (False, "standing by"))
    page.registry.register(families)
    return families, page


def test_a_leading_node_tells_its_commits_and_failures() -> None:
    families, page = told(HA)
    families.commit.observe(0.0004)
    families.lag.observe(0.28)
    stats = page.stats()
    assert (stats["algate_ha_leads"], stats["algate_ha_in_step"], stats["algate_ha_fenced"]) == (1, 1, 0)
    assert (stats["algate_ha_epoch"], stats["algate_ha_sessions"], stats["algate_ha_resyncs_total"]) == (3, 12, 1)
    assert stats['algate_ha_failures_total{reason="slow"}'] == 2
    assert stats['algate_ha_commit_seconds_bucket{le="0.00025"}'] == 0
    assert stats['algate_ha_commit_seconds_bucket{le="0.0005"}'] == 1
    assert stats['algate_ha_bulk_lag_seconds_bucket{le="0.3"}'] == 1


def test_a_standby_has_a_page_and_its_health_says_that_it_translates_nothing() -> None:
    _, page = told(STANDS_BY)
    where = EndPoint(IPv4Address("127.0.0.1"), free_port())
    page.listen(where)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        text = opener.open(f"http://{where}/metrics", timeout=5).read().decode()
        assert "algate_ha_leads 0.0" in text and "algate_ha_in_step 0.0" in text and "algate_ha_fenced 1.0" in text
        assert "algate_packets" not in text
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(f"http://{where}/health", timeout=5)
        assert refused.value.code == 503 and refused.value.read() == b"standing by\n"
    finally:
        page.close()
