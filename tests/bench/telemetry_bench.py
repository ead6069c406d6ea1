#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What telemetry costs: CPU of a webhook turn with traces at 100 %, metrics and
the log, against the same binary with all three off. The goal: under 5 % (upper
95 % bound). Four connections send at once, as in the other tables; one row has a
single connection, whose turns come one by one, so that each pays for wake-ups that
others share. Then each of the three alone, off against off (what the method adds
by itself), and all on with a collector that refuses against one that takes.

Two processes live side by side and take turns in short pairs; the order within a
pair alternates. CPU is of every thread of the process, from /proc, so exporter
and log writer count. Lines go to a pipe, as with a container runtime; the reader
of the pipe and the collector are other processes and do not count. Each row is
measured with several pairs of processes, since one process may be unlucky for
life with its memory. A tenth of the pairs at either end is trimmed: somebody
else had the machine. The bound is Yuen's, of trimmed means.

Instructions of a turn come from callgrind (package valgrind), which needs no
quiet machine and no counters of the CPU: those of user space, without the kernel.

    telemetry_bench.py [pairs [turns [processes]]]
"""
import atexit
import glob
import hashlib
import hmac
import http.client
import http.server
import json
import pathlib
import queue
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from postgres_server import free_port  # noqa: E402
from xin_process import Xin  # noqa: E402

GOAL = 5.0
CONNECTIONS = 4
WARM = 200
TRIM = 0.1
COUNTED = 200  # turns under callgrind
LAST_EXPORT = 6  # seconds; the exporter's schedule is 5
OFF = {"XIN_LOG_LEVEL": "error", "XIN_METRICS": "off"}
LIMITS = {"XIN_LOOPS": "1", "GATEWAY_WEBHOOK_SECRET": "s", "XIN_MAX_BRAND_TURNS": "1000",
          "XIN_BRAND_TURNS_PER_MINUTE": "100000000", "XIN_USER_TURNS_PER_MINUTE": "100000000"}


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
        for _ in process.stdout:  # drained, not kept
            pass


class Side:
    def __init__(self, name, settings, prefix=()):
        self.name = name
        self.xin = OnPorts("serve", **(LIMITS | OFF | settings))
        atexit.register(self.xin.kill)  # also when a start fails
        if prefix:  # the child that checks the scripts does not run under valgrind
            self.xin.start()
            self.xin.stop_quietly()
        self.xin.start(wait=180, prefix=prefix)
        self.host = self.xin.gateway_url.removeprefix("http://")
        self.connections = queue.SimpleQueue()
        self.number = 0
        self.wait_for_gateway()

    def wait_for_gateway(self):
        host, port = self.xin.ports[1].split(":")
        until = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection((host, int(port))).close()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def cpu_ns(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.xin.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def turn(self, number):
        """On a connection that no other turn has now."""
        try:
            connection = self.connections.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(self.host)
        body = json.dumps({"brand": "alpha", "message_id": f"b{number}",
                           "user": {"id": f"u{number % 50}"},
                           "text": "What are your opening hours on Saturday?"}).encode()
        signed = "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
        connection.request("POST", "/webchat/webhook", body, {
            "Content-Type": "application/json", "X-Signature": signed})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, (answer.status, self.name)
        self.connections.put(connection)

    def run(self, turns, senders):
        first, self.number = self.number + 1, self.number + turns
        began = self.cpu_ns()
        list(senders.map(self.turn, range(first, first + turns)))
        return (self.cpu_ns() - began) / turns / 1000

    def close(self):
        while not self.connections.empty():
            self.connections.get().close()
        self.xin.stop()


def trimmed(values):
    """Mean without the ends, and its upper 95 % bound (Yuen 1974)."""
    values = sorted(values)
    cut = int(len(values) * TRIM)
    kept = values[cut:len(values) - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    error = statistics.stdev(winsorised) / ((1 - 2 * TRIM) * len(values) ** 0.5)
    freedom = len(kept) - 1
    t = 1.645 + 1.52 / freedom + 1.4 / freedom ** 2  # one-sided Student, 5 and more
    return statistics.mean(kept), statistics.mean(kept) + t * error


def compare(on, off, pairs, turns, processes, connections=CONNECTIONS):
    """CPU of a turn as percent above `off`, pair by pair; and both medians."""
    over, cpu = [], {"on": [], "off": []}
    senders = ThreadPoolExecutor(connections)
    for i in range(processes):
        first, second = sides = [Side("on", on), Side("off", off)][::1 if i % 2 == 0 else -1]
        try:
            for side in sides:
                side.run(WARM, senders)
            for j in range(pairs // processes):
                cost = {side.name: side.run(turns, senders)
                        for side in ((first, second) if j % 2 == 0 else (second, first))}
                over.append(100 * (cost["on"] / cost["off"] - 1))
                for name, value in cost.items():
                    cpu[name].append(value)
        finally:
            for side in sides:
                side.close()
    return over, statistics.median(cpu["on"]), statistics.median(cpu["off"])


def instructions(settings):
    """Of a turn, in thousands; of all threads of user space."""
    with tempfile.TemporaryDirectory(prefix="xin-bench-") as folder:
        out = f"{folder}/callgrind"
        side = Side("counted", settings,
                    prefix=("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"))
        try:
            for number in range(50):
                side.turn(number)
            time.sleep(LAST_EXPORT)
            control(side, "-z")
            for number in range(COUNTED):
                side.turn(50 + number)
            time.sleep(LAST_EXPORT)
            control(side, "-d")
        finally:
            side.xin.kill()
            shutil.rmtree(side.xin.home, ignore_errors=True)
        text = pathlib.Path(max(glob.glob(out + ".*"))).read_text()
        return int(re.search(r"^totals: (\d+)", text, re.M)[1]) / COUNTED / 1000


def control(side, what):
    subprocess.run(["callgrind_control", what, str(side.xin.process.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    pairs, turns, processes = (
        int(sys.argv[i]) if len(sys.argv) > i else default
        for i, default in ((1, 160), (2, 40), (3, 4)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    traces = {"OTEL_EXPORTER_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}/v1/traces"}
    refused = {"OTEL_EXPORTER_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/traces"}
    metrics, log = {"XIN_METRICS": "on"}, {"XIN_LOG_LEVEL": "info"}
    everything = traces | metrics | log
    rows = (("all three", everything, {}), ("one connection", everything, {}),
            ("traces at 100 %", traces, {}), ("metrics", metrics, {}), ("log", log, {}),
            ("nothing", {}, {}), ("collector away", everything | refused, everything))
    counting = shutil.which("valgrind") is not None
    counted = {}
    print(f"CPU of a webhook turn: {pairs} pairs of {turns} turns, {processes} pairs of processes")
    print(f"{'on':<16} {'us on':>7} {'us off':>7} {'mean %':>7} {'95 % <':>7}"
          f" {'k instr.':>9} {'%':>6}")
    for name, on, off in rows:
        over, us_on, us_off = compare(on, off, pairs, turns, processes,
                                      1 if name == "one connection" else CONNECTIONS)
        mean, bound = trimmed(over)
        line = f"{name:<16} {us_on:7.0f} {us_off:7.0f} {mean:7.1f} {bound:7.1f}"
        if counting:
            for settings in (on, off):
                key = tuple(sorted(settings.items()))
                if key not in counted:
                    counted[key] = instructions(settings)
            k_on, k_off = (counted[tuple(sorted(s.items()))] for s in (on, off))
            line += f" {k_on:9.0f} {100 * (k_on / k_off - 1):6.1f}"
        print(line, flush=True)
        if name == "all three":
            print(f"{'':<16} goal: under {GOAL:.0f} % - {'met' if bound < GOAL else 'NOT met'}")
    if not counting:
        print("skipped: instructions of a turn, no valgrind here (package valgrind)")


if __name__ == "__main__":
    main()
