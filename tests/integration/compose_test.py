#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/compose.yaml: what it sets is known to who reads it, its secrets come
from .env, its containers have no rights, and the Compose Specification's own
loader takes it. The loader is skipped by name where it cannot be had; without
PyYAML all is (77)."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from xin_process import BINARY, ROOT, Xin  # noqa: E402

try:
    import yaml
except ImportError:
    print("compose_test: skipped: PyYAML cannot be had")
    sys.exit(77)

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
OURS = {"gateway", "orchestrator", "worker", "migrate"}
# What the makers of the other images document.
THEIRS = {"postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
          "redis": {"REDISCLI_AUTH"},
          "storage": {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"},
          "qdrant": {"QDRANT__SERVICE__API_KEY"},
          "otel-collector": set()}
SETTING = re.compile(r'CONFIG\(\s*CFG_\w+,\s*CONFIG_(\w+),\s*"(\w+)"')
VARIABLE = re.compile(r"\$\{(\w+)")


def settings():
    """The kinds of the program's settings by their names."""
    text = (ROOT / "src/base/config.def").read_text()
    return {name: kind for kind, name in SETTING.findall(text)}


class Compose(unittest.TestCase):
    def test_every_name_it_sets_is_known(self):
        known = settings()
        self.assertGreater(len(known), 50)
        self.assertEqual(set(SERVICES), OURS | set(THEIRS))
        for name, service in SERVICES.items():
            wanted = known if name in OURS else THEIRS[name]
            for variable in service.get("environment", {}):
                self.assertIn(variable, wanted, name)

    def test_secrets_come_from_the_environment_file_alone(self):
        kinds = settings()
        for name in OURS:
            for variable, value in SERVICES[name]["environment"].items():
                if kinds[variable] == "SECRET":
                    self.assertRegex(value, r"\$\{\w+:\?\}", (name, variable))
        given = dict(line.split("=") for line in
                     (DEPLOY / "compose.env.example").read_text().splitlines()
                     if line and not line.startswith("#"))
        self.assertEqual(set(VARIABLE.findall(TEXT)), set(given))
        self.assertEqual({name for name, value in given.items() if value}, {"XIN_TAG"})

    def test_roles_get_what_they_need(self):
        cluster = {"XIN_STORE_URL", "INGEST_REDIS_HOST", "STORAGE_ENDPOINT_URL",
                   "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY", "STORAGE_BUCKET",
                   "XIN_SEARCH_URL"}
        for name in ("orchestrator", "worker", "migrate"):
            self.assertLessEqual(cluster, set(SERVICES[name]["environment"]), name)
        self.assertLessEqual({"XIN_ORCHESTRATOR_URL", "XIN_SERVICE_KEY",
                              "GATEWAY_WEBHOOK_SECRET"},
                             set(SERVICES["gateway"]["environment"]))

    def test_what_it_names_is_there(self):
        volumes = yaml.safe_load(TEXT)["volumes"]
        for name, service in SERVICES.items():
            self.assertLessEqual(set(service.get("depends_on", {})), set(SERVICES), name)
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((DEPLOY / source).exists(), source)
                else:
                    self.assertIn(source, volumes, name)

    def test_our_containers_have_no_rights(self):
        for name in OURS:
            service = SERVICES[name]
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_images_are_pinned_and_watched(self):
        for name, service in SERVICES.items():
            tag = service["image"].rpartition(":")[2]
            if name not in OURS:
                self.assertRegex(tag, r"\d+\.\d+|\d{4}-\d\d-\d\d", name)
            self.assertNotEqual(tag, "latest", name)
            if name not in ("migrate", "otel-collector"):
                self.assertIn("healthcheck", service, name)

    def test_the_collectors_pipelines_are_whole(self):
        config = yaml.safe_load((DEPLOY / "otel/collector.yaml").read_text())
        for pipeline in config["service"]["pipelines"].values():
            for kind in ("receivers", "processors", "exporters"):
                self.assertLessEqual(set(pipeline[kind]), set(config[kind]))
        port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
        for name in ("gateway", "orchestrator", "worker"):
            self.assertEqual(SERVICES[name]["environment"]["OTEL_EXPORTER_ENDPOINT"],
                             f"http://otel-collector:{port}/v1/traces")

    def load(self, text):
        """The loader's program reads no environment: the values are put in here."""
        found = subprocess.run([str(HERE.parent / "support/compose_spec_get")],
                               capture_output=True, text=True, check=False)
        if found.returncode == 77:
            self.skipTest("the Compose Specification's loader cannot be had: it is built with Go")
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "compose.yaml").write_text(
                re.sub(r"\$\{\w+(:[?-][^}]*)?\}", "s3cret", text))
            return subprocess.run([found.stdout.strip(), "compose.yaml"], cwd=folder, text=True,
                                  capture_output=True, check=False)

    def test_the_specifications_loader_takes_it(self):
        done = self.load(TEXT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("postgres://xin:s3cret@postgres:5432/xin", done.stdout)
        for right, wrong in (("read_only: true", "read_onli: true"),
                             ("condition: service_healthy", "condition: service_well")):
            self.assertIn(right, TEXT)
            self.assertNotEqual(self.load(TEXT.replace(right, wrong)).returncode, 0, wrong)

    def test_its_health_check_is_the_programs(self):
        def health(url):
            return subprocess.run([str(BINARY), "health", url], capture_output=True, text=True,
                                  env={"PATH": os.environ["PATH"]}, cwd="/", timeout=60, check=False)

        xin = Xin()
        self.addCleanup(xin.stop)
        xin.start()
        for url in (xin.url, xin.gateway_url):
            done = health(url)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn('"status":"ok"', done.stdout)
        (xin.home / "data/objects").rename(xin.home / "data/elsewhere")
        done = health(xin.url)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("objects", done.stdout)
        (xin.home / "data/elsewhere").rename(xin.home / "data/objects")
        xin.stop_quietly()
        self.assertEqual(health(xin.url).returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
