#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the chart renders, against the promises of the runbook (numbers of
tests/checklist.md). Exit status 77: helm cannot be had here."""
import json
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import yaml  # noqa: E402
from chart import (CHART, COMPONENTS, FILES, ROOT, component, environment, main, objects, of_kind,  # noqa: E402
                   pods, refusal, secret_refs, selected, settings_table, yaml_blocks)

STAGING = CHART / "values-staging.yaml"
PRODUCTION = CHART / "values-production.yaml"
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
        policies = [p for p in of_kind(found, "NetworkPolicy").values()
                    if selected(p["spec"]["podSelector"]["matchLabels"], template["metadata"]["labels"])]
        self.assertTrue(policies)
        self.assertTrue(any(
            selected(peer["podSelector"].get("matchLabels", {}), probe) and {"protocol": "TCP", "port": 8000} in rule["ports"]
            for p in policies for rule in p["spec"]["ingress"] for peer in rule["from"]
            if "podSelector" in peer and "namespaceSelector" not in peer))
        # and nothing holds the probe pod itself
        self.assertFalse(any(selected(p["spec"]["podSelector"]["matchLabels"], probe)
                             for p in of_kind(found, "NetworkPolicy").values()))

    def test_ports_are_those_of_the_runbook_19_20_22_24_31(self):
        services = of_kind(objects(), "Service")
        self.assertEqual([8000], service_ports(services[name("orchestrator")]))
        self.assertEqual([8080, 9102], service_ports(services[name("channel-gateway")]))
        self.assertEqual([9103], service_ports(services[name("ingestion-worker")]))
        self.assertEqual("None", services[name("ingestion-worker")]["spec"]["clusterIP"])
        defaults = settings_table()
        self.assertEqual(("9102", "9103"), (defaults["GATEWAY_METRICS_PORT"][1], defaults["INGEST_METRICS_PORT"][1]))

    def test_long_names_lead_to_the_same_pods_and_are_marked(self):
        services = of_kind(objects(), "Service")
        for c in COMPONENTS:
            short, long = services[name(c)], services[f"xin-platform-{name(c)}"]
            self.assertEqual(short["spec"], long["spec"])
            self.assertEqual("true", long["metadata"]["labels"].pop("xin.dev/service-alias"))
            self.assertEqual(short["metadata"]["labels"], long["metadata"]["labels"])
        self.assertEqual(3, len(of_kind(objects("--set", "compat.longServiceNames=false"), "Service")))

    def test_the_long_style_gives_the_names_of_the_sample(self):
        found = objects(CI / "long-names-values.yaml")
        for kind in ("Deployment", "Service"):
            self.assertEqual({f"xin-platform-{name(c)}" for c in COMPONENTS}, set(of_kind(found, kind)))

    def test_another_release_name_keeps_the_charts(self):
        self.assertIn("shop-xin-platform-orchestrator", of_kind(objects(release="shop"), "Deployment"))

    def test_names_and_labels_stay_within_63_characters(self):
        for o in objects(CI / "all-on-values.yaml", release="r" * 53):
            self.assertLessEqual(len(o["metadata"]["name"]), 63)
            for label in o["metadata"].get("labels", {}).values():
                self.assertLessEqual(len(label), 63)
        names = set(of_kind(objects(release="r" * 53), "Deployment"))
        self.assertEqual(set(COMPONENTS), {c for c in COMPONENTS for n in names if n.endswith(f"-{c}")})

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
            self.assertEqual({"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"},
                             set(d["spec"]["selector"]["matchLabels"]))


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
                self.assertEqual("RuntimeDefault", spec["securityContext"]["seccompProfile"]["type"])
                for container in spec["containers"]:
                    context = container["securityContext"]
                    self.assertIs(False, context["allowPrivilegeEscalation"])
                    self.assertIs(True, context["readOnlyRootFilesystem"])
                    self.assertEqual(["ALL"], context["capabilities"]["drop"])

    def test_probes_ask_paths_that_every_port_serves(self):
        served = set(re.findall(r'HTTP_M_GET, "(/health[^"]*)"', (ROOT / "src/domain/service_api.c").read_text()))
        for d in of_kind(objects(), "Deployment").values():
            container = d["spec"]["template"]["spec"]["containers"][0]
            paths = {probe: container[probe]["httpGet"]["path"]
                     for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
            self.assertLessEqual(set(paths.values()), served)
            self.assertEqual("/health", paths["readinessProbe"])
            self.assertNotEqual("/health", paths["livenessProbe"])  # a back end away restarts nobody
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
        self.assertEqual(137, of_kind(found, "Deployment")[name("ingestion-worker")]
                         ["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])

    def test_nothing_in_a_pod_needs_a_shell(self):
        for where, spec in self.every():
            if "test-" in where:
                continue  # those run an image with curl
            for container in spec["containers"]:
                self.assertNotIn("command", container, where)
                self.assertNotIn("lifecycle", container, where)

    def test_no_rollout_without_a_ready_replacement(self):
        for d in of_kind(objects(), "Deployment").values():
            self.assertEqual({"maxUnavailable": 0, "maxSurge": 1}, d["spec"]["strategy"]["rollingUpdate"])

    def test_replicas_spread_over_hosts_and_zones(self):
        for d in of_kind(objects(), "Deployment").values():
            spread = d["spec"]["template"]["spec"]["topologySpreadConstraints"]
            self.assertEqual(["kubernetes.io/hostname", "topology.kubernetes.io/zone"], [s["topologyKey"] for s in spread])
            for s in spread:
                self.assertEqual(d["spec"]["selector"]["matchLabels"], s["labelSelector"]["matchLabels"])

    def test_a_digest_wins_over_the_tag(self):
        digest = "sha256:" + "a" * 64
        for template in pods(objects("--set-string", f"image.digest={digest},image.tag=1,image.registry=r.example.com")).values():
            image = template["spec"]["containers"][0]["image"]
            self.assertIn(image, (f"r.example.com/xin@{digest}", "curlimages/curl:8.5.0"))

    def test_every_pod_writes_only_where_a_volume_is(self):
        for n, d in of_kind(objects(), "Deployment").items():
            mounts = {m["mountPath"]: m for m in d["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
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
        self.assertEqual({8000, 8080, 9102, 9103},
                         {p["containerPort"] for p in d["spec"]["template"]["spec"]["containers"][0]["ports"]})
        for service in of_kind(found, "Service").values():
            self.assertTrue(selected(service["spec"]["selector"], d["spec"]["template"]["metadata"]["labels"]))
        self.assertFalse(of_kind(found, "Job"))
        self.assertIn(name("data"), of_kind(found, "PersistentVolumeClaim"))


class Settings(unittest.TestCase):
    def test_a_changed_setting_restarts_its_component_alone(self):
        def sums(*words):
            return {n: d["spec"]["template"]["metadata"]["annotations"]["checksum/env"]
                    for n, d in of_kind(objects(*words), "Deployment").items()}
        before, after = sums(), sums("--set", "gateway.config.XIN_LOG_LEVEL=debug")
        self.assertEqual({name("channel-gateway")}, {n for n in before if before[n] != after[n]})

    def test_a_component_overrules_what_holds_for_all(self):
        found = objects("--set", "config.XIN_LOOPS=3,worker.config.XIN_LOOPS=5,config.XIN_LOG_LEVEL=error")
        env = {component(d): environment(d["spec"]["template"], found) for d in of_kind(found, "Deployment").values()}
        self.assertEqual("5", env["ingestion-worker"]["XIN_LOOPS"])
        self.assertEqual("error", env["orchestrator"]["XIN_LOG_LEVEL"])

    def test_large_numbers_are_written_out(self):
        env = environment(*self.one("--set", "config.XIN_SPOOL_BYTES=8589934592"))
        self.assertEqual("8589934592", env["XIN_SPOOL_BYTES"])

    def one(self, *words):
        found = objects(*words)
        return of_kind(found, "Deployment")[name("orchestrator")]["spec"]["template"], found

    def test_the_gateway_asks_the_orchestrators_service(self):
        for words, host in (((), name("orchestrator")), ((CI / "long-names-values.yaml",), f"xin-platform-{name('orchestrator')}")):
            found = objects(*words)
            gateway = next(d for d in of_kind(found, "Deployment").values() if component(d) == "channel-gateway")
            self.assertEqual(f"http://{host}:8000", environment(gateway["spec"]["template"], found)["XIN_ORCHESTRATOR_URL"])
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
        self.assertIn("XIN_DRAIN_MS", refusal("--set", "config.XIN_DRAIN_MS=1"))  # drainSeconds is its place

    def test_spans_say_which_pod_they_come_from(self):
        env = environment(*self.one("--set", "config.OTEL_RESOURCE_ATTRIBUTES=team=chat"))
        self.assertEqual("k8s.pod.name=$(POD_NAME),k8s.namespace.name=xin-staging,team=chat", env["OTEL_RESOURCE_ATTRIBUTES"])


class Secrets(unittest.TestCase):
    def external(self, *words):
        return of_kind(objects(*words), "ExternalSecret")

    def test_staging_reads_the_vault_store_108(self):
        found = self.external(STAGING)
        self.assertTrue(found)
        for o in found.values():
            self.assertEqual({"name": "xin-vault-kv", "kind": "ClusterSecretStore"}, o["spec"]["secretStoreRef"])

    def test_vault_keys_are_below_kv_data_xin_109(self):
        for o in self.external(STAGING).values():
            for entry in o["spec"]["data"]:
                self.assertEqual("kv/data/xin/staging", entry["remoteRef"]["key"])
                self.assertTrue(entry["remoteRef"]["property"])

    def test_staging_lists_its_keys_under_items_110(self):
        text = STAGING.read_text()
        block = text[text.index("\nexternalSecrets:"):].split("\ningress:")[0]
        items = block[block.index("  items:"):]
        for o in self.external(STAGING).values():
            for entry in o["spec"]["data"]:
                self.assertIn(f"secretKey: {entry['secretKey']}\n", items)

    def test_enabled_renders_and_disabled_renders_none_111(self):
        self.assertTrue(self.external(STAGING))
        self.assertFalse(self.external(STAGING, "--set", "externalSecrets.enabled=false"))
        self.assertFalse(self.external())

    def test_secrets_are_named_xin_something_secrets_112(self):
        for values in (STAGING, PRODUCTION):
            for n, o in self.external(values).items():
                self.assertEqual(n, o["spec"]["target"]["name"])
                self.assertRegex(n, r"^xin-.*-secrets$")

    def test_one_of_them_is_the_orchestrators_113(self):
        for values in (STAGING, PRODUCTION):
            self.assertIn("xin-orchestrator-secrets", self.external(values))

    def test_pods_take_them_by_env_from_114(self):
        for values in (STAGING, PRODUCTION):
            deployments = of_kind(objects(values), "Deployment")
            self.assertIn("xin-orchestrator-secrets", secret_refs(deployments[name("orchestrator")]["spec"]["template"]))
            for n, d in deployments.items():
                self.assertTrue(secret_refs(d["spec"]["template"]), n)

    def test_production_reads_the_doppler_store_115(self):
        for o in self.external(PRODUCTION).values():
            self.assertEqual({"name": "doppler-prod", "kind": "ClusterSecretStore"}, o["spec"]["secretStoreRef"])

    def test_production_takes_a_whole_config_117(self):
        sources = [s for o in self.external(PRODUCTION).values() for s in o["spec"].get("dataFrom", [])]
        self.assertTrue(any("extract" in s for s in sources))
        self.assertTrue(any("find" in s for s in sources))  # ruling R3

    def test_production_takes_single_keys_118(self):
        single = [e for o in self.external(PRODUCTION).values() for e in o["spec"].get("data", [])]
        self.assertTrue(single)
        self.assertTrue(all(e["remoteRef"]["key"] for e in single))

    def test_they_are_read_again_every_30_minutes_119(self):
        for values in (STAGING, PRODUCTION):
            for o in self.external(values).values():
                self.assertEqual("30m", o["spec"]["refreshInterval"])
        rewritten = self.external(CI / "eso-doppler-values.yaml")
        self.assertEqual("10m", rewritten["xin-gateway-secrets"]["spec"]["refreshInterval"])

    def test_a_rotated_secret_restarts_its_pods_120(self):
        for d in of_kind(objects(PRODUCTION), "Deployment").values():
            self.assertEqual(",".join(secret_refs(d["spec"]["template"])),
                             d["metadata"]["annotations"]["secret.reloader.stakater.com/reload"])
        for d in of_kind(objects(STAGING), "Deployment").values():
            self.assertNotIn("annotations", d["metadata"])

    def test_secret_refs_of_each_component_121(self):
        for key, c in (("orchestrator", "orchestrator"), ("gateway", "channel-gateway"), ("worker", "ingestion-worker")):
            found = of_kind(objects("--set", f"{key}.secretRefs={{by-hand,second}}"), "Deployment")
            for n, d in found.items():
                wanted = ["by-hand", "second"] if n == name(c) else []
                self.assertEqual(wanted, secret_refs(d["spec"]["template"]), n)

    def test_secret_refs_and_made_secrets_agree_122(self):
        for values in (STAGING, PRODUCTION):
            found = objects(values)
            used = {ref for template in pods(found).values() for ref in secret_refs(template)}
            self.assertEqual(set(of_kind(found, "ExternalSecret")), used, values.name)

    def test_no_secret_is_in_a_config_map_or_in_values_128(self):
        secret = {n for n, (kind, _) in settings_table().items() if kind == "SECRET"}
        for values in FILES:
            for n, map_ in of_kind(objects(values), "ConfigMap").items():
                self.assertFalse(secret & set(map_["data"]), f"{values.name}: {n}")
                for key, value in map_["data"].items():
                    self.assertNotRegex(value, r"xin_[A-Za-z0-9_-]{40}|://[^/\s\"']*:[^/\s\"'@]*@", f"{n}: {key}")
            for where, template in pods(objects(values)).items():
                for e in template["spec"]["containers"][0].get("env", []):
                    self.assertFalse(e["name"] in secret and "value" in e, f"{values.name}: {where}")
        why = refusal("--set", ",".join(f"config.{setting}=x" for setting in secret))
        for setting in secret:
            self.assertIn(f"'{setting}'", why)
        why = refusal("--set", ",".join(f"gateway.extraEnv[{i}].name={setting},gateway.extraEnv[{i}].value=x"
                                        for i, setting in enumerate(sorted(secret))))
        for i in range(len(secret)):
            self.assertIn(f"/gateway/extraEnv/{i}/value", why)
        self.assertIn("XIN_SEARCH_URL", refusal("--set", "config.XIN_SEARCH_URL=http://me:word@host"))

    def test_data_and_target_are_passed_on_word_for_word(self):
        spec = self.external(CI / "eso-doppler-values.yaml")["xin-gateway-secrets"]["spec"]
        self.assertEqual("Delete", spec["target"]["deletionPolicy"])
        self.assertEqual("doppler-prod-gateway", spec["secretStoreRef"]["name"])
        rewrite = self.external(CI / "eso-doppler-values.yaml")["xin-orchestrator-secrets"]["spec"]["dataFrom"][0]["rewrite"]
        self.assertEqual("$1", rewrite[0]["regexp"]["target"])

    def test_the_current_version_is_the_default_and_the_old_one_a_choice(self):
        versions = {o["apiVersion"] for o in self.external(STAGING).values()}
        self.assertEqual({"external-secrets.io/v1"}, versions)
        old = self.external(CI / "eso-v1beta1-values.yaml")["xin-orchestrator-secrets"]
        self.assertEqual("external-secrets.io/v1beta1", old["apiVersion"])
        self.assertIn("apiVersion", refusal("--set", "externalSecrets.apiVersion=external-secrets.io/v1alpha1"))

    def test_half_a_block_is_refused_with_its_name(self):
        words = ("--set", "externalSecrets.enabled=true,externalSecrets.items[0].name=xin-a-secrets")
        self.assertIn("xin-a-secrets needs data or dataFrom", refusal(*words))
        self.assertIn("names no store", refusal(*words, "--set", "externalSecrets.items[0].dataFrom[0].extract.key=k"))

    def test_what_was_applied_before_the_install_is_taken_over(self):
        for o in self.external(STAGING).values():
            self.assertEqual("Helm", o["metadata"]["labels"]["app.kubernetes.io/managed-by"])
            self.assertEqual({"meta.helm.sh/release-name": "xin-platform", "meta.helm.sh/release-namespace": "xin-staging"},
                             o["metadata"]["annotations"])


class Scripts(unittest.TestCase):
    KINDS = ("brands", "channels", "guardrails", "lib", "pipelines", "pipelines/steps")

    def sources(self, *words):
        template = of_kind(objects(*words), "Deployment")[name("orchestrator")]["spec"]["template"]
        volume = next(v for v in template["spec"]["volumes"] if v["name"] == "lua")
        return [s["configMap"] for s in volume["projected"]["sources"]]

    def test_every_script_of_the_repository_is_mounted_at_its_place(self):
        maps = of_kind(objects(), "ConfigMap")
        mounted = {i["path"]: maps[s["name"]]["data"][i["key"]] for s in self.sources() for i in s["items"]}
        wanted = {str(p.relative_to(ROOT / "lua")): p.read_text() for kind in self.KINDS
                  for p in (ROOT / "lua" / kind).glob("*.lua") if not p.name.endswith("_spec.lua")}
        self.assertEqual(wanted, mounted)

    def test_one_config_map_for_each_kind_in_one_volume(self):
        self.assertEqual([f"xin-platform-lua-{k.replace('/', '-')}" for k in self.KINDS],
                         [s["name"] for s in self.sources()])

    def test_a_changed_script_restarts_nobody(self):
        before = of_kind(objects(), "Deployment")
        after = of_kind(objects("--set", "lua.files.brands.alpha\\.lua=return {}"), "Deployment")
        self.assertEqual(before, after)
        maps = of_kind(objects("--set", "lua.files.brands.alpha\\.lua=return {}"), "ConfigMap")
        self.assertEqual("return {}", maps["xin-platform-lua-brands"]["data"]["alpha.lua"])

    def test_what_a_team_owns_is_never_written(self):
        found = objects(CI / "lua-existing-values.yaml")
        maps = of_kind(found, "ConfigMap")
        for mine in ("xin-platform-lua-brands", "acme-brands", "xin-platform-lua-guardrails", "acme-guardrails"):
            self.assertNotIn(mine, maps)
        source = next(s for s in self.sources(CI / "lua-existing-values.yaml") if s["name"] == "acme-brands")
        self.assertEqual([{"key": "acme.lua", "path": "brands/acme.lua"}, {"key": "default.lua", "path": "brands/default.lua"}],
                         source["items"])
        self.assertIs(True, source["optional"])  # a key taken out holds nothing up

    def test_an_empty_text_takes_a_bundled_script_out(self):
        maps = of_kind(objects(CI / "all-on-values.yaml"), "ConfigMap")
        self.assertEqual({"acme.lua", "alpha.lua", "default.lua"}, set(maps["xin-platform-lua-brands"]["data"]))

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
        self.assertEqual([{"hosts": ["xin.staging.example.com"], "secretName": "xin-platform-tls"}], ingress["tls"])
        paths = {p["path"]: p["backend"]["service"] for p in ingress["rules"][0]["http"]["paths"]}
        self.assertEqual({"name": name("channel-gateway"), "port": {"number": 8080}}, paths["/webchat"])
        self.assertEqual({"name": name("orchestrator"), "port": {"number": 8000}}, paths["/"])
        production = of_kind(objects(PRODUCTION), "Ingress")["xin-platform"]["spec"]
        self.assertEqual(["/webchat", "/v1"], [p["path"] for p in production["rules"][0]["http"]["paths"]])
        self.assertIn("ingress.hosts is empty", refusal("--set", "ingress.enabled=true"))

    def test_a_route_leads_where_the_ingress_does(self):
        found = objects(CI / "all-on-values.yaml")
        rules = of_kind(found, "HTTPRoute")["xin-platform"]["spec"]["rules"]
        self.assertEqual([(name("channel-gateway"), 8080), (name("orchestrator"), 8000)],
                         [(r["backendRefs"][0]["name"], r["backendRefs"][0]["port"]) for r in rules])
        listener = of_kind(found, "Gateway")["xin-platform"]["spec"]["listeners"][0]
        self.assertEqual(("HTTPS", "Terminate"), (listener["protocol"], listener["tls"]["mode"]))
        self.assertIn("parentRefs is empty", refusal("--set", "httpRoute.enabled=true"))

    def test_no_proxy_of_ours_takes_the_request_id_away_40(self):
        for values in FILES:
            for o in objects(values):
                if o["kind"] in ("Ingress", "HTTPRoute"):
                    self.assertNotRegex(str(o).lower(), r"header|x-request-id|configuration-snippet")
        self.assertIn("X-Request-ID", (CHART / "README.md").read_text())

    def test_two_autoscalers_are_refused(self):
        why = refusal("--set", "worker.keda.enabled=true,worker.autoscaling.enabled=true")
        self.assertIn("worker: autoscaling and keda", why)

    def test_an_autoscaler_owns_the_replicas(self):
        found = objects(PRODUCTION)
        for n, d in of_kind(found, "Deployment").items():
            self.assertNotIn("replicas", d["spec"], n)
            scaler = of_kind(found, "HorizontalPodAutoscaler").get(n) or of_kind(found, "ScaledObject")[n]
            self.assertEqual(n, scaler["spec"]["scaleTargetRef"]["name"])

    def test_keda_reads_the_workers_own_queue(self):
        words = ("--set", "config.INGEST_REDIS_QUEUE_NAME=arq:other,worker.config.INGEST_REDIS_DB=3")
        scaled = of_kind(objects(CI / "keda-values.yaml", *words), "ScaledObject")[name("ingestion-worker")]["spec"]
        trigger = scaled["triggers"][0]
        self.assertEqual("redis", trigger["type"])  # asks the key's type: ZCARD of ARQ's sorted set
        self.assertEqual({"hostFromEnv": "INGEST_REDIS_HOST", "portFromEnv": "INGEST_REDIS_PORT",
                          "passwordFromEnv": "INGEST_REDIS_PASSWORD", "databaseIndex": "3",
                          "listName": "arq:other", "listLength": "5"}, trigger["metadata"])
        self.assertEqual(0, scaled["minReplicaCount"])

    def test_a_budget_only_where_one_may_go(self):
        self.assertEqual({name("channel-gateway"), name("orchestrator")}, set(of_kind(objects(), "PodDisruptionBudget")))
        self.assertEqual({name("orchestrator")},
                         set(of_kind(objects("--set", "gateway.replicas=1"), "PodDisruptionBudget")))
        self.assertIn(name("ingestion-worker"), of_kind(objects(CI / "all-on-values.yaml"), "PodDisruptionBudget"))
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
        self.assertNotIn(5432, [p["port"] for r in gateway["spec"]["egress"] for p in r.get("ports", [])])
        self.assertNotIn("egress", of_kind(objects(CI / "network-open-values.yaml"),
                                           "NetworkPolicy")[name("orchestrator")]["spec"])

    def test_every_exporter_is_scraped_once_at_its_port_32(self):
        found = objects(STAGING)
        services = of_kind(found, "Service").values()
        targets = []
        for monitor in of_kind(found, "ServiceMonitor").values():
            endpoint = monitor["spec"]["endpoints"][0]
            hit = [s for s in services if selected(monitor["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])
                   and "xin.dev/service-alias" not in s["metadata"]["labels"]]
            self.assertEqual(1, len(hit))
            targets += [(component(hit[0]), p["port"]) for p in hit[0]["spec"]["ports"] if p["name"] == endpoint["port"]]
            self.assertEqual("/metrics", endpoint["path"])
        for monitor in of_kind(found, "PodMonitor").values():
            endpoint = monitor["spec"]["podMetricsEndpoints"][0]
            for d in of_kind(found, "Deployment").values():
                template = d["spec"]["template"]
                if selected(monitor["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]):
                    targets += [(component(d), p["containerPort"]) for p in template["spec"]["containers"][0]["ports"]
                                if p["name"] == endpoint["port"]]
        self.assertEqual([("channel-gateway", 9102), ("ingestion-worker", 9103), ("orchestrator", 8000)], sorted(targets))

    def test_targets_have_the_names_that_the_alerts_know_33(self):
        found = objects(STAGING)
        named = set()
        for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
            for monitor in of_kind(found, kind).values():
                labels = {r["targetLabel"]: r["replacement"] for r in monitor["spec"][endpoints][0]["relabelings"]}
                self.assertEqual(labels["job"], labels["service"])
                named.add(labels["job"])
        rules = of_kind(found, "PrometheusRule")["xin-platform-rules"]["spec"]["groups"]
        absent = next(r["expr"] for g in rules for r in g["rules"] if r.get("alert") == "XinTargetAbsent")
        self.assertEqual(set(re.findall(r'job="([^"]+)"', absent)), named)

    def test_rules_and_dashboards_are_those_of_the_repository(self):
        found = objects(PRODUCTION)
        groups = of_kind(found, "PrometheusRule")["xin-platform-rules"]["spec"]["groups"]
        wanted = [g for n in ("rules", "alerts")
                  for g in yaml.safe_load((ROOT / f"deploy/prometheus/{n}.yml").read_text())["groups"]]
        for group in wanted:
            for rule in group["rules"]:
                if "annotations" in rule:
                    page = rule["annotations"]["runbook_url"]
                    self.assertTrue((ROOT / page).exists())
                    rule["annotations"]["runbook_url"] = "https://git.example.com/xin/blob/main/" + page
        self.assertEqual(wanted, groups)
        boards = {k: json.loads(v) for m in of_kind(found, "ConfigMap").values()
                  if m["metadata"]["labels"].get("grafana_dashboard") == "1" for k, v in m["data"].items()}
        self.assertEqual({f"xin-{p.name}": json.loads(p.read_text()) for p in (ROOT / "deploy/grafana").glob("*.json")}, boards)

    def test_custom_kinds_follow_what_the_cluster_knows(self):
        on = ("--set", "serviceMonitor.enabled=true,renderMode=skipIfMissing")
        self.assertFalse(of_kind(objects(*on), "ServiceMonitor"))
        self.assertTrue(of_kind(objects(*on, "--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"), "ServiceMonitor"))
        self.assertIn("does not know monitoring.coreos.com/v1/ServiceMonitor",
                      refusal("--set", "serviceMonitor.enabled=true,renderMode=failIfMissing"))

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
