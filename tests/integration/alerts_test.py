#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with our scrape file, rules and alerts watches the three
processes: exemplars arrive, and when the worker, Redis, the collector of traces,
PostgreSQL and the storage (with --full) are killed their alerts fire, and
fall silent after the return. Only the waiting times and the five minutes' rates
are shortened. Exit status 77: something cannot be had here."""
import json
import pathlib
import re
import shutil
import sys
import time
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from cluster import OPENER, ROOT, Child, Cluster, Missing, free_port  # noqa: E402
import otel_collector  # noqa: E402
import promql  # noqa: E402
from promtool import scrape  # noqa: E402

FULL = "--full" in sys.argv
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RULES = ROOT / "deploy" / "prometheus"


def wait(what, seconds, check):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = check()
        if value:
            return value
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds} s for {what}")


class Prometheus:
    def __init__(self, folder, targets):
        text = (RULES / "prometheus.yml").read_text()
        for service, port in targets.items():
            text, count = re.subn(rf'(job_name: {service}\n.*\n.*\n +- targets: )\[.*\]',
                                  rf'\1["127.0.0.1:{port}"]', text)
            assert count == 1, service
        text = text.replace("15s", "1s")
        (folder / "prometheus.yml").write_text(text)
        for name in ("rules.yml", "alerts.yml"):
            text = (RULES / name).read_text()
            text = re.sub(r"for: \w+", "for: 2s", text).replace("[5m]", "[15s]")
            (folder / name).write_text(text)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/api/v1/"
        self.child = Child("prometheus", [
            shutil.which("prometheus"), f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage"], port, folder)
        wait("Prometheus", 60, self._ready)

    def _ready(self):
        try:
            with OPENER.open(self.url.replace("api/v1/", "-/ready"), timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path, **words):
        with OPENER.open(self.url + path + "?" + urllib.parse.urlencode(words), timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expr):
        return self.get("query", query=expr)["result"]

    def firing(self, name, /, **labels):
        return [a for a in self.get("alerts")["alerts"]
                if a["state"] == "firing" and a["labels"]["alertname"] == name
                and labels.items() <= a["labels"].items()]


class Alerts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(XIN_VITALS_MS="500")
        cls.addClassCleanup(cls.cluster.close)
        try:
            cls.collector = otel_collector.Collector(cls.cluster.folder)
            cls.cluster.children.append(cls.collector)
            cls.cluster.settings |= {"OTEL_EXPORTER_ENDPOINT": cls.collector.url,
                                     "OTEL_BSP_SCHEDULE_DELAY": "200",
                                     "OTEL_BSP_EXPORT_TIMEOUT": "1000"}
        except Missing as missing:
            cls.collector = str(missing)
        ports = {"xin-channel-gateway": free_port(), "xin-ingestion-worker": free_port()}
        cls.orchestrator = cls.cluster.role("orchestrator")
        cls.worker = cls.cluster.role(
            "worker", INGEST_METRICS_PORT=str(ports["xin-ingestion-worker"]))
        cls.gateway = cls.cluster.role(
            "gateway", XIN_ORCHESTRATOR_URL=cls.orchestrator.url,
            GATEWAY_METRICS_PORT=str(ports["xin-channel-gateway"]))
        ports["xin-orchestrator"] = cls.orchestrator.url.rsplit(":", 1)[1]
        cls.prometheus = Prometheus(cls.cluster.folder, ports)
        cls.addClassCleanup(cls.prometheus.child.kill)

    def fires_and_falls_silent(self, kill, back, name, /, **labels):
        self.assertEqual([], self.prometheus.firing(name, **labels))
        kill()
        alerts = wait(f"{name} {labels}", 60, lambda: self.prometheus.firing(name, **labels))
        self.assertIn("docs/alerts/" + name, alerts[0]["annotations"]["runbook_url"])
        self.assertIn("service", alerts[0]["labels"])
        back()
        wait(f"{name} to fall silent", 90, lambda: not self.prometheus.firing(name, **labels))

    def turn(self):
        status, said = self.orchestrator.ask(
            "POST", "/v1/brands/default/turns", {"message": "returns?", "user": {"id": "u"}},
            {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        self.assertEqual(200, status, said)

    def test_1_all_are_scraped_under_load_with_exemplars_34(self):
        up = wait("three targets", 30, lambda: len(self.prometheus.query("up == 1")) == 3)
        self.assertTrue(up)
        self.orchestrator.ready("default", "returns.md", "# Returns\n\nWithin 30 days.\n")
        until = time.monotonic() + 4
        while time.monotonic() < until:
            self.turn()
            time.sleep(0.02)  # below the limit of 600 a minute
        now = time.time()
        found = wait("exemplars", 20, lambda: self.prometheus.get(
            "query_exemplars", query="http_request_latency_seconds_bucket",
            start=now - 60, end=time.time()))
        self.assertIn(TRACE, json.dumps(found))
        self.assertEqual(3, len(self.prometheus.query("up == 1")))

    def test_2_the_error_spike_query_has_its_series_before_the_first_error_103(self):
        found = self.prometheus.query('http_requests_total{status_code="5xx"}')
        self.assertEqual({"xin-orchestrator", "xin-channel-gateway", "xin-ingestion-worker"},
                         {series["metric"]["service"] for series in found})

    def test_3_what_only_a_cluster_shows_is_shown(self):
        seen = {}
        for role in (self.orchestrator, self.worker):
            for name, labels in promql.exposed(scrape(role.url)[0]).items():
                seen.setdefault(name, set()).update(labels)
        table = promql.table()
        for name in ("xin_store_connections", "xin_store_round_trips_total",
                     "xin_vector_calls_total", "xin_storage_calls_total"):
            self.assertEqual(table[name], seen.get(name), name)

    def test_3b_the_gateway_alone_watches_its_orchestrator(self):
        self.assertIn('xin_dependency_up{name="orchestrator"} 1\n', scrape(self.gateway.url)[0])

    def test_4_a_killed_worker_is_told_33(self):
        self.fires_and_falls_silent(self.worker.kill, self.worker.start, "XinTargetDown",
                                    service="xin-ingestion-worker")

    def test_5_a_killed_redis_is_told_and_its_5xx_are_found_29_103(self):
        spike = 'http_requests_total{status_code="5xx",service="xin-orchestrator"} > 0'

        def kill():
            self.cluster.redis.kill()
            status, said = self.orchestrator.upload("default", "late.md", "# Late\n\nText.\n")
            self.assertEqual(503, status, said)
            found = wait("the error spike", 30, lambda: self.prometheus.query(spike))
            self.assertEqual("/v1/brands/{brand_id}/knowledge", found[0]["metric"]["route"])

        self.assertEqual([], self.prometheus.query(spike))
        self.fires_and_falls_silent(kill, self.cluster.redis.start,
                                    "XinDependencyDown", name="queue")

    def test_5b_a_killed_collector_is_told_and_serving_goes_on(self):
        """With --full it is away for over a minute."""
        if isinstance(self.collector, str):
            self.skipTest(self.collector)
        names = ("XinTracingFailing", "XinTracingDropping")
        service = {"service": "xin-orchestrator"}

        def firing():
            self.turn()
            return all(self.prometheus.firing(name, **service) for name in names)

        def silent():
            self.turn()
            return not any(self.prometheus.firing(name) for name in names)

        wait("quiet before", 60, silent)
        self.collector.kill()
        until = time.monotonic() + (65 if FULL else 0)
        wait(f"{names}", 60, firing)
        while time.monotonic() < until:
            self.turn()
            time.sleep(0.1)
        for name in names:
            page = self.prometheus.firing(name, **service)[0]["annotations"]["runbook_url"]
            self.assertIn("docs/alerts/" + name, page)
        self.assertEqual(200, self.orchestrator.ask("GET", "/health")[0])
        self.collector.start()
        wait("silence", 90, silent)
        for sentence in ("tracing export failing", "tracing export recovered"):
            said = [e for e in self.orchestrator.events() if e["event"] == sentence]
            self.assertEqual(1, len(said), sentence)

    def test_6_a_killed_postgresql_is_told(self):
        self.fires_and_falls_silent(self.cluster.postgres.kill, self.cluster.postgres.start,
                                    "XinDependencyDown", name="store")

    @unittest.skipUnless(FULL, "the long part: --full")
    def test_7_a_storage_that_is_away_is_told(self):
        self.fires_and_falls_silent(self.cluster.s3.kill, self.cluster.s3.start,
                                    "XinDependencyDown", name="objects")

    @unittest.skipUnless(FULL, "the long part: --full")
    def test_8_at_the_end_nothing_but_errors_of_the_outages_burns(self):
        wait("silence", 60, lambda: not self.prometheus.firing("XinDependencyDown"))
        self.assertFalse(self.prometheus.firing("XinTargetDown"))
        self.assertFalse(self.prometheus.firing("XinTargetAbsent"))


if __name__ == "__main__":
    try:
        if not shutil.which("prometheus"):
            raise Missing("no Prometheus here: install the package prometheus")
        Cluster().close()
    except Missing as missing:
        print(f"alerts_test: skipped: {missing}")
        sys.exit(77)
    unittest.main(verbosity=2, argv=[a for a in sys.argv if a != "--full"], warnings="ignore")
