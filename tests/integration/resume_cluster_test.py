#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second worker, another process, goes on where the first was killed; meanwhile
the orchestrator says what the document waits for. Exit status 77: the cluster
cannot be had here, by name. Needs a build with XIN_FAULTS (debug)."""
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from cluster import Cluster, Missing  # noqa: E402
from resume_test import attempts, document  # noqa: E402

BRAND = "default"
SECTIONS = 1500


def wait(what, seconds, check):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def explain(orchestrator, source):
    return orchestrator.ask("GET", f"/v1/brands/{BRAND}/knowledge/{source}/explain")[1]


def reason(orchestrator, source):
    return (explain(orchestrator, source)["waiting_on"] or {}).get("reason")


def unread(orchestrator):
    text = orchestrator.ask("GET", "/metrics")[1].decode()
    return any(line.split() == ["xin_queue_unread", "1"] for line in text.splitlines())


def main():
    try:
        cluster = Cluster(XIN_LEASE_MS="3000")
    except Missing as missing:
        print(f"resume_cluster_test: {missing}: skipped")
        return 77
    try:
        orchestrator = cluster.role("orchestrator")
        status, body = orchestrator.upload(BRAND, "long.md", f"# Long\n\n{document(SECTIONS)}")
        assert status == 202, body
        source = body["id"]
        wait("explain to miss a worker", 60, lambda: reason(orchestrator, source) == "no_worker")
        wait("the gauge to miss a worker", 60, lambda: unread(orchestrator))

        first = cluster.role("worker", XIN_FAULT="ingest.half_indexed:kill")
        wait("the kill", 60, lambda: first.process.poll() is not None)
        told = explain(orchestrator, source)
        assert told["status"] == "processing", told
        wait("the lease to end", 20, lambda: reason(orchestrator, source) in ("lease_expired", "no_worker"))
        told = explain(orchestrator, source)
        assert "went away at step \"index\"" in told["summary"], told["summary"]

        cluster.role("worker")
        ready = orchestrator.until_ready(BRAND, source, 120)
        made = attempts(ready)
        assert made["extract"] == made["guard"] == 1 and made["index"] >= 2, made
        assert ready["steps"][-1]["from"] >= 512, ready["steps"][-1]
        assert ready["chunks"] >= SECTIONS, ready["chunks"]
        wait("the gauge to see a worker", 30, lambda: not unread(orchestrator))
        print(f"resume_cluster_test: the second worker went on at chunk {ready['steps'][-1]['from']} "
              f"of {ready['chunks']}")
    finally:
        cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
