#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where secrets come from, and where they never are (numbers of
tests/checklist.md). Exit status 77: helm cannot be had here."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from chart import (  # noqa: E402
    CHART,
    FILES,
    main,
    objects,
    of_kind,
    pods,
    refusal,
    secret_refs,
    settings_table,
)

STAGING = CHART / "values-staging.yaml"
PRODUCTION = CHART / "values-production.yaml"
CI = CHART / "ci"


def name(part):
    return f"xin-platform-{part}"


class Secrets(unittest.TestCase):
    def external(self, *words):
        return of_kind(objects(*words), "ExternalSecret")

    def test_staging_reads_the_vault_store_108(self):
        found = self.external(STAGING)
        self.assertTrue(found)
        for o in found.values():
            self.assertEqual(
                {"name": "xin-vault-kv", "kind": "ClusterSecretStore"}, o["spec"]["secretStoreRef"]
            )

    def test_vault_keys_are_below_kv_data_xin_109(self):
        for o in self.external(STAGING).values():
            for entry in o["spec"]["data"]:
                self.assertEqual("kv/data/xin/staging", entry["remoteRef"]["key"])
                self.assertTrue(entry["remoteRef"]["property"])

    def test_staging_lists_its_keys_under_items_110(self):
        text = STAGING.read_text()
        block = text[text.index("\nexternalSecrets:") :].split("\ningress:")[0]
        items = block[block.index("  items:") :]
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
            self.assertIn(
                "xin-orchestrator-secrets",
                secret_refs(deployments[name("orchestrator")]["spec"]["template"]),
            )
            for n, d in deployments.items():
                self.assertTrue(secret_refs(d["spec"]["template"]), n)

    def test_production_reads_the_doppler_store_115(self):
        for o in self.external(PRODUCTION).values():
            self.assertEqual(
                {"name": "doppler-prod", "kind": "ClusterSecretStore"}, o["spec"]["secretStoreRef"]
            )

    def test_production_takes_a_whole_config_117(self):
        sources = [
            s for o in self.external(PRODUCTION).values() for s in o["spec"].get("dataFrom", [])
        ]
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
            self.assertEqual(
                ",".join(secret_refs(d["spec"]["template"])),
                d["metadata"]["annotations"]["secret.reloader.stakater.com/reload"],
            )
        for d in of_kind(objects(STAGING), "Deployment").values():
            self.assertNotIn("annotations", d["metadata"])

    def test_secret_refs_of_each_component_121(self):
        for key, c in (
            ("orchestrator", "orchestrator"),
            ("gateway", "channel-gateway"),
            ("worker", "ingestion-worker"),
        ):
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
                    self.assertNotRegex(
                        value, r"xin_[A-Za-z0-9_-]{40}|://[^/\s\"']*:[^/\s\"'@]*@", f"{n}: {key}"
                    )
            for where, template in pods(objects(values)).items():
                for e in template["spec"]["containers"][0].get("env", []):
                    self.assertFalse(
                        e["name"] in secret and "value" in e, f"{values.name}: {where}"
                    )
        why = refusal("--set", ",".join(f"config.{setting}=x" for setting in secret))
        for setting in secret:
            self.assertIn(f"'{setting}'", why)
        why = refusal(
            "--set",
            ",".join(
                f"gateway.extraEnv[{i}].name={setting},gateway.extraEnv[{i}].value=x"
                for i, setting in enumerate(sorted(secret))
            ),
        )
        for i in range(len(secret)):
            self.assertIn(f"/gateway/extraEnv/{i}/value", why)
        self.assertIn(
            "XIN_SEARCH_URL", refusal("--set", "config.XIN_SEARCH_URL=http://me:word@host")
        )

    def test_data_and_target_are_passed_on_word_for_word(self):
        spec = self.external(CI / "eso-doppler-values.yaml")["xin-gateway-secrets"]["spec"]
        self.assertEqual("Delete", spec["target"]["deletionPolicy"])
        self.assertEqual("doppler-prod-gateway", spec["secretStoreRef"]["name"])
        rewrite = self.external(CI / "eso-doppler-values.yaml")["xin-orchestrator-secrets"]["spec"][
            "dataFrom"
        ][0]["rewrite"]
        self.assertEqual("$1", rewrite[0]["regexp"]["target"])

    def test_the_current_version_is_the_default_and_the_old_one_a_choice(self):
        versions = {o["apiVersion"] for o in self.external(STAGING).values()}
        self.assertEqual({"external-secrets.io/v1"}, versions)
        old = self.external(CI / "eso-v1beta1-values.yaml")["xin-orchestrator-secrets"]
        self.assertEqual("external-secrets.io/v1beta1", old["apiVersion"])
        self.assertIn(
            "apiVersion",
            refusal("--set", "externalSecrets.apiVersion=external-secrets.io/v1alpha1"),
        )

    def test_half_a_block_is_refused_with_its_name(self):
        words = (
            "--set",
            "externalSecrets.enabled=true,externalSecrets.items[0].name=xin-a-secrets",
        )
        self.assertIn("xin-a-secrets needs data or dataFrom", refusal(*words))
        self.assertIn(
            "names no store",
            refusal(*words, "--set", "externalSecrets.items[0].dataFrom[0].extract.key=k"),
        )

    def test_what_was_applied_before_the_install_is_taken_over(self):
        for o in self.external(STAGING).values():
            self.assertEqual("Helm", o["metadata"]["labels"]["app.kubernetes.io/managed-by"])
            self.assertEqual(
                {
                    "meta.helm.sh/release-name": "xin-platform",
                    "meta.helm.sh/release-namespace": "xin-staging",
                },
                o["metadata"]["annotations"],
            )


if __name__ == "__main__":
    main()
