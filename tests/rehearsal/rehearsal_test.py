#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A release without a cluster under load: two pods of each service with the
chart's own environment, Lua mounted as the kubelet does it, two brands with 50
conversations each. Scripts are edited by ConfigMap, pods are told to go, the
schema is upgraded: nobody gets a failed or a wrong answer.

rehearsal_test.py [--full]      a whole minute instead of a part of it
Exit status 77: something cannot be had here, by name."""
import bisect
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "load")]
from cluster import ADMIN, SECRET, Cluster, Missing  # noqa: E402
from load_test import Locust  # noqa: E402
from release import Release, helm  # noqa: E402
from xin_process import BINARY, OPENER, ROOT  # noqa: E402

FULL = "--full" in sys.argv
SECONDS = 60 if FULL else 20
FRESH = 2.0  # seconds after a switch from which on no older answer may come
ANSWER = re.compile(r"answer turn=(\S+) began=(\S+) editions=(\S*) generation=(\S+)")


def edition(number):
    """Every answer of every brand ends with the edition's mark."""
    def change(path, text):
        if not path.startswith("brands/") or not text.rstrip().endswith("return M"):
            return text
        return text.rstrip()[:-len("return M")] + f"""
local EDITION = " [edition {number}]"
local route, reply = M.route, M.reply or function() end
if type(M.no_answer) == "string" then M.no_answer = M.no_answer .. EDITION end
function M.route(turn)
  local way = route(turn)
  way.reply = way.reply and way.reply .. EDITION
  way.no_answer = way.no_answer and way.no_answer .. EDITION
  return way
end
function M.reply(turn, answer)
  local said = reply(turn, answer)
  return {{ text = (said and said.text or answer.text) .. EDITION }}
end
return M
"""
    return change


def smoke(test, release, components, golden, **settings):
    """scripts/smoke_test.sh says what the runbook's sample says, word for word."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["bash", "scripts/smoke_test.sh", "staging"], cwd=ROOT, capture_output=True, text=True,
            env=release.kubectl(pathlib.Path(folder), components) | settings, timeout=120,
            check=False)
    wanted = (ROOT / "tests" / "scripts" / "golden" / golden).read_text()
    test.assertEqual(wanted, done.stdout, done.stderr)
    test.assertEqual(0, done.returncode)


class Load(Locust):
    """Locust in the background, on the release's Services, until finish()."""

    def __init__(self, release, locustfile=HERE.parent / "load" / "locustfile.py", **settings):
        self.release = release
        found = subprocess.run([str(ROOT / "scripts/locust_get")], capture_output=True, text=True,
                               check=True)
        super().__init__(
            (found.stdout.strip(), "--headless", "--only-summary", "--stop-timeout", "20",
             "-f", str(locustfile)),
            seconds=600, LOCUST_HOST=release.services["channel-gateway"].url,
            ORCHESTRATOR_HOST=release.services["orchestrator"].url,
            GATEWAY_WEBHOOK_SECRET=SECRET, INGESTION_API_KEY=ADMIN,
            INGESTION_WARMUP_SECONDS="5", **settings)

    def finish(self):
        self.process.terminate()
        return super().finish()

    def story(self, line):
        """What the pods' logs say of a call."""
        correlation_id = re.search(r"correlation_id=(\S+)", line).group(1)
        return "".join(f"\n{said.strip()}" for pod in self.release.pods for said in list(pod.logs)
                       if correlation_id in said)

    def check(self, test):
        """Nothing failed."""
        self.finish()
        seconds = self.ended - self.began
        bad = [line for line in self.log.splitlines() if " problem=" in line]
        test.assertEqual([], bad[:5], f"{len(bad)} of {len(self.calls)} calls failed; of the first: "
                         + "".join(self.story(line) for line in bad[:2]))
        test.assertEqual(0, self.status, self.said)
        test.assertEqual(100, self.users)
        test.assertGreater(len(self.calls), 15 * seconds)


