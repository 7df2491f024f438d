"""A real Prometheus scrapes the gateway and answers queries."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards
from tests.netns.talk import data, talking, until

RULES = Path(__file__).parents[2] / "deploy" / "prometheus.rules.yml"
API = "http://127.0.0.1:9090/api/v1/"
NEEDED = {
    "algate_sessions",
    "algate_packets_total",
    "algate_bytes_total",
    "algate_drops_total",
    "algate_punts_total",
    "algate_punts_lost_total",
    "algate_decision_seconds_bucket",
    "algate_decision_seconds_count",
    "algate_control_session_seconds_bucket",
    "algate_expectations_total",
    "algate_sessions_created_total",
    "algate_port_tries_bucket",
    "algate_alg_segments_total",
    "algate_held_total",
    "algate_build_info",
    "algate_translating",
    "algate_sessions_limit",
    "algate_mappings_limit",
    "algate_control_sessions_limit",
    "algate_live_expectations",
    "algate_ports_used",
    "algate_ports_free",
    "algate_ports_limit",
    "algate_port_blocks",
    "algate_port_blocks_limit",
}


def get(host: Host, url: str) -> str:
    """A page, fetched inside the host's namespace; OSError if that fails."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def read() -> str:
        with opener.open(url, timeout=10) as answer:
            return str(answer.read().decode())

    return call_in(host.netns, read)


def ask(host: Host, what: str, **parameters: str) -> Any:
    """The data of a Prometheus answer; None while it isn't there yet."""
    try:
        answer = json.loads(get(host, f"{API}{what}?{urllib.parse.urlencode(parameters)}"))
    except OSError:
        return None
    assert answer["status"] == "success"
    return answer["data"]


def logging(lab: Lab) -> AlgateGateway:
    """One with port blocks, and with a log: what a log lacks has a series for each sink."""
    log = lab.folder / "translations.log"
    return AlgateGateway(
        lab, forwards(lab), config=f'[nat]\nport_block = 512\n[log]\nlevel = "blocks"\nfile = "{log}"\n'
    )


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    """A gateway that has done some work, scraped by a Prometheus next to it."""
    assert shutil.which("prometheus"), "prometheus is missing: `deploy/dev.sh setup test` installs it"
    with Lab() as lab, logging(lab) as made:
        server = start_server("vsftpd", lab.server)
        (server.pub / "file").write_bytes(b"content")
        with talking(lab.client, lab.plan.servers[0], server.login) as talker:
            for mode in Mode:
                assert talker.fetch("pub/file", mode) == b"content"
        server.stop()
        config = lab.folder / "prometheus.yml"
        config.write_text(f"""
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: algate
    static_configs: [{{ targets: ["127.0.0.1:1025"] }}]
""")
        storage = f"--storage.tsdb.path={lab.folder / 'tsdb'}"
        argv = ["prometheus", f"--config.file={config}", storage, "--web.listen-address=127.0.0.1:9090"]
        process = lab.gw.spawn("prometheus", argv)
        assert lab.gw.wait_port(9090, 60, process.alive), process.tail(10)
        yield made
        process.stop()


def value(gateway: AlgateGateway, query: str) -> float | None:
    """The single value of a query, None while there is none."""
    found = ask(gateway.lab.gw, "query", query=query)
    return float(found["result"][0]["value"][1]) if found and found["result"] else None


def test_prometheus_scrapes_it(gateway: AlgateGateway) -> None:
    until(lambda: value(gateway, 'up{job="algate"}') == 1, 60)
    names = set(ask(gateway.lab.gw, "label/__name__/values"))
    assert names >= NEEDED
    stats = data(gateway, "stats")
    for name in ("algate_sessions_created_total", 'algate_expectations_total{outcome="made"}', "algate_punts_total"):
        until(lambda name=name: value(gateway, name) == data(gateway, "stats")[name], 30)  # type: ignore[misc]
    assert stats["algate_sessions_created_total"] == 5
    assert stats['algate_expectations_total{outcome="used"}'] >= 2
    assert (value(gateway, "histogram_quantile(0.5, algate_decision_seconds_bucket)") or 0) > 0
    reasons = ask(gateway.lab.gw, "query", query='{__name__="algate_drops_total"}')["result"]
    assert len({one["metric"]["reason"] for one in reasons}) > 10, "every reason has a series, hit or not"


def test_the_rules_that_we_ship_evaluate(gateway: AlgateGateway) -> None:
    """No rule is broken, and none names a metric that doesn't exist."""

    def rules() -> list[dict[str, Any]]:
        groups = ask(gateway.lab.gw, "rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] != "unknown" for rule in found) else []

    found = until(rules, 60)
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []
    known = set(ask(gateway.lab.gw, "label/__name__/values"))
    for rule in found:
        words = rule["query"].replace("(", " ").replace(")", " ").replace("[", " ").replace("{", " ").split()
        named = {word for word in words if word.startswith("algate_") and not word.startswith("algate_ha_")}
        assert named <= known, rule["query"]  # a gateway alone has none of a pair's: those know test_deploy.py


def test_promtool_likes_the_page_and_probes_are_answered(gateway: AlgateGateway) -> None:
    base = "http://127.0.0.1:1025"
    page = get(gateway.lab.gw, f"{base}/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert get(gateway.lab.gw, f"{base}/healthz") == "alive\n"
    assert get(gateway.lab.gw, f"{base}/readyz") == get(gateway.lab.gw, f"{base}/health") == "translating\n"


def test_fills_are_what_there_is(gateway: AlgateGateway) -> None:
    server = start_server("vsftpd", gateway.lab.server)
    with talking(gateway.lab.client, gateway.lab.plan.servers[0], server.login):
        stats = data(gateway, "stats")
        labels = f'{{address="{gateway.lab.plan.public[0]}",proto="tcp"}}'
        assert stats["algate_control_sessions"] == data(gateway, "status")["control_sessions"] >= 1
        assert stats["algate_mappings"] >= 1
        assert stats["algate_sessions_limit"] == data(gateway, "status")["max_sessions"]
        used, free, most = (stats[f"algate_ports_{what}{labels}"] for what in ("used", "free", "limit"))
        assert 1 <= used <= 10 and most - 100 <= used + free <= most
        assert not [name for name in stats if "host=" in name], "no series for hosts unless asked for"
    server.stop()


def test_metrics_can_be_elsewhere_or_off() -> None:
    with Lab() as lab:
        with AlgateGateway(lab, config='[metrics]\nlisten = "127.0.0.1:2025"\n'):
            page = get(lab.gw, "http://127.0.0.1:2025/metrics")
            assert "algate_packets_total" in page
        with AlgateGateway(lab, config='[metrics]\nlisten = ""\n'), pytest.raises(urllib.error.URLError):
            get(lab.gw, "http://127.0.0.1:1025/metrics")
