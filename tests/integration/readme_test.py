#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's commands, word for word, in a shell, against `make run`.

Skips by name when the default ports are taken by somebody else."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PORTS = (8000, 8080, 9102, 9103)
READY_SECONDS = 600
COMMAND_SECONDS = 120


def blocks():
    text = open(os.path.join(ROOT, "README.md"), encoding="utf-8").read()
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def taken(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_ready(log, process):
    until = time.time() + READY_SECONDS
    while time.time() < until:
        for line in open(log.name, encoding="utf-8", errors="replace"):
            if '"event":"console.ready"' in line:
                return json.loads(line)["url"]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    sys.exit("make run did not end with the services up:\n" + open(log.name).read()[-3000:])


def check_ports(path):
    """Items 19 to 24: the default addresses and ports of all services."""
    events = [json.loads(line) for line in open(path, encoding="utf-8")
              if line.startswith('{"event":"http.listening"')]
    found = {event["address"] for event in events}
    wanted = {"127.0.0.1:8000", "127.0.0.1:8080", "0.0.0.0:9102", "0.0.0.0:9103"}
    assert found == wanted, found


def check_metrics():
    """Items 18 to 24 and 30: every exposition, by promtool where it is."""
    tool = shutil.which("promtool")
    for port in PORTS:
        address = "http://127.0.0.1:%d/metrics" % port
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read()
        assert b"# TYPE" in text, address
        if tool is None:
            continue
        done = subprocess.run([tool, "check", "metrics"], input=text,
                              capture_output=True, check=False)
        assert done.returncode == 0, (address, done.stdout, done.stderr)
    print("readme_test: promtool %s" % ("agrees" if tool else "cannot be had: skipped"))


def run_block(block, env):
    script = "set -euo pipefail\n" + block
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, text=True,
                          capture_output=True, timeout=COMMAND_SECONDS, check=False)
    print("$ " + block.strip().replace("\n", "\n$ "))
    print(done.stdout[-1500:] + done.stderr[-1500:])
    # `... | head` ends its writer early on purpose.
    if done.returncode not in (0, 141, 23):
        sys.exit("this README block failed with %d" % done.returncode)
    return done.stdout


def main():
    found = blocks()
    commands = [b for b in found if b.strip() not in ("make run", "make test")]
    if "make run\n" not in found or "make test\n" not in found or len(commands) < 3:
        sys.exit("README.md does not show make run, make test and the commands between")
    busy = [p for p in PORTS if taken(p)]
    if busy:
        print("readme_test: skipped: port %d is taken by another process" % busy[0])
        return 77
    with tempfile.TemporaryDirectory() as work, open(os.path.join(work, "log"), "w") as log:
        env = dict(os.environ, XIN_DATA_DIR=os.path.join(work, "data"))
        process = subprocess.Popen(["make", "run"], cwd=ROOT, env=env, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            url = wait_ready(log, process)
            assert url == "http://127.0.0.1:8000/", url
            check_ports(log.name)
            check_metrics()
            output = "".join(run_block(block, env) for block in commands)
            assert "1 ready, 0 not" in output, "README.md was not ingested"
            assert "lua/guardrails" in output, "the chat did not answer from README.md"
            assert '"duplicate":' in output and "turn_id" in output, "no webhook answer"
            assert "ok: generation" in output, "xin check did not pass"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
    print("readme_test: every command of README.md ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
