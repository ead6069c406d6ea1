#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart against helm's own linter, its unit tests, the schemas of every kind
it renders, and Kubernetes' own validation. Exit status 77: helm cannot be had here."""

import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import yaml  # noqa: E402
from chart import (
    CHART,
    FILES,
    ROOT,
    helm,
    main,
    rendered,
    schemas,
    text,
    tool,
    yaml_blocks,
)  # noqa: E402

LAYOUT = "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"


def kubeconform(manifests):
    """Exit status and what it says."""
    done = subprocess.run(
        [
            tool("kubeconform"),
            "-strict",
            "-summary",
            "-schema-location",
            f"{schemas()}/{LAYOUT}",
            "-",
        ],
        input=manifests,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def kube_validate(manifests):
    """Exit status and what it says."""
    done = subprocess.run(
        [tool("kube-validate")],
        input=manifests,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class Conform(unittest.TestCase):
    def each(self):
        for path in FILES:
            with self.subTest(path.name):
                yield path

    def test_lint_finds_nothing(self):
        for path in self.each():
            code, out, err = helm("lint", "--strict", CHART, "--values", path)
            self.assertEqual(0, code, out + err)
            self.assertNotIn("[WARNING]", out)

    def test_every_values_file_renders_for_every_release_name(self):
        for path in self.each():
            for release in ("xin-platform", "r"):
                code, _, err = rendered("--values", path, release=release)
                self.assertEqual(0, code, err)
                self.assertEqual("", err)

    def test_every_object_is_valid_for_its_kind(self):
        for path in self.each():
            code, said = kubeconform(text("--values", str(path)))
            self.assertEqual(0, code, said)
            self.assertIn("Invalid: 0, Errors: 0, Skipped: 0", said)

    def test_the_schemas_see_what_is_wrong(self):
        good = text("--values", str(CHART / "ci" / "all-on-values.yaml"))
        for right, wrong in (
            ("terminationGracePeriodSeconds:", "terminationGracePeriod:"),
            ("secretStoreRef:", "authSecretRef:"),
            ("listName:", "- listName:"),
            ("podMetricsEndpoints:", "endpoints:"),
            ("backendRefs:", "backends:"),
        ):
            found = (
                text("--values", str(CHART / "values-staging.yaml"))
                if right == "secretStoreRef:"
                else good
            )
            self.assertIn(right, found)
            self.assertNotEqual(0, kubeconform(found.replace(right, wrong))[0], wrong)

    def test_kubernetes_own_validation_takes_every_object(self):
        for path in self.each():
            code, said = kube_validate(text("--values", str(path)))
            self.assertEqual(0, code, said)
            kinds = text("--values", str(path)).count("\nkind: ")
            valid, custom = re.search(r"valid (\d+), custom (\d+), refused 0", said).groups()
            self.assertEqual(kinds, int(valid) + int(custom))

    def test_kubernetes_own_validation_sees_what_schemas_do_not(self):
        good = text()
        for right, wrong, said in (
            ("path: brands/alpha.lua", "path: ../alpha.lua", "must not contain '..'"),
            ("maxSkew: 1", "maxSkew: 0", "maxSkew"),
            ("name: gateway-metrics", "name: a-name-of-over-15-characters", "no more than 15"),
            ("cidr: 0.0.0.0/0", "cidr: 10.0.0.0/8", "strict subset"),
        ):
            found = text("--values", str(CHART / "values-laptop.yaml")) if right not in good else good
            self.assertIn(right, found)
            code, answer = kube_validate(found.replace(right, wrong))
            self.assertEqual(1, code, wrong)
            self.assertIn(said, answer)

    def test_stores_of_the_documents_are_valid_today_125(self):
        pages = [CHART / "README.md", *(ROOT / "docs").rglob("*.md")]
        stores = [
            block
            for page in pages
            for block in yaml_blocks(page)
            if isinstance(block, dict) and str(block.get("kind", "")).endswith("SecretStore")
        ]
        self.assertLessEqual(
            {
                "ClusterSecretStore xin-vault-kv",
                "ClusterSecretStore doppler-prod",
                "SecretStore vault",
            },
            {f"{s['kind']} {s['metadata']['name']}" for s in stores},
        )
        for store in stores:
            self.assertEqual("external-secrets.io/v1", store["apiVersion"])
        code, said = kubeconform(yaml.safe_dump_all(stores))
        self.assertEqual(0, code, said)
        old = next(s for s in stores if "doppler" in s["spec"]["provider"])
        old["spec"]["provider"]["doppler"] = {
            "authSecretRef": {"dopplerToken": {"name": "doppler-token", "key": "token"}}
        }
        self.assertNotEqual(0, kubeconform(yaml.safe_dump(old))[0])  # ruling R5

    def test_a_package_renders_what_the_folder_renders(self):
        with tempfile.TemporaryDirectory() as folder:
            code, out, err = helm("package", CHART, "--destination", folder)
            self.assertEqual(0, code, err)
            package = next(pathlib.Path(folder).glob("*.tgz"))
            for path in (CHART / "values-staging.yaml", CHART / "values-production.yaml"):
                code, out, err = rendered("--values", path, chart=package)
                self.assertEqual(0, code, err)
                self.assertEqual(text("--values", str(path)), out)
            names = tarfile.open(package).getnames()
            self.assertFalse(
                [n for n in names if "/ci/" in n or n.startswith("xin-platform/tests/")]
            )
            self.assertLess(
                package.stat().st_size, 500_000
            )  # a release is a Secret: 1 MiB with its manifests

    def test_unit_tests_of_the_chart_pass(self):
        done = subprocess.run(
            [tool("helm-unittest"), str(CHART)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertNotIn("Test Suites: 0 passed", done.stdout)

    def test_what_the_chart_has_from_elsewhere_is_current(self):
        done = subprocess.run(
            [str(ROOT / "scripts" / "chart_make"), "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)


if __name__ == "__main__":
    main()
