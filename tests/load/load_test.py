#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The load test itself, run for seconds against the real program: what the
runbook promises of it. The number in a test's name is that of the promise in
tests/checklist.md. Exit status 77: Locust cannot be had here."""
import csv
import http.server
import json
import os
import pathlib
import py_compile
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import otlp_receiver  # noqa: E402
from xin_process import OPENER, ROOT, Xin  # noqa: E402

LINE = re.compile(r"flow=(\S+) correlation_id=(\S+) status=(\d+) ms=\d+ retry_after=(\S+)")
FAST = {"LOCUST_CONVERSATIONS": "4", "LOCUST_SPAWN_RATE": "8"}


class Locust:
    """One run of Locust in the background; finish() waits and reads what it left:
    its statistics, its log, what it said."""

    def __init__(self, command=("scripts/load_test",), seconds=6, **settings):
        self.seconds = seconds
        self.folder = tempfile.TemporaryDirectory(prefix="xin-load-")
        self.home = pathlib.Path(self.folder.name)
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("LOCUST_", "INGESTION_", "GATEWAY_", "ORCHESTRATOR_",
                                               "MAKE", "MFLAGS"))}
        environment |= {"PYTHONWARNINGS": "ignore", "LOCUST_RUN_TIME": f"{seconds}s",
                        "LOCUST_LOGFILE": str(self.home / "log"),
                        "LOCUST_CSV": str(self.home / "stats"), "LOCUST_CSV_FULL_HISTORY": "true",
                        } | settings
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*command], cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def finish(self):
        try:
            self.said, _ = self.process.communicate(timeout=self.seconds + 120)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            raise
        self.ended, self.status = time.monotonic(), self.process.returncode
        self.log = self.read_log()
        self.calls = LINE.findall(self.log)
        self.requests, self.failures, self.users = {}, {}, 0
        if not (self.home / "stats_stats.csv").exists():
            return self
        for row in self.rows("stats_stats.csv"):
            self.requests[row["Name"]] = int(row["Request Count"])
            self.failures[row["Name"]] = int(row["Failure Count"])
        for row in self.rows("stats_stats_history.csv"):
            self.users = max(self.users, int(row["User Count"]))
        return self

    def read_log(self):
        return (self.home / "log").read_text() if (self.home / "log").exists() else ""

    def until_all_speak(self):
        """Until every customer is there."""
        until = time.monotonic() + 60
        while "All users spawned" not in self.read_log():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "Locust does not get going"
            time.sleep(0.1)

    def rows(self, name):
        with open(self.home / name) as file:
            return list(csv.DictReader(file))

    def ids(self, flow=""):
        return [call[1] for call in self.calls if call[0].startswith(flow)]


def Run(*command, **settings):
    return Locust(*command, **settings).finish()


class Recorder:
    """Somewhere else to send requests to: it keeps them and takes them all."""

    def __init__(self):
        self.taken = taken = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                taken.append((self.command, self.path, dict(self.headers), body.decode()))
                text = json.dumps({"id": "recorded", "reply": {"text": "recorded"}}).encode()
                self.send_response(200)
                self.send_header("X-Request-ID", self.headers.get("X-Request-ID", ""))
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = answer

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Watcher(threading.Thread):
    """Looks at /metrics while Locust runs."""

    def __init__(self, urls):
        super().__init__(daemon=True)
        self.urls, self.seen, self.over = urls, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(1):
            self.seen.append([metrics(url) for url in self.urls])

    def stop(self):
        self.over.set()
        self.join()


def metrics(url):
    with OPENER.open(urllib.request.Request(url + "/metrics"), timeout=10) as response:
        return response.read().decode()


def total(exposition, name, **labels):
    found = 0.0
    for line in exposition.splitlines():
        if line.startswith((name + "{", name + " ")) and all(
                f'{label}="{value}"' in line for label, value in labels.items()):
            found += float(line.rsplit(" ", 1)[1])
    return found


class Defaults(unittest.TestCase):
    """One run as the runbook has it: nothing said but where the gateway is."""

    @classmethod
    def setUpClass(cls):
        cls.receiver = otlp_receiver.Receiver()
        cls.xin = Xin(OTEL_EXPORTER_ENDPOINT=cls.receiver.url(), OTEL_BSP_SCHEDULE_DELAY="500")
        cls.addClassCleanup(cls.xin.stop)
        cls.xin.start()
        cls.before = len(cls.receiver.requests)
        watcher = Watcher([cls.xin.url, cls.xin.gateway_url])
        cls.run_ = Run(seconds=16, LOCUST_HOST=cls.xin.gateway_url)
        watcher.stop()
        cls.seen = watcher.seen
        time.sleep(1.5)  # the last spans

    def spans(self):
        return [s for s in self.receiver.spans if str(
            s.attributes.get("xin.correlation_id", "")).startswith("load-")]

    def test_0_nothing_fails(self):
        self.assertEqual(0, self.run_.status, self.run_.said)
        self.assertEqual(0, self.run_.failures["Aggregated"], self.run_.failures)

    def test_the_scenario_is_where_it_should_be_82(self):
        with tempfile.TemporaryDirectory() as folder:
            py_compile.compile(str(HERE / "locustfile.py"), cfile=folder + "/c", doraise=True)

    def test_the_runbook_names_every_setting_of_it(self):
        runbook = (ROOT / "docs/runbook.md").read_text()
        for name in re.findall(r'environ.get\("([A-Z_]+)"', (HERE / "locustfile.py").read_text()):
            self.assertIn(f"`{name}", runbook)

    def test_two_brands_with_fifty_conversations_each_83_84(self):
        webhooks = {n: c for n, c in self.run_.requests.items() if n.startswith("gateway:webhook:")}
        self.assertEqual({"gateway:webhook:alpha", "gateway:webhook:beta"}, set(webhooks))
        self.assertEqual(100, self.run_.users)
        said = re.findall(r'All users spawned: (\{.*?\})', self.run_.log)
        self.assertEqual({"Customer_alpha": 50, "Customer_beta": 50}, json.loads(said[-1]))

    def test_all_three_services_see_the_requests_85(self):
        services = {span.service for span in self.spans()}
        self.assertEqual({"xin-channel-gateway", "xin-orchestrator", "xin-ingestion-worker"},
                         services)

    def test_the_gateways_webhook_is_hit_86(self):
        count = total(metrics(self.xin.gateway_url), "http_requests_total",
                      route="/webchat/webhook", status_code="2xx")
        self.assertEqual(len(self.run_.ids("gateway:webhook:")), count)

    def test_the_default_secret_is_that_of_the_server_88(self):
        self.assertNotIn("GATEWAY_WEBHOOK_SECRET", self.xin.settings)
        self.assertEqual({"200"}, {c[2] for c in self.run_.calls if c[0].startswith("gateway")})

    def test_names_are_those_of_the_brands_89(self):
        for brand in ("alpha", "beta"):
            self.assertGreater(self.run_.requests[f"gateway:webhook:{brand}"], 20)

    def test_the_file_is_staged_and_gets_ready_again_and_again_90(self):
        for brand in ("alpha", "beta"):
            self.assertGreaterEqual(self.run_.requests[f"ingestion:warmup:{brand}"], 2)
            self.assertGreaterEqual(self.run_.requests[f"ingestion:ready:{brand}"], 1)
            _, sources = self.xin.ask("GET", f"/v1/brands/{brand}/knowledge")
            self.assertEqual(["load-warmup"], [s["external_id"] for s in sources["items"]])
            # R17: each upload was new, so each made a version.
            self.assertEqual(self.run_.requests[f"ingestion:warmup:{brand}"],
                             sources["items"][0]["version"])

    def test_the_gateways_host_stands_in_for_the_orchestrators_92(self):
        count = total(metrics(self.xin.gateway_url), "http_requests_total",
                      route="/v1/brands/{brand_id}/knowledge")
        self.assertEqual(len(self.run_.ids("ingestion:warmup:")), count)

    def test_every_call_has_an_id_of_its_own_96(self):
        ids = self.run_.ids()
        # Locust's last look at its counts is a moment before the last calls end.
        self.assertGreaterEqual(len(ids), self.run_.requests["Aggregated"])
        self.assertEqual(len(ids), len(set(ids)))
        logged = {event.get("correlation_id") for event in self.xin.events()}
        self.assertEqual(set(), set(ids) - logged)

    def test_the_log_has_the_id_beside_the_flow_97(self):
        for flow in self.run_.requests:
            if flow != "Aggregated":
                self.assertRegex(self.run_.log, rf"flow={flow} correlation_id=load-[0-9a-f]{{32}} ")

    def test_traces_go_out_meanwhile_17(self):
        during = [at for at, *_ in self.receiver.requests[self.before:]
                  if self.run_.began < at < self.run_.ended]
        self.assertGreater(len(during), 5)
        self.assertEqual([], self.receiver.problems)
        turns = {s.attributes["xin.correlation_id"] for s in self.spans()
                 if s.service == "xin-channel-gateway"}
        self.assertGreater(len(turns & set(self.run_.ids("gateway:"))), 100)

    def test_metrics_count_meanwhile_34(self):
        for of in range(2):
            counts = [total(seen[of], "http_request_latency_seconds_count") for seen in self.seen]
            self.assertGreater(len(counts), 5)
            self.assertEqual(sorted(counts), counts)
        turns = [total(seen[1], "http_requests_total", route="/webchat/webhook")
                 for seen in self.seen]
        self.assertGreater(len(set(turns)), 5, turns)


class Settings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.xin = Xin(GATEWAY_WEBHOOK_SECRET="another", XIN_ADMIN_KEY="xin_" + "k" * 43,
                      XIN_AUTH="keys")
        cls.addClassCleanup(cls.xin.stop)
        cls.xin.start()

    def recorder(self):
        recorder = Recorder()
        self.addCleanup(recorder.close)
        return recorder

    def test_a_wrong_signature_is_refused_87(self):
        run = Run(LOCUST_HOST=self.xin.gateway_url, GATEWAY_WEBHOOK_SECRET="wrong", **FAST)
        self.assertNotEqual(0, run.status)
        webhooks = [c for c in run.calls if c[0].startswith("gateway:")]
        self.assertGreater(len(webhooks), 4)
        self.assertEqual({"401"}, {c[2] for c in webhooks})
        self.assertIn(webhooks[0][1], run.said)

    def test_secret_and_key_are_those_of_the_environment_88(self):
        run = Run(LOCUST_HOST=self.xin.gateway_url, GATEWAY_WEBHOOK_SECRET="another",
                  INGESTION_API_KEY="xin_" + "k" * 43, **FAST)
        self.assertEqual(0, run.status, run.said)
        self.assertGreater(run.requests["ingestion:warmup:alpha"], 0)

    def test_the_orchestrators_host_and_the_file_can_be_set_91_93_94_95(self):
        recorder = self.recorder()
        run = Run(LOCUST_HOST=self.xin.gateway_url, GATEWAY_WEBHOOK_SECRET="another",
                  ORCHESTRATOR_HOST=recorder.url, INGESTION_WARMUP_FILENAME="seed.txt",
                  INGESTION_WARMUP_CONTENT="The seed's own words.",
                  INGESTION_WARMUP_CONTENT_TYPE="text/plain", INGESTION_WARMUP_SECONDS="1",
                  INGESTION_API_KEY="key", **FAST)
        self.assertEqual(0, run.status, run.said)
        uploads = [t for t in recorder.taken if t[0] == "POST"]
        self.assertEqual({"/v1/brands/alpha/knowledge", "/v1/brands/beta/knowledge"},
                         {path for _, path, _, _ in uploads})
        for _, _, headers, body in uploads:
            self.assertIn('filename="seed.txt"', body)
            self.assertIn("Content-Type: text/plain\r\n\r\nThe seed's own words.\n", body)
            self.assertEqual("Bearer key", headers["Authorization"])
        self.assertEqual(len(uploads), len({body.split("Staged as ")[1][:32]
                                            for _, _, _, body in uploads}))
        self.assertEqual({t[2]["X-Request-ID"] for t in recorder.taken},
                         set(run.ids("ingestion:")))

    def test_make_takes_the_host_and_words_for_locust_98_99_100(self):
        recorder = self.recorder()
        run = Run(("make", "-s", "load-test", "LOCUST_ARGS=--spawn-rate 3"),
                  LOCUST_HOST=recorder.url, LOCUST_CONVERSATIONS="4", seconds=4)
        self.assertEqual(0, run.status, run.said)
        self.assertIn("Ramping to 8 users at a rate of 3.00 per second", run.log)
        self.assertIn("/webchat/webhook", {path for _, path, _, _ in recorder.taken})
        self.assertNotIn("web interface", run.log + run.said)
        run = Run(LOCUST_HOST=recorder.url, LOCUST_CONVERSATIONS="4", seconds=3,
                  LOCUST_SPAWN_RATE="5")
        self.assertIn("at a rate of 5.00 per second", run.log)

    def test_without_a_host_it_drives_a_server_of_its_own_98(self):
        run = Run(XIN_BINARY=os.environ.get("XIN_BINARY", "build/xin"), **FAST)
        self.assertEqual(0, run.status, run.said)
        self.assertGreater(run.requests["gateway:webhook:alpha"], 4)
        self.assertGreater(run.requests["ingestion:warmup:beta"], 0)


class Pressure(unittest.TestCase):
    """Limits so low that the load meets them."""

    def test_429_and_503_carry_the_correlation_id_101(self):
        model = subprocess.Popen(
            [sys.executable, str(HERE.parent / "support" / "model_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(model.wait)
        self.addCleanup(model.communicate)
        url = f"http://127.0.0.1:{model.stdout.readline().split()[1]}"
        xin = Xin(XIN_MODEL_URL=url + "/v1", XIN_MODEL_NAME="double", XIN_MAX_BRAND_TURNS="2",
                  XIN_USER_TURNS_PER_MINUTE="3", XIN_LOG_REPEATS="0", XIN_ADMIN_KEY="xin_" + "k" * 43,
                  XIN_AUTH="keys")
        self.addCleanup(xin.stop)
        xin.start()
        control = urllib.request.Request(url + "/control", json.dumps(
            {"faults": ["slow:1500"], "stay": True}).encode(), method="POST")
        OPENER.open(control, timeout=10).close()
        run = Run(seconds=15, LOCUST_HOST=xin.gateway_url, LOCUST_SPAWN_RATE="50",
                  INGESTION_API_KEY="xin_" + "k" * 43)
        self.assertEqual(1, run.status)
        time.sleep(0.5)  # a line comes a moment after its answer
        logged = {}
        for event in xin.events():
            logged.setdefault(event.get("correlation_id"), set()).add(event.get("status"))
        for status in ("429", "503"):
            calls = [c for c in run.calls if c[2] == status]
            self.assertGreater(len(calls), 3, f"{status}: {run.said}")
            for _, correlation_id, _, retry_after in calls:
                self.assertRegex(retry_after, r"^\d+$")
                self.assertIn(int(status), logged.get(correlation_id, ()))
        self.assertNotIn("another X-Request-ID", run.log)
        self.assertEqual({"200", "202", "409", "429", "503"} | {c[2] for c in run.calls},
                         {"200", "202", "409", "429", "503"})


if __name__ == "__main__":
    found = subprocess.run([str(ROOT / "scripts/locust_get")], capture_output=True, check=False)
    if found.returncode != 0:
        print("load_test: skipped: Locust cannot be had here (it comes from PyPI)")
        sys.exit(77)
    try:
        otlp_receiver.load_proto()
    except otlp_receiver.Missing as missing:
        print(f"load_test: skipped: {missing}")
        sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")
