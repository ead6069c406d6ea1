#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the middle of ingestion: nothing is lost, doubled or half seen.

Documents of at least 50 chunks, each chunk with the document's own word. The
server is killed at named fault points (builds with XIN_FAULTS) and at random
moments, and started again on the same folder. A searcher looks all the time:
a document's word is found 0 times or in all its chunks, never in between.

kill_test.py [--full] [--documents N] [--kills N] [--seed N]"""
import argparse
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from xin_process import Xin  # noqa: E402

POINTS = ["ingest.claimed", "ingest.half_indexed", "ingest.before_switch", "ingest.after_switch"]
BRAND = "default"
SECTIONS = 55
LETTERS = "bcdfghklmnpqrstvwxz"


def word(number):
    """A word of its own for each document, which no stemmer shortens to another."""
    digits = []
    for _ in range(4):
        number, digit = divmod(number, len(LETTERS))
        digits.append(LETTERS[digit])
    return "zq" + "o".join(digits) + "q"


def document(number):
    filler = " ".join(["This section tells a plain story of ferries and their timetables."] * 17)
    return "\n\n".join(
        [f"# Document {number}"]
        + [f"## Part {i}\n\nThe word {word(number)} stands here. {filler}" for i in range(SECTIONS)])


class Searcher(threading.Thread):
    """Looks for random documents for as long as the storm lasts."""

    def __init__(self, xin, count, seed):
        super().__init__(daemon=True)
        self.xin, self.count, self.random = xin, count, random.Random(seed)
        self.seen, self.wrong, self.looks, self.ending = {}, [], 0, False

    def run(self):
        while not self.ending:
            number = self.random.randrange(self.count)
            hits = hits_of(self.xin, number)
            if hits is None:
                time.sleep(0.05)
                continue
            self.looks += 1
            if hits:
                known = self.seen.setdefault(number, hits)
                if known != hits:
                    self.wrong.append(f"document {number}: {hits} hits after {known}")
            elif number in self.seen:
                self.wrong.append(f"document {number}: gone after it was seen")


def hits_of(xin, number):
    try:
        status, body = xin.ask("POST", f"/v1/brands/{BRAND}/search",
                               {"query": word(number), "top_k": 200, "mode": "keyword"}, timeout=10)
    except (OSError, TypeError, ValueError):
        return None
    if status != 200 or not isinstance(body, dict):
        return None
    return sum(1 for hit in body["hits"] if word(number) in hit["text"])


def listing(xin):
    items, cursor = [], ""
    while True:
        status, page = xin.ask("GET", f"/v1/brands/{BRAND}/knowledge?limit=200{cursor}")
        assert status == 200, page
        items += page["items"]
        if not page["next_cursor"]:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def restart(xin, **settings):
    xin.kill()
    for _ in range(5):
        xin.start(wait=60, XIN_LEASE_MS="2000", **settings)
        if xin.process.poll() is None:
            return True
        if settings:
            return False  # the fault point came before it was ready: as wanted
    raise AssertionError(xin.last_words())


def storm(xin, kills, dice):
    happened = {}
    for turn in range(kills):
        point = POINTS[turn // 2 % len(POINTS)] if turn % 2 == 0 else None
        if point:
            restart(xin, XIN_FAULT=f"{point}:kill")
            until = time.monotonic() + 15
            while xin.process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if xin.process.poll() is not None:
                happened[point] = happened.get(point, 0) + 1
        else:
            restart(xin)
            time.sleep(dice.uniform(0.02, 1.5))
            happened["random"] = happened.get("random", 0) + 1
        xin.kill()
    restart(xin)
    return happened


def settle(xin, count, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        items = listing(xin)
        if all(item["status"] in ("ready", "failed") for item in items):
            return items
        time.sleep(0.5)
    left = [(i["id"], i["status"], i["waiting_on"]) for i in listing(xin)
            if i["status"] not in ("ready", "failed")]
    raise AssertionError(f"{len(left)} of {count} did not end: {left[:5]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("XIN_SEED", "7")))
    args = parser.parse_args()
    count = args.documents or (200 if args.full else 24)
    kills = args.kills or (40 if args.full else 8)
    xin = Xin().start(wait=60, XIN_LEASE_MS="2000")
    searcher = Searcher(xin, count, args.seed)
    try:
        searcher.start()
        ids = []
        for number in range(count):
            status, body = xin.upload(BRAND, f"doc{number}.md", document(number))
            assert status == 202, body
            ids.append(body["id"])
        happened = storm(xin, kills, random.Random(args.seed))
        items = settle(xin, count, 60 + 3 * count)
        searcher.ending = True
        searcher.join(30)
        found = [item["id"] for item in items]
        assert sorted(found) == sorted(ids), f"{len(ids)} uploaded, {len(found)} listed"
        ready = {item["id"]: item for item in items if item["status"] == "ready"}
        for number, source in enumerate(ids):
            hits = hits_of(xin, number)
            if source not in ready:
                assert hits == 0, f"document {number} failed and has {hits} hits"
                continue
            assert hits >= 50, f"document {number} has only {hits} hits"
            known = searcher.seen.get(number, hits)
            assert known == hits, f"document {number}: {known} hits, then {hits}"
        assert not searcher.wrong, searcher.wrong[:5]
        failed = [item["error"] for item in items if item["status"] == "failed"]
        print(f"kill_test: {count} documents, {kills} kills {happened}: {len(ready)} ready, "
              f"{len(failed)} failed {failed[:2]}, {searcher.looks} looks, none saw a part")
    finally:
        searcher.ending = True
        xin.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
