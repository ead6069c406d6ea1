#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names, pods and settings that the chart renders (numbers of
tests/checklist.md). Exit status 77: helm cannot be had here."""

import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from chart import (  # noqa: E402
    CHART,
    COMPONENTS,
    FILES,
    ROOT,
    component,
    environment,
    main,
    objects,
    of_kind,
    pods,
    refusal,
    selected,
    settings_table,
)

LAPTOP = CHART / "values-laptop.yaml"
CI = CHART / "ci"


def name(part):
    return f"xin-platform-{part}"


def service_ports(service):
    return [p["port"] for p in service["spec"]["ports"]]


class Names(unittest.TestCase):
    def test_logs_of_the_deployment_by_its_name_65(self):
        deployments = of_kind(objects(), "Deployment")
        self.assertEqual({name(c) for c in COMPONENTS}, set(deployments))
        for deployment in deployments.values():  # kubectl logs needs no -c
            self.assertEqual(1, len(deployment["spec"]["template"]["spec"]["containers"]))

    def test_probe_pod_reaches_the_metrics_66(self):
        found = objects()
        service = of_kind(found, "Service")[name("orchestrator")]
        self.assertIn(8000, service_ports(service))
        template = of_kind(found, "Deployment")[name("orchestrator")]["spec"]["template"]
        self.assertTrue(selected(service["spec"]["selector"], template["metadata"]["labels"]))
        probe = {"run": "curl-metrics"}  # as kubectl run labels it
        policies = [
            p
            for p in of_kind(found, "NetworkPolicy").values()
            if selected(p["spec"]["podSelector"]["matchLabels"], template["metadata"]["labels"])
        ]
        self.assertTrue(policies)
        self.assertTrue(
            any(
                selected(peer["podSelector"].get("matchLabels", {}), probe)
                and {"protocol": "TCP", "port": 8000} in rule["ports"]
                for p in policies
                for rule in p["spec"]["ingress"]
                for peer in rule["from"]
                if "podSelector" in peer and "namespaceSelector" not in peer
            )
        )
        # and nothing holds the probe pod itself
        self.assertFalse(
            any(
                selected(p["spec"]["podSelector"]["matchLabels"], probe)
                for p in of_kind(found, "NetworkPolicy").values()
            )
        )

    def test_ports_are_those_of_the_runbook_19_20_22_24_31(self):
        services = of_kind(objects(), "Service")
        self.assertEqual([8000], service_ports(services[name("orchestrator")]))
        self.assertEqual([8080, 9102], service_ports(services[name("channel-gateway")]))
        self.assertEqual([9103], service_ports(services[name("ingestion-worker")]))
        self.assertEqual("None", services[name("ingestion-worker")]["spec"]["clusterIP"])
        defaults = settings_table()
        self.assertEqual(
            ("9102", "9103"),
            (defaults["GATEWAY_METRICS_PORT"][1], defaults["INGEST_METRICS_PORT"][1]),
        )

    def test_long_names_lead_to_the_same_pods_and_are_marked(self):
        services = of_kind(objects(), "Service")
        for c in COMPONENTS:
            short, long = services[name(c)], services[f"xin-platform-{name(c)}"]
            self.assertEqual(short["spec"], long["spec"])
            self.assertEqual("true", long["metadata"]["labels"].pop("xin.dev/service-alias"))
            self.assertEqual(short["metadata"]["labels"], long["metadata"]["labels"])
        self.assertEqual(
            3, len(of_kind(objects("--set", "compat.longServiceNames=false"), "Service"))
        )

    def test_the_long_style_gives_the_names_of_the_sample(self):
        found = objects(CI / "long-names-values.yaml")
        for kind in ("Deployment", "Service"):
            self.assertEqual(
                {f"xin-platform-{name(c)}" for c in COMPONENTS}, set(of_kind(found, kind))
            )

    def test_another_release_name_keeps_the_charts(self):
        self.assertIn(
            "shop-xin-platform-orchestrator", of_kind(objects(release="shop"), "Deployment")
        )

    def test_names_and_labels_stay_within_63_characters(self):
        for o in objects(CI / "all-on-values.yaml", release="r" * 53):
            self.assertLessEqual(len(o["metadata"]["name"]), 63)
            for label in o["metadata"].get("labels", {}).values():
                self.assertLessEqual(len(label), 63)
        names = set(of_kind(objects(release="r" * 53), "Deployment"))
        self.assertEqual(
            set(COMPONENTS), {c for c in COMPONENTS for n in names if n.endswith(f"-{c}")}
        )

    def test_the_recommended_labels_are_on_every_object(self):
        for o in objects(CI / "all-on-values.yaml"):
            if o["metadata"]["name"] == "xin-platform-extra":
                continue
            labels = o["metadata"]["labels"]
            for key in ("name", "instance", "component", "version", "part-of", "managed-by"):
                self.assertIn(f"app.kubernetes.io/{key}", labels, o["metadata"]["name"])
            self.assertEqual("xin-platform", labels["app.kubernetes.io/instance"])
            self.assertEqual("xin-staging", o["metadata"]["namespace"])

    def test_selectors_never_hold_a_version(self):
        for d in of_kind(objects(), "Deployment").values():
            self.assertEqual(
                {
                    "app.kubernetes.io/name",
                    "app.kubernetes.io/instance",
                    "app.kubernetes.io/component",
                },
                set(d["spec"]["selector"]["matchLabels"]),
            )


class Pods(unittest.TestCase):
    def every(self):
        for values in FILES:
            for where, template in pods(objects(values)).items():
                yield f"{values.name}: {where}", template["spec"]

    def test_every_pod_is_hardened(self):
        for where, spec in self.every():
            with self.subTest(where):
                self.assertIs(False, spec["automountServiceAccountToken"])
                self.assertIs(False, spec["enableServiceLinks"])
                self.assertIs(True, spec["securityContext"]["runAsNonRoot"])
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(
                    "RuntimeDefault", spec["securityContext"]["seccompProfile"]["type"]
                )
                for container in spec["containers"]:
                    context = container["securityContext"]
                    self.assertIs(False, context["allowPrivilegeEscalation"])
                    self.assertIs(True, context["readOnlyRootFilesystem"])
                    self.assertEqual(["ALL"], context["capabilities"]["drop"])

    def test_probes_ask_paths_that_every_port_serves(self):
        served = set(
            re.findall(
                r'HTTP_M_GET, "(/health[^"]*)"', (ROOT / "src/domain/service_api.c").read_text()
            )
        )
        for d in of_kind(objects(), "Deployment").values():
            container = d["spec"]["template"]["spec"]["containers"][0]
            paths = {
                probe: container[probe]["httpGet"]["path"]
                for probe in ("startupProbe", "livenessProbe", "readinessProbe")
            }
            self.assertLessEqual(set(paths.values()), served)
            self.assertEqual("/health", paths["readinessProbe"])
            self.assertNotEqual(
                "/health", paths["livenessProbe"]
            )  # a back end away restarts nobody
            port = container["readinessProbe"]["httpGet"]["port"]
            self.assertEqual(port, container["ports"][0]["name"])

    def test_the_grace_time_holds_the_drain(self):
        found = objects("--set", "worker.drainSeconds=120,worker.drainDelaySeconds=7")
        for n, d in of_kind(found, "Deployment").items():
            spec = d["spec"]["template"]["spec"]
            env = environment(d["spec"]["template"], found)
            drain = (int(env["XIN_DRAIN_DELAY_MS"]) + int(env["XIN_DRAIN_MS"])) / 1000
            self.assertGreater(int(env["XIN_DRAIN_DELAY_MS"]), 0)  # endpoints go away meanwhile
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], drain + 5, n)
        self.assertEqual(
            137,
            of_kind(found, "Deployment")[name("ingestion-worker")]["spec"]["template"]["spec"][
                "terminationGracePeriodSeconds"
            ],
        )

    def test_nothing_in_a_pod_needs_a_shell(self):
        for where, spec in self.every():
            if "test-" in where:
                continue  # those run an image with curl
            for container in spec["containers"]:
                self.assertNotIn("command", container, where)
                self.assertNotIn("lifecycle", container, where)

    def test_no_rollout_without_a_ready_replacement(self):
        for d in of_kind(objects(), "Deployment").values():
            self.assertEqual(
                {"maxUnavailable": 0, "maxSurge": 1}, d["spec"]["strategy"]["rollingUpdate"]
            )

    def test_replicas_spread_over_hosts_and_zones(self):
        for d in of_kind(objects(), "Deployment").values():
            spread = d["spec"]["template"]["spec"]["topologySpreadConstraints"]
            self.assertEqual(
                ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
                [s["topologyKey"] for s in spread],
            )
            for s in spread:
                self.assertEqual(
                    d["spec"]["selector"]["matchLabels"], s["labelSelector"]["matchLabels"]
                )

    def test_a_digest_wins_over_the_tag(self):
        digest = "sha256:" + "a" * 64
        for template in pods(
            objects(
                "--set-string", f"image.digest={digest},image.tag=1,image.registry=r.example.com"
            )
        ).values():
            image = template["spec"]["containers"][0]["image"]
            self.assertIn(image, (f"r.example.com/xin@{digest}", "curlimages/curl:8.5.0"))

    def test_every_pod_writes_only_where_a_volume_is(self):
        for n, d in of_kind(objects(), "Deployment").items():
            mounts = {
                m["mountPath"]: m
                for m in d["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
            }
            env = environment(d["spec"]["template"], objects())
            self.assertIn(env["XIN_DATA_DIR"], mounts, n)
            self.assertIs(True, mounts[env["XIN_LUA_DIR"]]["readOnly"])
            self.assertTrue(all("subPath" not in m for m in mounts.values()))  # those never update

    def test_one_pod_holds_everything_in_mode_serve(self):
        found = objects(LAPTOP)
        deployments = of_kind(found, "Deployment")
        self.assertEqual([name("all-in-one")], list(deployments))
        d = deployments[name("all-in-one")]
        self.assertEqual("Recreate", d["spec"]["strategy"]["type"])
        self.assertEqual(
            {8000, 8080, 9102, 9103},
            {p["containerPort"] for p in d["spec"]["template"]["spec"]["containers"][0]["ports"]},
        )
        for service in of_kind(found, "Service").values():
            self.assertTrue(
                selected(service["spec"]["selector"], d["spec"]["template"]["metadata"]["labels"])
            )
        self.assertFalse(of_kind(found, "Job"))
        self.assertIn(name("data"), of_kind(found, "PersistentVolumeClaim"))


class Settings(unittest.TestCase):
    def test_a_changed_setting_restarts_its_component_alone(self):
        def sums(*words):
            return {
                n: d["spec"]["template"]["metadata"]["annotations"]["checksum/env"]
                for n, d in of_kind(objects(*words), "Deployment").items()
            }

        before, after = sums(), sums("--set", "gateway.config.XIN_LOG_LEVEL=debug")
        self.assertEqual({name("channel-gateway")}, {n for n in before if before[n] != after[n]})

    def test_a_component_overrules_what_holds_for_all(self):
        found = objects(
            "--set", "config.XIN_LOOPS=3,worker.config.XIN_LOOPS=5,config.XIN_LOG_LEVEL=error"
        )
        env = {
            component(d): environment(d["spec"]["template"], found)
            for d in of_kind(found, "Deployment").values()
        }
        self.assertEqual("5", env["ingestion-worker"]["XIN_LOOPS"])
        self.assertEqual("error", env["orchestrator"]["XIN_LOG_LEVEL"])

    def test_large_numbers_are_written_out(self):
        env = environment(*self.one("--set", "config.XIN_SPOOL_BYTES=8589934592"))
        self.assertEqual("8589934592", env["XIN_SPOOL_BYTES"])

    def one(self, *words):
        found = objects(*words)
        return of_kind(found, "Deployment")[name("orchestrator")]["spec"]["template"], found

    def test_the_gateway_asks_the_orchestrators_service(self):
        for words, host in (
            ((), name("orchestrator")),
            ((CI / "long-names-values.yaml",), f"xin-platform-{name('orchestrator')}"),
        ):
            found = objects(*words)
            gateway = next(
                d
                for d in of_kind(found, "Deployment").values()
                if component(d) == "channel-gateway"
            )
            self.assertEqual(
                f"http://{host}:8000",
                environment(gateway["spec"]["template"], found)["XIN_ORCHESTRATOR_URL"],
            )
            self.assertIn(host, of_kind(found, "Service"))

    def test_every_name_is_a_setting_of_the_program(self):
        known = settings_table()
        for values in FILES:
            for n, map_ in of_kind(objects(values), "ConfigMap").items():
                if n.endswith("-env"):
                    self.assertLessEqual(set(map_["data"]), set(known), f"{values.name} {n}")

    def test_misspelt_and_wrong_settings_are_refused(self):
        self.assertIn("XIN_LOG_LEVLE", refusal("--set", "config.XIN_LOG_LEVLE=info"))
        self.assertIn("XIN_LOOPS", refusal("--set", "config.XIN_LOOPS=300"))
        self.assertIn("XIN_LOOPS", refusal("--set-string", "config.XIN_LOOPS=3"))
        self.assertIn("secretRef", refusal("--set", "orchestrator.secretRef=x"))
        self.assertIn("nameStyle", refusal("--set", "nameStyle=longer"))
        self.assertIn(
            "XIN_DRAIN_MS", refusal("--set", "config.XIN_DRAIN_MS=1")
        )  # drainSeconds is its place

    def test_no_value_brings_yaml_of_its_own(self):
        for value in (
            "nameOverride",
            "fullnameOverride",
            "image.registry",
            "image.repository",
            "image.tag",
            "common.priorityClassName",
            "serviceAccount.name",
            "ingress.className",
            "ingress.tls.secretName",
            "ingress.hosts[0]",
            "ingress.orchestratorPaths[0]",
            "httpRoute.gateway.className",
            "httpRoute.hosts[0]",
        ):
            where = "/" + value.replace("[", "/").replace("]", "").replace(".", "/")
            self.assertIn(where, refusal("--set-string", f"{value}=/x\n  evil: y"), value)
        self.assertIn("/image/repository", refusal("--set-string", "image.repository="))

    def test_spans_say_which_pod_they_come_from(self):
        env = environment(*self.one("--set", "config.OTEL_RESOURCE_ATTRIBUTES=team=chat"))
        self.assertEqual(
            "k8s.pod.name=$(POD_NAME),k8s.namespace.name=xin-staging,team=chat",
            env["OTEL_RESOURCE_ATTRIBUTES"],
        )


if __name__ == "__main__":
    main()