class Edits(unittest.TestCase):
    """Scripts change by ConfigMap under load."""

    @classmethod
    def setUpClass(cls):
        cls.release = Release({"nameStyle": "long"})
        cls.addClassCleanup(cls.release.close)
        for component in ("orchestrator", "channel-gateway", "ingestion-worker"):
            cls.release.pod(component)
        cls.release.pod("orchestrator")
        cls.release.pod("channel-gateway")
        old = cls.until_all_run(cls.release, None)
        cls.release.edit(edition(0))
        cls.until_all_run(cls.release, old)
        cls.release.settle()

    @staticmethod
    def until_all_run(release, old, seconds=10):
        """Every process runs one generation, another than `old`."""
        until = time.monotonic() + seconds
        while True:
            found = {p.generation() for p in release.pods}
            if len(found) == 1 and found != {old}:
                return found.pop()
            if time.monotonic() > until:
                raise AssertionError(f"generations {found} after {seconds} s")
            time.sleep(0.05)

    def test_no_answer_fails_or_is_older_than_two_seconds(self):
        load = Load(self.release, HERE / "reader.py")
        load.until_all_speak()
        began, switches = time.time(), []
        generation = self.until_all_run(self.release, None)
        generations = {"0": generation}
        for number in range(1, 4):
            time.sleep(max(0, began + number * SECONDS / 4 - time.time()))
            switches.append(self.release.edit(edition(number)))
            generation = self.until_all_run(self.release, generation, FRESH)
            generations[str(number)] = generation
            self.all_report(generation)
        self.smoke_finds_the_sample()
        time.sleep(max(0, began + SECONDS - time.time()))
        load.check(self)
        answers = ANSWER.findall(load.log)
        self.assertEqual(set("0123"), {number for _, _, number, _ in answers})
        for _, at, number, reported in answers:
            # Each agrees with the generation in its header...
            self.assertEqual(generations[number], reported, f"edition {number}")
            # ...and none is older than two seconds after the switch.
            least = bisect.bisect_right(switches, float(at) - FRESH)
            self.assertGreaterEqual(int(number), least, f"asked at {at}, switched at {switches}")

    def smoke_finds_the_sample(self):
        """The runbook's own call and its two Deployments with long names."""
        orchestrator = "http://xin-platform-xin-platform-orchestrator:8000"
        smoke(self, self.release, ("orchestrator", "channel-gateway"), "sample.txt",
              INGESTION_URL=orchestrator + "/v1/brands/default/knowledge",
              INGESTION_PAYLOAD='{"title":"smoke","content":"hello"}',
              INGESTION_VERIFY_URL=orchestrator + "/health")

    def all_report(self, generation):
        for pod in self.release.of("orchestrator"):
            status, scripts = pod.ask("GET", "/v1/scripts")
            self.assertEqual(200, status)
            self.assertEqual(generation, scripts["active"]["generation"])


