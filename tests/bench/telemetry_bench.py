#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What telemetry costs: CPU of a webhook turn with traces at 100 % and the log,
against the same binary with both off, in paired runs. Two processes live side by
side and take turns; the CPU of every thread comes from /proc, so the exporter's
work counts too. The goal: under 5 % (upper 95 % bound of the mean of the pairs).

    telemetry_bench.py [pairs [turns [traces|log]]]     (one of the two alone)
"""
import atexit
import hashlib
import hmac
import http.client
import http.server
import json
import pathlib
import statistics
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from postgres_server import free_port  # noqa: E402
from xin_process import Xin  # noqa: E402

GOAL = 5.0
WARM = 400
# Two-sided 90 %, so one-sided 95 %, for the degrees of freedom that matter here.
T95 = {9: 1.833, 14: 1.761, 19: 1.729, 24: 1.711, 29: 1.699, 39: 1.685, 59: 1.671}


class Sink(http.server.BaseHTTPRequestHandler):
    """A collector that takes everything, cheaply."""
    protocol_version = "HTTP/1.1"
    taken = 0

    def do_POST(self):
        Sink.taken += len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class OnPorts(Xin):
    """Without a log nobody tells the ports: they are chosen here."""

    def start(self, **settings):
        self.ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        return super().start(XIN_ORCHESTRATOR_LISTEN=self.ports[0],
                             XIN_GATEWAY_LISTEN=self.ports[1], **settings)

    def _read(self, process):
        self.url, self.gateway_url = ("http://" + port for port in self.ports)
        super()._read(process)


class Side:
    def __init__(self, name, **settings):
        self.name = name
        self.xin = OnPorts("serve")
        atexit.register(self.xin.kill)  # also when a start fails
        self.xin.start(XIN_LOOPS="1", GATEWAY_WEBHOOK_SECRET="s",
                       XIN_MAX_BRAND_TURNS="1000", **settings)
        host = self.xin.gateway_url.removeprefix("http://")
        self.connection = http.client.HTTPConnection(host)
        self.number = 0

    def cpu_ns(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.xin.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def turn(self):
        self.number += 1
        body = json.dumps({"brand": "alpha", "message_id": f"b{self.number}",
                           "user": {"id": f"u{self.number % 50}"},
                           "text": "What are your opening hours on Saturday?"}).encode()
        signed = "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
        self.connection.request("POST", "/webchat/webhook", body, {
            "Content-Type": "application/json", "X-Signature": signed})
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 200, (answer.status, self.name)

    def run(self, turns):
        began = self.cpu_ns()
        for _ in range(turns):
            self.turn()
        return (self.cpu_ns() - began) / turns / 1000

    def close(self):
        self.connection.close()
        self.xin.stop()


def main():
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    limits = {"XIN_BRAND_TURNS_PER_MINUTE": "100000000", "XIN_USER_TURNS_PER_MINUTE": "100000000"}
    known = (HERE.parents[1] / "src/base/config.def").read_text()
    limits = {name: value for name, value in limits.items() if f'"{name}"' in known}
    what = {"OTEL_EXPORTER_ENDPOINT": url, "XIN_LOG_LEVEL": "info"}
    if len(sys.argv) > 3:
        del what["XIN_LOG_LEVEL" if sys.argv[3] == "traces" else "OTEL_EXPORTER_ENDPOINT"]
    quiet = {"XIN_LOG_LEVEL": "error"} | limits
    on = Side("on", **(quiet | what))
    off = Side("off", **quiet)
    try:
        on.run(WARM)
        off.run(WARM)
        rows = []
        for i in range(pairs):
            first, second = (on, off) if i % 2 == 0 else (off, on)
            cost = {first.name: first.run(turns)}
            cost[second.name] = second.run(turns)
            rows.append((cost["on"], cost["off"]))
    finally:
        on.close()
        off.close()
    over = [100 * (a / b - 1) for a, b in rows]
    mean, error = statistics.mean(over), statistics.stdev(over) / len(over) ** 0.5
    t = next((v for k, v in sorted(T95.items()) if k >= len(over) - 1), 1.671)
    print(f"CPU of a webhook turn, {pairs} pairs of {turns} turns: "
          f"{statistics.median(b for _, b in rows):.0f} us off, "
          f"{statistics.median(a for a, _ in rows):.0f} us on")
    print(f"telemetry costs {mean:.1f} % (upper 95 % bound {mean + t * error:.1f} %, "
          f"goal under {GOAL:.0f} %); {Sink.taken / (on.number or 1):.0f} bytes of spans a turn")


if __name__ == "__main__":
    main()
