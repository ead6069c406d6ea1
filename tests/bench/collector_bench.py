#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What serving notices of a bad collector: latency of webhook turns at a fixed
arrival rate (open loop: counted from when a turn was due, so that waiting is
not left out). One process for each thing a collector may do; all live side by
side and take turns in short rounds. A ratio is taken within its round, and the
median of the rounds' ratios is shown: the machine's noise falls on both.

    collector_bench.py [rounds [turns a round [turns a second]]] [--most=RATIO]

--most: fail when a p99 is over RATIO times that with a good collector (soak).
"""
import concurrent.futures
import hashlib
import hmac
import http.client
import http.server
import json
import pathlib
import queue
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from postgres_server import free_port  # noqa: E402
from xin_process import OPENER, Xin  # noqa: E402

CLIENTS = 16
SETTINGS = {"XIN_LOOPS": "1", "GATEWAY_WEBHOOK_SECRET": "s", "XIN_LOG_LEVEL": "info",
            "XIN_BRAND_TURNS_PER_MINUTE": "100000000", "XIN_USER_TURNS_PER_MINUTE": "100000000",
            "XIN_MAX_BRAND_TURNS": "1000", "OTEL_BSP_SCHEDULE_DELAY": "200"}


OK, SLOW, HANG = (200, {}, b""), 1, 3600
PARTLY = b"\x0a\x0b\x08\x01\x12\x07too old"  # ExportTraceServiceResponse, 1 rejected

# What it answers, and after how many seconds.
COLLECTORS = {
    "good": (OK, 0),
    "refuses connections": None,
    "never answers": (OK, HANG),
    "answers after 1 s": (OK, SLOW),
    "429, Retry-After: 5": ((429, {"Retry-After": "5"}, b""), 0),
    "503": ((503, {}, b""), 0),
    "400": ((400, {}, b"no"), 0),
    "partial success": ((200, {}, PARTLY), 0),
}


def collector(told, after):
    """A server that costs next to nothing: it shares the machine with what is measured."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(after)
            status, headers, body = told
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Side:
    def __init__(self, name):
        self.name, self.rounds, self.number = name, [], 0
        port = collector(*COLLECTORS[name]) if COLLECTORS[name] else free_port()
        self.xin = Xin("serve").start(
            OTEL_EXPORTER_ENDPOINT=f"http://127.0.0.1:{port}/v1/traces", **SETTINGS)
        host = self.xin.gateway_url.removeprefix("http://")
        self.free = queue.SimpleQueue()
        for _ in range(CLIENTS):
            self.free.put(http.client.HTTPConnection(host, timeout=60))
        self.pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)

    def turn(self, number, due):
        body = json.dumps({"brand": "alpha", "message_id": f"b{number}",
                           "user": {"id": f"u{number % 50}"},
                           "text": "What are your opening hours on Saturday?"}).encode()
        signed = "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
        connection = self.free.get()
        connection.request("POST", "/webchat/webhook", body, {
            "Content-Type": "application/json", "X-Signature": signed})
        answer = connection.getresponse()
        answer.read()
        took = time.monotonic() - due
        self.free.put(connection)
        assert answer.status == 200, (answer.status, self.name)
        return took

    def round(self, turns, rate):
        began, waiting = time.monotonic() + 0.02, []
        for i in range(turns):
            due = began + i / rate
            time.sleep(max(0, due - time.monotonic()))
            self.number += 1
            waiting.append(self.pool.submit(self.turn, self.number, due))
        cuts = statistics.quantiles([done.result() for done in waiting], n=100)
        return cuts[49], cuts[98]

    def lost(self):
        with OPENER.open(self.xin.url + "/metrics", timeout=10) as response:
            text = response.read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith("xin_tracing_spans_total{")
                   and any(f'outcome="{o}"' in line for o in ("lost", "dropped", "rejected")))

    def close(self):
        self.pool.shutdown()
        self.xin.stop()


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    most = [float(w.split("=")[1]) for w in sys.argv[1:] if w.startswith("--most=")]
    rounds, turns, rate = [int(w) for w in words] + [9, 200, 100][len(words):]
    sides = []
    try:
        sides = [Side(name) for name in COLLECTORS]
        for side in sides:
            side.round(turns, rate)  # warm
        for i in range(rounds):
            for side in sides if i % 2 == 0 else sides[::-1]:
                side.rounds.append(side.round(turns, rate))
        lost = {side.name: side.lost() for side in sides}
    finally:
        for side in sides:
            side.close()
    print(f"webhook turns at {rate} a second, {rounds} rounds of {turns} for each; "
          "ratios to the good collector")
    print(f"{'the collector':22}{'median':>10}{'p99':>10}{'median':>8}{'p99':>8}{'spans lost':>12}")
    good, bad = sides[0].rounds, []
    for side in sides:
        took = [statistics.median(r[k] for r in side.rounds) * 1000 for k in (0, 1)]
        ratio = [statistics.median(r[k] / g[k] for r, g in zip(side.rounds, good)) for k in (0, 1)]
        print(f"{side.name:22}{took[0]:7.2f} ms{took[1]:7.2f} ms{ratio[0]:8.2f}{ratio[1]:8.2f}"
              f"{lost[side.name]:12.0f}")
        if most and ratio[1] > most[0]:
            bad.append(side.name)
    if bad:
        sys.exit(f"p99 over {most[0]} times that with a good collector: {', '.join(bad)}")


if __name__ == "__main__":
    main()
