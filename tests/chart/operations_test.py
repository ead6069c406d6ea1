#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scripts, migration, ways in, scaling and monitoring in the chart (numbers of
tests/checklist.md). Exit status 77: helm cannot be had here."""

import json
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import yaml  # noqa: E402
from chart import (  # noqa: E402
    CHART,
    FILES,
    ROOT,
    component,
    main,
    objects,
    of_kind,
    refusal,
    secret_refs,
    selected,
    yaml_blocks,
)

STAGING = CHART / "values-staging.yaml"
PRODUCTION = CHART / "values-production.yaml"
CI = CHART / "ci"


def name(part):
    return f"xin-platform-{part}"


def service_ports(service):
    return [p["port"] for p in service["spec"]["ports"]]


class Scripts(unittest.TestCase):
    KINDS = ("brands", "channels", "guardrails", "lib", "pipelines", "pipelines/steps")

    def sources(self, *words):
        template = of_kind(objects(*words), "Deployment")[name("orchestrator")]["spec"]["template"]
        volume = next(v for v in template["spec"]["volumes"] if v["name"] == "lua")
        return [s["configMap"] for s in volume["projected"]["sources"]]

    def test_every_script_of_the_repository_is_mounted_at_its_place(self):
        maps = of_kind(objects(), "ConfigMap")
        mounted = {
            i["path"]: maps[s["name"]]["data"][i["key"]] for s in self.sources() for i in s["items"]
        }
        wanted = {
            str(p.relative_to(ROOT / "lua")): p.read_text()
            for kind in self.KINDS
            for p in (ROOT / "lua" / kind).glob("*.lua")
            if not p.name.endswith("_spec.lua")
        }
        self.assertEqual(wanted, mounted)

    def test_one_config_map_for_each_kind_in_one_volume(self):
        self.assertEqual(
            [f"xin-platform-lua-{k.replace('/', '-')}" for k in self.KINDS],
            [s["name"] for s in self.sources()],
        )

    def test_a_changed_script_restarts_nobody(self):
        before = of_kind(objects(), "Deployment")
        after = of_kind(objects("--set", "lua.files.brands.alpha\\.lua=return {}"), "Deployment")
        self.assertEqual(before, after)
        maps = of_kind(objects("--set", "lua.files.brands.alpha\\.lua=return {}"), "ConfigMap")
        self.assertEqual("return {}", maps["xin-platform-lua-brands"]["data"]["alpha.lua"])

    def test_what_a_team_owns_is_never_written(self):
        found = objects(CI / "lua-existing-values.yaml")
        maps = of_kind(found, "ConfigMap")
        for mine in (
            "xin-platform-lua-brands",
            "acme-brands",
            "xin-platform-lua-guardrails",
            "acme-guardrails",
        ):
            self.assertNotIn(mine, maps)
        source = next(
            s for s in self.sources(CI / "lua-existing-values.yaml") if s["name"] == "acme-brands"
        )
        self.assertEqual(
            [
                {"key": "acme.lua", "path": "brands/acme.lua"},
                {"key": "default.lua", "path": "brands/default.lua"},
            ],
            source["items"],
        )
        self.assertIs(True, source["optional"])  # a key taken out holds nothing up

    def test_an_empty_text_takes_a_bundled_script_out(self):
        maps = of_kind(objects(CI / "all-on-values.yaml"), "ConfigMap")
        self.assertEqual(
            {"acme.lua", "alpha.lua", "default.lua"}, set(maps["xin-platform-lua-brands"]["data"])
        )

    def test_what_no_config_map_can_hold_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as big:
            big.write("-- " + "x" * (1 << 20))
            big.flush()
            why = refusal("--set-file", f"lua.files.brands.big\\.lua={big.name}")
        self.assertIn("the scripts in brands/ are", why)
        self.assertIn("1048576", why)
        self.assertIn("Big.lua", refusal("--set", "lua.files.brands.Big\\.lua=return"))

    def test_they_outlive_a_change_of_owner(self):
        for n, map_ in of_kind(objects(), "ConfigMap").items():
            kept = map_["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            self.assertEqual("keep" if "-lua-" in n else None, kept, n)


class Operations(unittest.TestCase):
    def test_the_migration_comes_first_and_needs_nothing_of_the_release(self):
        job = of_kind(objects(STAGING), "Job")[name("migrate")]
        self.assertEqual("pre-install,pre-upgrade", job["metadata"]["annotations"]["helm.sh/hook"])
        spec = job["spec"]["template"]["spec"]
        self.assertEqual(["migrate"], spec["containers"][0]["args"])
        self.assertNotIn("serviceAccountName", spec)
        self.assertFalse([s for s in spec["containers"][0]["envFrom"] if "configMapRef" in s])
        self.assertIn("xin-backend-secrets", secret_refs(job["spec"]["template"]))
        by_hand = of_kind(objects(CI / "secret-refs-values.yaml"), "Job")[name("migrate")]
        self.assertEqual(["legacy-database-owner"], secret_refs(by_hand["spec"]["template"]))
        self.assertFalse(of_kind(objects("--set", "migrate.enabled=false"), "Job"))

    def test_one_host_for_webhooks_and_api_with_tls(self):
        ingress = of_kind(objects(STAGING), "Ingress")["xin-platform"]["spec"]
        self.assertEqual(
            [{"hosts": ["xin.staging.example.com"], "secretName": "xin-platform-tls"}],
            ingress["tls"],
        )
        paths = {p["path"]: p["backend"]["service"] for p in ingress["rules"][0]["http"]["paths"]}
        self.assertEqual(
            {"name": name("channel-gateway"), "port": {"number": 8080}}, paths["/webchat"]
        )
        self.assertEqual({"name": name("orchestrator"), "port": {"number": 8000}}, paths["/"])
        production = of_kind(objects(PRODUCTION), "Ingress")["xin-platform"]["spec"]
        self.assertEqual(
            ["/webchat", "/v1"], [p["path"] for p in production["rules"][0]["http"]["paths"]]
        )
        self.assertIn("ingress.hosts is empty", refusal("--set", "ingress.enabled=true"))

    def test_a_route_leads_where_the_ingress_does(self):
        found = objects(CI / "all-on-values.yaml")
        rules = of_kind(found, "HTTPRoute")["xin-platform"]["spec"]["rules"]
        self.assertEqual(
            [(name("channel-gateway"), 8080), (name("orchestrator"), 8000)],
            [(r["backendRefs"][0]["name"], r["backendRefs"][0]["port"]) for r in rules],
        )
        listener = of_kind(found, "Gateway")["xin-platform"]["spec"]["listeners"][0]
        self.assertEqual(("HTTPS", "Terminate"), (listener["protocol"], listener["tls"]["mode"]))
        self.assertIn("parentRefs is empty", refusal("--set", "httpRoute.enabled=true"))

    def test_no_proxy_of_ours_takes_the_request_id_away_40(self):
        for values in FILES:
            for o in objects(values):
                if o["kind"] in ("Ingress", "HTTPRoute"):
                    self.assertNotRegex(
                        str(o).lower(), r"header|x-request-id|configuration-snippet"
                    )
        self.assertIn("X-Request-ID", (CHART / "README.md").read_text())

    def test_two_autoscalers_are_refused(self):
        why = refusal("--set", "worker.keda.enabled=true,worker.autoscaling.enabled=true")
        self.assertIn("worker: autoscaling and keda", why)

    def test_an_autoscaler_owns_the_replicas(self):
        found = objects(PRODUCTION)
        for n, d in of_kind(found, "Deployment").items():
            self.assertNotIn("replicas", d["spec"], n)
            scaler = (
                of_kind(found, "HorizontalPodAutoscaler").get(n)
                or of_kind(found, "ScaledObject")[n]
            )
            self.assertEqual(n, scaler["spec"]["scaleTargetRef"]["name"])

    def test_keda_reads_the_workers_own_queue(self):
        words = (
            "--set",
            "config.INGEST_REDIS_QUEUE_NAME=arq:other,worker.config.INGEST_REDIS_DB=3",
        )
        scaled = of_kind(objects(CI / "keda-values.yaml", *words), "ScaledObject")[
            name("ingestion-worker")
        ]["spec"]
        trigger = scaled["triggers"][0]
        self.assertEqual("redis", trigger["type"])  # asks the key's type: ZCARD of ARQ's sorted set
        self.assertEqual(
            {
                "hostFromEnv": "INGEST_REDIS_HOST",
                "portFromEnv": "INGEST_REDIS_PORT",
                "passwordFromEnv": "INGEST_REDIS_PASSWORD",
                "databaseIndex": "3",
                "listName": "arq:other",
                "listLength": "5",
            },
            trigger["metadata"],
        )
        self.assertEqual(0, scaled["minReplicaCount"])

    def test_a_budget_only_where_one_may_go(self):
        self.assertEqual(
            {name("channel-gateway"), name("orchestrator")},
            set(of_kind(objects(), "PodDisruptionBudget")),
        )
        self.assertEqual(
            {name("orchestrator")},
            set(of_kind(objects("--set", "gateway.replicas=1"), "PodDisruptionBudget")),
        )
        self.assertIn(
            name("ingestion-worker"),
            of_kind(objects(CI / "all-on-values.yaml"), "PodDisruptionBudget"),
        )
        for o in of_kind(objects(), "PodDisruptionBudget").values():
            self.assertEqual("AlwaysAllow", o["spec"]["unhealthyPodEvictionPolicy"])

    def test_policies_let_out_only_what_is_named(self):
        for p in of_kind(objects(STAGING), "NetworkPolicy").values():
            self.assertEqual(["Ingress", "Egress"], p["spec"]["policyTypes"])
            for rule in p["spec"]["egress"]:
                for peer in rule.get("to", []):
                    if "ipBlock" in peer:
                        self.assertTrue(peer["ipBlock"]["except"])
                        self.assertTrue(rule["ports"])
        gateway = of_kind(objects(STAGING), "NetworkPolicy")[name("channel-gateway")]
        self.assertNotIn(
            5432, [p["port"] for r in gateway["spec"]["egress"] for p in r.get("ports", [])]
        )
        self.assertNotIn(
            "egress",
            of_kind(objects(CI / "network-open-values.yaml"), "NetworkPolicy")[
                name("orchestrator")
            ]["spec"],
        )

    def test_every_exporter_is_scraped_once_at_its_port_32(self):
        found = objects(STAGING)
        services = of_kind(found, "Service").values()
        targets = []
        for monitor in of_kind(found, "ServiceMonitor").values():
            endpoint = monitor["spec"]["endpoints"][0]
            hit = [
                s
                for s in services
                if selected(monitor["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])
                and "xin.dev/service-alias" not in s["metadata"]["labels"]
            ]
            self.assertEqual(1, len(hit))
            targets += [
                (component(hit[0]), p["port"])
                for p in hit[0]["spec"]["ports"]
                if p["name"] == endpoint["port"]
            ]
            self.assertEqual("/metrics", endpoint["path"])
        for monitor in of_kind(found, "PodMonitor").values():
            endpoint = monitor["spec"]["podMetricsEndpoints"][0]
            for d in of_kind(found, "Deployment").values():
                template = d["spec"]["template"]
                if selected(
                    monitor["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]
                ):
                    targets += [
                        (component(d), p["containerPort"])
                        for p in template["spec"]["containers"][0]["ports"]
                        if p["name"] == endpoint["port"]
                    ]
        self.assertEqual(
            [("channel-gateway", 9102), ("ingestion-worker", 9103), ("orchestrator", 8000)],
            sorted(targets),
        )

    def test_targets_have_the_names_that_the_alerts_know_33(self):
        found = objects(STAGING)
        named = set()
        for kind, endpoints in (
            ("ServiceMonitor", "endpoints"),
            ("PodMonitor", "podMetricsEndpoints"),
        ):
            for monitor in of_kind(found, kind).values():
                labels = {
                    r["targetLabel"]: r["replacement"]
                    for r in monitor["spec"][endpoints][0]["relabelings"]
                }
                self.assertEqual(labels["job"], labels["service"])
                named.add(labels["job"])
        rules = of_kind(found, "PrometheusRule")["xin-platform-rules"]["spec"]["groups"]
        absent = next(
            r["expr"] for g in rules for r in g["rules"] if r.get("alert") == "XinTargetAbsent"
        )
        self.assertEqual(set(re.findall(r'job="([^"]+)"', absent)), named)

    def test_rules_and_dashboards_are_those_of_the_repository(self):
        found = objects(PRODUCTION)
        groups = of_kind(found, "PrometheusRule")["xin-platform-rules"]["spec"]["groups"]
        wanted = [
            g
            for n in ("rules", "alerts")
            for g in yaml.safe_load((ROOT / f"deploy/prometheus/{n}.yml").read_text())["groups"]
        ]
        for group in wanted:
            for rule in group["rules"]:
                if "annotations" in rule:
                    page = rule["annotations"]["runbook_url"]
                    self.assertTrue((ROOT / page).exists())
                    rule["annotations"]["runbook_url"] = (
                        "https://git.example.com/xin/blob/main/" + page
                    )
        self.assertEqual(wanted, groups)
        boards = {
            k: json.loads(v)
            for m in of_kind(found, "ConfigMap").values()
            if m["metadata"]["labels"].get("grafana_dashboard") == "1"
            for k, v in m["data"].items()
        }
        self.assertEqual(
            {
                f"xin-{p.name}": json.loads(p.read_text())
                for p in (ROOT / "deploy/grafana").glob("*.json")
            },
            boards,
        )

    def test_custom_kinds_follow_what_the_cluster_knows(self):
        on = ("--set", "serviceMonitor.enabled=true,renderMode=skipIfMissing")
        self.assertFalse(of_kind(objects(*on), "ServiceMonitor"))
        self.assertTrue(
            of_kind(
                objects(*on, "--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"),
                "ServiceMonitor",
            )
        )
        self.assertIn(
            "does not know monitoring.coreos.com/v1/ServiceMonitor",
            refusal("--set", "serviceMonitor.enabled=true,renderMode=failIfMissing"),
        )

    def test_helm_test_asks_each_service_as_the_smoke_script_does(self):
        found = objects(STAGING)
        asked = set(of_kind(found, "Pod")[name("test-health")]["spec"]["containers"][0]["args"])
        for s in of_kind(found, "Service").values():
            if "xin.dev/service-alias" in s["metadata"]["labels"]:
                continue
            for path in ("health", "metrics"):
                self.assertIn(f"http://{s['metadata']['name']}:{service_ports(s)[0]}/{path}", asked)
        for o in of_kind(found, "Pod").values():
            self.assertEqual("test", o["metadata"]["annotations"]["helm.sh/hook"])
            # no Service may take a test's pod for one of its own
            for s in of_kind(found, "Service").values():
                self.assertFalse(selected(s["spec"]["selector"], o["metadata"]["labels"]))

    def test_examples_of_the_readme_render(self):
        for block in yaml_blocks(CHART / "README.md"):
            if "kind" in block:
                continue
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
                yaml.safe_dump(block, values)
                self.assertTrue(objects("--values", values.name))


if __name__ == "__main__":
    main()
