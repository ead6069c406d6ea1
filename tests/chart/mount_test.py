#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program in the environment that the chart gives it: its settings, and the
scripts as the kubelet projects them, changed by the kubelet's rename. Exit
status 77: helm cannot be had here."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import yaml  # noqa: E402
from chart import CHART, FILES, ROOT, environment, main, objects, of_kind, pods  # noqa: E402
from xin_process import BINARY, OPENER, Xin  # noqa: E402


def projected(template, maps):
    """What the projected volume of the scripts holds: path -> text."""
    volume = next(v for v in template["spec"]["volumes"] if v["name"] == "lua")
    return {
        item["path"]: maps[source["configMap"]["name"]]["data"][item["key"]]
        for source in volume["projected"]["sources"]
        for item in source["configMap"]["items"]
        if item["key"] in maps.get(source["configMap"]["name"], {}).get("data", {})
    }


def mount(folder, files, generation):
    """As the kubelet's atomic writer: a new folder, then one rename of ..data."""
    for path, text in files.items():
        (folder / f"..{generation}" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"..{generation}" / path).write_text(text)
    (folder / "..data_tmp").symlink_to(f"..{generation}")
    os.rename(folder / "..data_tmp", folder / "..data")
    for top in {path.split("/")[0] for path in files}:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")


class Mount(unittest.TestCase):
    def test_the_mounted_scripts_pass_the_check_of_the_program(self):
        found = objects()
        template = of_kind(found, "Deployment")["xin-platform-orchestrator"]["spec"]["template"]
        with tempfile.TemporaryDirectory() as folder:
            mount(pathlib.Path(folder), projected(template, of_kind(found, "ConfigMap")), 1)
            done = subprocess.run(
                [BINARY, "check", folder], capture_output=True, text=True, timeout=120, check=False
            )
            self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_the_program_takes_every_environment_that_the_chart_makes(self):
        for values in FILES:
            found = objects(values)
            for where, template in pods(found).items():
                if not where.startswith("Deployment/"):
                    continue
                env = {
                    n: v.replace("$(POD_NAME)", "pod")
                    for n, v in environment(template, found).items()
                }
                # An empty PATH-like world, and a data folder that cannot be:
                # settings are read before anything is opened.
                done = subprocess.run(
                    [BINARY, "doctor", "--json"],
                    env=env | {"XIN_DATA_DIR": "/dev/null/x"},
                    cwd="/",
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                self.assertNotIn(
                    "unknown setting", done.stdout + done.stderr, f"{values.name} {where}"
                )
                self.assertNotIn(
                    "must be a number", done.stdout + done.stderr, f"{values.name} {where}"
                )
        done = subprocess.run(
            [BINARY, "doctor"],
            env={"XIN_LOG_LEVLE": "info"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertIn(
            "unknown setting", done.stdout + done.stderr
        )  # the sentence that is looked for above

    def ask(self, path, body=None):
        request = urllib.request.Request(
            self.xin.url + path,
            data=body and json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with OPENER.open(request, timeout=10) as answer:
            return json.load(answer)

    def until(self, what):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError("not within 20 s")

    def start(self):
        """`xin serve` in the laptop's environment, on the mounted scripts."""
        found = objects(CHART / "values-laptop.yaml")
        template = of_kind(found, "Deployment")["xin-platform-all-in-one"]["spec"]["template"]
        env = {n: v.replace("$(POD_NAME)", "pod") for n, v in environment(template, found).items()}
        own = ("XIN_DATA_DIR", "XIN_LUA_DIR", "XIN_ORCHESTRATOR_LISTEN", "XIN_GATEWAY_LISTEN")
        self.xin = Xin("serve", **{n: v for n, v in env.items() if n not in own})
        self.addCleanup(self.xin.stop)
        self.folder = self.xin.home / "mounted"
        self.folder.mkdir()
        self.files = projected(template, of_kind(found, "ConfigMap"))
        self.generation = 1
        mount(self.folder, self.files, self.generation)
        self.xin.start(XIN_LUA_DIR=str(self.folder), XIN_ORCHESTRATOR_LISTEN="127.0.0.1:0")
        return self.active()

    def active(self):
        return self.ask("/v1/scripts")["active"]["hash"]

    def change(self, text):
        self.generation += 1
        mount(self.folder, self.files | {"brands/default.lua": text}, self.generation)

    def scripts(self, verb):
        done = subprocess.run(
            [BINARY, "scripts", verb],
            env={"XIN_URL": self.xin.url},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_a_changed_config_map_is_live_without_a_restart(self):
        first = self.start()
        self.change(self.files["brands/default.lua"] + "\n-- changed\n")
        second = self.until(lambda: (h := self.active()) != first and h)
        self.change(
            "this is no Lua"
        )  # refused: the last good one goes on, and it is said where and why
        last = self.until(
            lambda: (a := self.ask("/v1/scripts")["last_attempt"])["result"] == "rejected" and a
        )
        self.assertEqual("brands/default.lua", last["errors"][0]["file"])
        self.assertEqual(second, self.active())
        self.assertEqual("ok", self.ask("/health")["status"])

    def test_a_pin_holds_changes_back_and_a_roll_back_takes_one_back(self):
        first = self.start()
        self.scripts("pin")
        self.change(self.files["brands/default.lua"] + "\n-- changed\n")
        time.sleep(3)  # two polls and more
        self.assertEqual(first, self.active())
        self.scripts("unpin")
        self.until(lambda: self.active() != first)
        self.scripts("rollback")
        self.until(lambda: self.active() == first)

    def test_the_command_of_the_page_makes_the_config_map(self):
        kubectl = shutil.which("kubectl")
        if not kubectl:
            self.skipTest("kubectl cannot be had here")
        command = "kubectl create configmap acme-brands -n xin-staging --from-file=lua/brands --dry-run=client -o yaml"
        self.assertIn(command, (CHART / "README.md").read_text())
        done = subprocess.run(
            command.split(), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(0, done.returncode, done.stderr)
        made = yaml.safe_load(done.stdout)
        for item in ("alpha.lua", "default.lua"):
            self.assertEqual((ROOT / "lua/brands" / item).read_text(), made["data"][item])

    def test_beside_the_service_its_own_key_will_do(self):
        key = "xin_" + "k" * 43
        self.xin = Xin("serve", XIN_ADMIN_KEY=key, XIN_AUTH="keys")
        self.addCleanup(self.xin.stop)
        with socket.socket() as probe:  # without XIN_URL that is where it asks
            if probe.connect_ex(("127.0.0.1", 8000)) == 0:
                self.skipTest("port 8000 is taken")
        self.xin.start(XIN_ORCHESTRATOR_LISTEN="127.0.0.1:8000")
        env = {"XIN_ADMIN_KEY": key}
        done = subprocess.run(
            [BINARY, "scripts", "status"],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn('"generation"', done.stdout)
        # elsewhere it is not sent
        done = subprocess.run(
            [BINARY, "scripts", "status"],
            env=env | {"XIN_URL": self.xin.url},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn("401", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
