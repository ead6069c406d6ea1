# SPDX-License-Identifier: Apache-2.0
"""The real binary under test, for the Python suites: own folders, own ports."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / os.environ.get("XIN_BINARY", "build/xin")
# The rest of the environment stays out. Sanitisers make scripts slow, so that a
# run under one has options for them and wider limits.
PASSED_ON = ("PATH", "HOME", "LANG", "ASAN_OPTIONS", "TSAN_OPTIONS", "XIN_SCRIPT_TURN_CPU_MS",
             "XIN_SCRIPT_STEP_CPU_MS")
# Seconds until a process must be ready; under TSan on a busy machine the check
# of the scripts alone can take half a minute.
READY = 150 if "TSAN_OPTIONS" in os.environ else 30
# Loopback without a proxy, whatever the environment says.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Xin:
    """`command` is the role; settings given to start() come on top of these."""

    OWN = {"serve": "xin-orchestrator", "orchestrator": "xin-orchestrator",
           "gateway": "xin-channel-gateway", "worker": "xin-ingestion-worker"}

    def __init__(self, command="serve", **settings):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="xin-test-"))
        shutil.copytree(ROOT / "lua", self.home / "lua")
        self.command = command
        self.settings = settings
        self.process = None
        self.url = None  # of the role's own port; the orchestrator's in `serve`
        self.gateway_url = None
        self.logs = []
        self.reading = threading.Event()  # cleared: nobody reads its stdout
        self.reading.set()

    def start(self, wait=READY, prefix=(), **settings):
        environment = {
            name: os.environ[name] for name in PASSED_ON if name in os.environ
        }
        environment |= {
            "XIN_DATA_DIR": str(self.home / "data"),
            "XIN_LUA_DIR": str(self.home / "lua"),
            "XIN_ORCHESTRATOR_LISTEN": "127.0.0.1:0",
            "XIN_GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_METRICS_HOST": "127.0.0.1",
            "INGEST_METRICS_HOST": "127.0.0.1",
            "GATEWAY_METRICS_PORT": "0",
            "INGEST_METRICS_PORT": "0",
        }
        environment |= self.settings | settings
        self.url = self.gateway_url = None
        with open(self.home / "stderr", "a") as stderr:
            self.process = subprocess.Popen(
                [*prefix, str(BINARY), self.command], env=environment, cwd=self.home, text=True,
                stdout=subprocess.PIPE, stderr=stderr)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        until = time.monotonic() + wait
        while time.monotonic() < until and self.process.poll() is None:
            if self.url and self._healthy():
                return self
            time.sleep(0.05)
        if self.process.poll() is not None:
            return self  # it died at once: a fault point may want that
        raise AssertionError(
            f"xin {self.command} did not get ready: " + "".join(self.logs[-20:]))

    def _read(self, process):
        for line in process.stdout:
            self.reading.wait()
            self.logs.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") != "http.listening" or process is not self.process:
                continue
            url = f"http://127.0.0.1:{event['port']}"
            if event.get("for") == "xin-channel-gateway" and not self.gateway_url:
                self.gateway_url = url  # its exporter comes later
            if event.get("for") == self.OWN[self.command] and not self.url:
                self.url = url

    def wait_for_url(self, wait=30):
        """It listens; whether it is well is another thing."""
        until = time.monotonic() + wait
        while not self.url:
            assert time.monotonic() < until, "nothing listens: " + "".join(self.logs[-20:])
            time.sleep(0.05)

    def _healthy(self):
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def last_words(self):
        """What the process said before it ended by itself, or None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        said = (self.home / "stderr").read_text() + "".join(self.logs[-5:])
        return f"xin {self.command} ended by itself ({code}): {said}"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("the process did not end after SIGTERM")
        said = self.home / "stderr"
        if said.exists():
            text = said.read_text(errors="replace")
            assert "Sanitizer" not in text and "runtime error:" not in text, text
        shutil.rmtree(self.home, ignore_errors=True)

    def stop_quietly(self):
        """End the process and keep its folders, for another start on them."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)

    def events(self):
        """The log so far, as objects."""
        found = []
        for line in list(self.logs):
            try:
                found.append(json.loads(line))
            except ValueError:
                pass
        return found

    def ask(self, method, path, body=None, headers=None, timeout=30):
        headers = dict(headers or {})
        data = body
        if isinstance(body, (dict, list)):
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with OPENER.open(request, timeout=timeout) as response:
                return response.status, self._json(response.read())
        except urllib.error.HTTPError as error:
            return error.code, self._json(error.read())

    @staticmethod
    def _json(raw):
        try:
            return json.loads(raw)
        except ValueError:
            return raw

    def upload(self, brand, name, text, timeout=30):
        edge = uuid.uuid4().hex
        body = (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                f"Content-Type: text/markdown\r\n\r\n{text}\r\n--{edge}--\r\n").encode()
        return self.ask("POST", f"/v1/brands/{brand}/knowledge", body,
                        {"Content-Type": f"multipart/form-data; boundary={edge}"}, timeout)
