#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the runbook and the chart's page say (numbers of tests/checklist.md), as
far as a machine can read it: a promise that is no longer written down fails."""

import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from chart import CHART, COMPONENTS, ROOT, settings_table, yaml_blocks  # noqa: E402

README = (CHART / "README.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def section(text, heading):
    """From a heading to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    assert heading in text, f"no heading {heading!r}"
    rest = text[text.index(heading) + len(heading) :]
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.M)[0]


def entry(name):
    """One bullet of the telemetry troubleshooting, on one line."""
    found = re.search(
        rf"- \*\*{name}\*\*:(.*?)(?=\n- |\n\n|\Z)",
        section(RUNBOOK, "### Troubleshooting Telemetry"),
        re.S | re.I,
    )
    assert found, f"no entry {name!r}"
    return " ".join(found[1].split())


class Documents(unittest.TestCase):
    def says(self, text, *words):
        for word in words:
            self.assertIn(word.lower(), text.lower())

    def test_no_traces_visible_67(self):
        self.says(
            entry("No traces visible"), "tracing initialised", "resolves", "HTTP/protobuf", "once"
        )

    def test_scrape_fails_68(self):
        self.says(
            entry("Prometheus scrape fails"),
            "firewall",
            "/metrics",
            "second process",
            "metrics exporter disabled; port in use",
        )

    def test_missing_correlation_ids_69(self):
        self.says(entry("Missing correlation IDs"), "X-Request-ID", "reverse proxy")
        self.says(section(README, "## Reaching it"), "X-Request-ID")

    def test_commands_of_the_telemetry_checklist_65_66(self):
        self.says(
            section(RUNBOOK, "### Telemetry validation checklist"),
            "kubectl logs deployment/xin-platform-orchestrator -n <ns> | grep -E 'tracing (initialised|disabled)'",
            "kubectl run curl-metrics --rm -i --restart=Never --image=curlimages/curl:8.5.0 -n <ns> --command -- "
            'sh -c "curl -sf http://xin-platform-orchestrator:8000/metrics"',
        )

    def test_doppler_configs_116(self):
        for text in (README, RUNBOOK, (CHART / "values-production.yaml").read_text()):
            self.says(text, "xin/platform/prod/*")

    def test_rotation_120(self):
        self.says(
            section(README, "### Rotation"),
            "refreshInterval",
            "kubectl rollout restart",
            "reloader.enabled",
            "force-sync",
            "GATEWAY_WEBHOOK_SECRET=new,old",
        )
        self.says(section(RUNBOOK, "## Secret Management"), "kubectl rollout restart")

    def test_the_block_123(self):
        block = next(b for b in yaml_blocks(CHART / "README.md") if "externalSecrets" in b)[
            "externalSecrets"
        ]
        self.assertLessEqual(
            {"enabled", "apiVersion", "refreshInterval", "secretStoreRef", "items"}, set(block)
        )
        self.assertEqual("xin-orchestrator-secrets", block["items"][0]["name"])
        self.assertTrue(
            any("dataFrom" in i for i in block["items"])
            and any("data" in i for i in block["items"])
        )

    def test_the_operator_124(self):
        text = section(README, "### External Secrets Operator")
        self.says(
            text,
            "helm repo add external-secrets https://charts.external-secrets.io",
            "helm upgrade --install external-secrets external-secrets/external-secrets",
            "--namespace external-secrets --create-namespace",
            "kubectl apply --server-side",
        )

    def test_ci_secrets_126(self):
        for text in (README, RUNBOOK):
            self.says(text, "KUBE_CONFIG_", "registry")
        flows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        if not flows:
            self.skipTest(".github/workflows does not exist")
        secrets = set()
        for flow in flows:
            text = flow.read_text()
            secrets |= set(re.findall(r"secrets\.(\w+)", text))
            self.assertRegex(text, r"(?m)^permissions:", flow.name)
            self.assertNotRegex(
                text, r"permissions: *write-all|secrets: *inherit|toJSON\(secrets\)", flow.name
            )
        self.assertTrue([s for s in secrets if s.startswith("KUBE_CONFIG_")])
        self.assertFalse(
            [
                s
                for s in secrets
                if not re.match(r"KUBE_CONFIG_|REGISTRY_|GITHUB_TOKEN$|INGESTION_API_KEY$", s)
            ],
            secrets,
        )

    def test_least_privilege_127(self):
        text = section(README, "### Rotation")
        self.says(
            text, "least privilege", "service token", "audit log", "KUBE_CONFIG_*", "one namespace"
        )

    def test_the_page_names_what_exists(self):
        for c in COMPONENTS:
            self.says(README, f"`xin-platform-{c}`")
        known = set(settings_table())
        for setting in set(
            re.findall(r"\b((?:XIN|INGEST|GATEWAY|STORAGE|QDRANT)_[A-Z_]+[A-Z])\b", README)
        ):
            self.assertTrue(setting in known, setting)
        for path in re.findall(r"`((?:scripts|deploy|docs|ci)/[\w./*-]+)`", README):
            base = CHART if path.startswith("ci/") else ROOT
            self.assertTrue(list(base.glob(path)) or "bundle.yaml" in path, path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