class Going(unittest.TestCase):
    """A pod is told to go while others serve."""

    @classmethod
    def setUpClass(cls):
        cls.release = Release()
        cls.addClassCleanup(cls.release.close)
        for component in ("orchestrator", "channel-gateway", "ingestion-worker") * 2:
            cls.release.pod(component)
        cls.release.settle()

    def test_0_metrics_answer_at_the_charts_ports_without_a_key_19_31_32(self):
        wanted = {"orchestrator": [8000], "channel-gateway": [8080, 9102],
                  "ingestion-worker": [9103]}
        for component, ports in wanted.items():
            container = self.release.deployments[component]["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(ports, [p["containerPort"] for p in container["ports"]])
            pod = self.release.of(component)[0]
            for port in pod.ports.values():
                with OPENER.open(f"http://{pod.ip}:{port}/metrics", timeout=10) as response:
                    self.assertIn(b"process_start_time_seconds", response.read())

    def roll(self, component):
        load = Load(self.release)
        load.until_all_speak()
        for pod in self.release.of(component):
            self.release.replace(pod)
        smoke(self, self.release, ("orchestrator", "channel-gateway", "ingestion-worker"),
              "three.txt")
        load.check(self)
        self.all_ready()

    def all_ready(self):
        """What was uploaded before and meanwhile is ready."""
        pod = self.release.of("orchestrator")[0]
        for brand in ("alpha", "beta"):
            for source in pod.ask("GET", f"/v1/brands/{brand}/knowledge")[1]["items"]:
                pod.until_ready(brand, source["id"])

    def test_gateways_are_replaced_and_nobody_notices(self):
        self.roll("channel-gateway")

    def test_orchestrators_are_replaced_and_nobody_notices(self):
        self.roll("orchestrator")

    def test_workers_are_replaced_and_every_document_gets_ready(self):
        self.roll("ingestion-worker")


class Upgrade(unittest.TestCase):
    """From the schema before, with traffic running: the schema first, by the new
    program; then one pod after the other. XIN_BEFORE is the program of an earlier
    release; unset, it is today's without the last schema."""

    def test_nothing_is_lost(self):
        before = pathlib.Path(os.environ.get("XIN_BEFORE") or BINARY.parent / "xin-before")
        release = Release(binary=before)
        self.addCleanup(release.close)
        for component in ("orchestrator", "ingestion-worker", "channel-gateway") * 2:
            release.pod(component)
        release.settle()
        old = self.sql(release, "SELECT max(version) FROM schema_migrations")
        load = Load(release, HERE / "reader.py")
        load.until_all_speak()
        said = release.cluster.command("migrate")
        new = self.sql(release, "SELECT max(version) FROM schema_migrations")
        self.assertLess(int(old), int(new), said.stdout)
        release.binary = BINARY
        for component in ("orchestrator", "ingestion-worker", "channel-gateway"):
            for pod in release.of(component):
                release.replace(pod)
        load.check(self)
        turns = [turn for turn, *_ in ANSWER.findall(load.log)]
        self.assertEqual(len(turns), len(set(turns)))
        stored = self.sql(release, "SELECT id FROM turns").split()
        self.assertEqual(len(stored), len(set(stored)))
        self.assertEqual(set(), set(turns) - set(stored))
        pod = release.of("orchestrator")[0]
        staged = {"alpha": 0, "beta": 0}
        for brand in staged:
            for source in pod.ask("GET", f"/v1/brands/{brand}/knowledge")[1]["items"]:
                staged[brand] = pod.until_ready(brand, source["id"])["version"]
        self.assertEqual(sum(c[0].startswith("ingestion:warmup:") for c in load.calls),
                         sum(staged.values()))

    @staticmethod
    def sql(release, query):
        return subprocess.run(["psql", release.cluster.postgres.tcp_url, "-Atc", query],
                              capture_output=True, text=True, check=True).stdout.strip()


class UnderWay(unittest.TestCase):
    """What a pod has begun when it is told to go."""

    @classmethod
    def setUpClass(cls):
        cls.model = subprocess.Popen(
            [sys.executable, str(HERE.parent / "support" / "model_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.model.communicate)
        cls.model_url = f"http://127.0.0.1:{cls.model.stdout.readline().split()[1]}"
        cls.release = Release({"config": {"XIN_MODEL_URL": cls.model_url + "/v1",
                                          "XIN_MODEL_NAME": "double"},
                               "common": {"drainDelaySeconds": 1}})
        cls.addClassCleanup(cls.release.close)
        cls.orchestrators = [cls.release.pod("orchestrator") for _ in range(2)]

    def test_a_stream_ends_whole_and_a_watcher_is_sent_away(self):
        leaving, staying = self.orchestrators
        worker = self.release.pod("ingestion-worker")
        staying.ready("alpha", "returns.md", "# Returns\n\nA jacket can be returned in 30 days.\n")
        control = urllib.request.Request(self.model_url + "/control", json.dumps(
            {"faults": ["slow:4000"], "stay": True}).encode(), method="POST")
        OPENER.open(control, timeout=10).close()
        streams = {}

        def read(name, method, path, body=None):
            streams[name] = leaving.ask(method, path, body, {"Accept": "text/event-stream"})

        threads = [threading.Thread(target=read, args=args) for args in (
            ("turn", "POST", "/v1/brands/alpha/turns",
             {"message": "In how many days can a jacket be returned?", "user": {"id": "u"},
              "stream": True}),
            ("events", "GET", "/v1/events"))]
        for thread in threads:
            thread.start()
        time.sleep(1)
        took = leaving.delete()
        for thread in threads:
            thread.join(10)
        self.assertLess(took, 20)
        status, turn = streams["turn"]
        self.assertEqual(200, status)
        self.assertIn(b"event: done", turn)
        self.assertEqual(200, streams["events"][0])
        # Whoever lost the stream reads it at the other replica.
        turn_id = re.search(rb'"id":"(tn_[a-z0-9]+)"', turn).group(1).decode()
        status, again = staying.ask("GET", f"/v1/brands/alpha/turns/{turn_id}/events")
        self.assertEqual(200, status)
        self.assertIn(b"event: done", again)
        worker.delete()

    def test_jobs_under_way_end_or_go_back(self):
        orchestrator = self.orchestrators[1]
        workers = [self.release.pod("ingestion-worker") for _ in range(2)]
        text = "# Part {0}\n\n" + "A sentence about the number {0} and its friends. " * 2000
        ids = []
        for number in range(24):
            status, source = orchestrator.upload("beta", f"part{number}.md", text.format(number))
            self.assertEqual(202, status, source)
            ids.append(source["id"])
            if number == 12:
                going = threading.Thread(target=workers[0].delete)
                going.start()
        going.join()
        self.assertEqual(0, workers[0].process.returncode, workers[0].last_words())
        for source_id in ids:
            self.assertEqual(1, orchestrator.until_ready("beta", source_id, 120)["version"])


if __name__ == "__main__":
    sys.argv = [a for a in sys.argv if a != "--full"]
    try:
        helm()
        Cluster(binary=None).close()
        if subprocess.run([str(ROOT / "scripts/locust_get")], capture_output=True,
                          check=False).returncode != 0:
            raise Missing("no Locust here: it comes from PyPI")
    except Missing as missing:
        print(f"rehearsal_test: skipped: {missing}")
        sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")
