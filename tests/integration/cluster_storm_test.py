#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ingestion by two workers while everything under them falls over.

Workers are killed at named points and at random; Redis is restarted with and
without its memory, PostgreSQL restarted and held, S3 away, the vector server
failing. Every document that was accepted ends ready, none twice, and a searcher
never sees a part of one. Exit status 77: a server cannot be had here, by name.

cluster_storm_test.py [--full] [--documents N] [--seed N]"""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
from cluster import Cluster, Missing  # noqa: E402
from kill_test import BRAND, POINTS, Searcher, document, hits_of, listing, word  # noqa: E402

SETTINGS = {"XIN_LEASE_MS": "3000", "XIN_STORE_STATEMENT_MS": "4000"}


class Storm:
    def __init__(self, full, count, seed):
        self.full, self.count, self.dice = full, count, random.Random(seed)
        self.cluster = Cluster(**SETTINGS)
        self.orchestrator = self.cluster.role("orchestrator")
        self.workers = [self.cluster.role("worker") for _ in range(2)]
        self.happened = []
        self.ids, self.refused = {}, 0
        self.uploaded = threading.Event()

    def upload_all(self):
        """Each until it is accepted: a refusal is visible and may be tried again."""
        for number in range(self.count):
            until = time.monotonic() + 240
            while True:
                try:
                    status, body = self.orchestrator.upload(BRAND, f"doc{number}.md", document(number))
                except OSError as error:
                    status, body = 0, str(error)
                if status in (200, 202):
                    self.ids[number] = body["id"]
                    time.sleep(0.3)  # so that the last come in the storm too
                    break
                assert status == 0 or status >= 500, (status, body)
                assert time.monotonic() < until, (number, status, body)
                self.refused += 1
                time.sleep(0.2)
        self.uploaded.set()

    # ---- what falls over ----

    def pause(self, least=0.2, most=1.5):
        time.sleep(self.dice.uniform(least, most))

    def revive(self, worker, **settings):
        worker.kill()
        for _ in range(5):
            worker.start(wait=60, **settings)
            if worker.process.poll() is None or settings:
                return
        raise AssertionError(worker.last_words())

    def kill_at(self, point):
        worker = self.dice.choice(self.workers)
        self.revive(worker, XIN_FAULT=f"{point}:kill")
        until = time.monotonic() + 6
        while worker.process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        reached = worker.process.poll() is not None
        self.revive(worker)
        return f"{point}{'' if reached else ' (not reached)'}"

    def kill_at_random(self):
        worker = self.dice.choice(self.workers)
        self.pause()
        self.revive(worker)
        return "worker killed"

    def redis_again(self, keep):
        self.cluster.redis.kill()
        if not keep:
            # Not there when it was killed before it had made it.
            shutil.rmtree(self.cluster.folder / "appendonlydir", ignore_errors=True)
        self.pause()
        self.cluster.redis.start()
        return "redis restarted" + ("" if keep else " without its memory")

    def postgres_again(self):
        self.cluster.postgres.kill()
        self.pause()
        self.cluster.postgres.start()
        return "postgres restarted"

    def postgres_held(self):
        """Slow: it answers nothing for a while."""
        children = subprocess.run(["pgrep", "-P", str(self.cluster.postgres.process.pid)],
                                  capture_output=True, text=True, check=False).stdout.split()
        for pid in children:
            os.kill(int(pid), 19)
        time.sleep(6 if self.full else 2)
        for pid in children:
            try:
                os.kill(int(pid), 18)
            except ProcessLookupError:
                pass
        return "postgres held"

    def storage_away(self):
        self.cluster.s3.kill()
        until = time.monotonic() + (60 if self.full else 4)
        reasons = set()
        while time.monotonic() < until:
            reasons |= self.reasons()
            time.sleep(0.5)
        self.cluster.s3.start()
        assert not self.full or any("storage" in reason.lower() for reason in reasons) or \
            self.refused, f"nobody said that storage is away: {reasons}"
        return "storage away"

    def vectors_fail(self):
        self.cluster.double("fail", {"match": "/points", "times": 200 if self.full else 30,
                                     "status": 500})
        self.pause(1, 3)
        self.cluster.double("fail", {"match": "/points", "times": 0, "status": 500})
        return "vector server failed"

    def reasons(self):
        """What explain says of documents that are not done."""
        found = set()
        try:
            for item in listing(self.orchestrator):
                if item["status"] in ("ready", "failed"):
                    continue
                _, told = self.orchestrator.ask(
                    "GET", f"/v1/brands/{BRAND}/knowledge/{item['id']}/explain")
                found.add(str(told))
                if len(found) > 5:
                    break
        except (OSError, AssertionError):
            pass
        return found

    def run(self):
        events = [lambda p=p: self.kill_at(p) for p in POINTS]
        events += [self.kill_at_random] * (12 if self.full else 2)
        events += [lambda: self.redis_again(True), lambda: self.redis_again(False),
                   self.postgres_again, self.postgres_held, self.storage_away, self.vectors_fail]
        if self.full:
            events += events[:4] + events[-6:-3]
        self.dice.shuffle(events)
        for event in events:
            self.happened.append(event())

    def settle(self, seconds):
        until = time.monotonic() + seconds
        items = []
        while time.monotonic() < until:
            items = listing(self.orchestrator)
            if all(item["status"] in ("ready", "failed") for item in items):
                return items
            time.sleep(1)
        left = [i for i in items if i["status"] not in ("ready", "failed")]
        _, told = self.orchestrator.ask(
            "GET", f"/v1/brands/{BRAND}/knowledge/{left[0]['id']}/explain")
        raise AssertionError(f"{len(left)} of {self.count} did not end, as {left[0]}: {told}")

    def check(self, items, searcher):
        found = [item["id"] for item in items]
        assert sorted(found) == sorted(self.ids.values()), \
            f"{len(self.ids)} accepted, {len(found)} listed"
        ready = {item["id"] for item in items if item["status"] == "ready"}
        for number, source in self.ids.items():
            hits = hits_of(self.orchestrator, number)
            if hits is None:
                hits = self.orchestrator.ask("POST", f"/v1/brands/{BRAND}/search",
                               {"query": word(number), "top_k": 200}, timeout=30)
                raise AssertionError(f"the search fails at rest: {hits}")
            if source not in ready:
                assert hits == 0, f"document {number} failed and has {hits} hits"
                continue
            assert hits is not None and hits >= 50, f"document {number} has {hits} hits"
            assert searcher.seen.get(number, hits) == hits, f"document {number} changed"
        assert not searcher.wrong, searcher.wrong[:5]
        return ready


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("XIN_SEED", "11")))
    args = parser.parse_args()
    count = args.documents or (500 if args.full else 30)
    try:
        storm = Storm(args.full, count, args.seed)
    except Missing as missing:
        print(f"cluster_storm_test: skipped: {missing}")
        return 77
    searcher = Searcher(storm.orchestrator, count, args.seed)
    uploader = threading.Thread(target=storm.upload_all, daemon=True)
    try:
        searcher.start()
        uploader.start()
        storm.run()
        assert storm.uploaded.wait(600), f"only {len(storm.ids)} of {count} were accepted"
        items = storm.settle(120 + 2 * count)
        searcher.ending = True
        searcher.join(30)
        ready = storm.check(items, searcher)
        failed = [item["error"] for item in items if item["status"] == "failed"]
        print(f"cluster_storm_test: {count} documents, {storm.happened}: {len(ready)} ready, "
              f"{len(failed)} failed {failed[:2]}, {storm.refused} uploads refused visibly, "
              f"{searcher.looks} looks, none saw a part")
    finally:
        searcher.ending = True
        storm.cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
