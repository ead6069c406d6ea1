# SPDX-License-Identifier: Apache-2.0
"""WebDriver over its HTTP protocol, with nothing but the standard library."""
import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--no-proxy-server",
]


def missing():
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    def __init__(self, dark=False):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.profile = tempfile.mkdtemp(prefix="xin-browser-")
        self.url = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.profile})
        flags = FLAGS + [f"--user-data-dir={self.profile}/profile"]
        if dark:
            flags.append("--force-dark-mode")
        wanted = {"browserName": "chrome", "goog:chromeOptions": {
            "binary": shutil.which("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        for attempt in range(50):
            try:
                made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
                self.session = f"/session/{made['sessionId']}"
                return
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.2)

    def ask(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with OPENER.open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def do(self, method, path, body=None):
        return self.ask(method, self.session + path, body)

    def open(self, url):
        self.do("POST", "/url", {"url": url})

    def run(self, script, *args):
        return self.do("POST", "/execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return self.do("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def keys(self, css, text):
        self.do("POST", f"/element/{self.find(css)}/value", {"text": text})

    def click(self, css):
        self.do("POST", f"/element/{self.find(css)}/click", {})

    def wait(self, what, script, *args, seconds=20):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            value = self.run(script, *args)
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for: {what}")

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def cdp(self, name, params):
        return self.do("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def complaints(self):
        return [e["message"] for e in self.do("POST", "/se/log", {"type": "browser"})
                if e["level"] == "SEVERE"]

    def picture(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.do("GET", "/screenshot")))

    def close(self):
        try:
            self.do("DELETE", "")
        except (AssertionError, OSError):
            pass
        self.driver.terminate()
        self.driver.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)
