#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sample the quality of a running xin over its HTTP API.

Uploads the documents of a public retrieval set as knowledge of a brand, waits
until they are ready, asks a fixed sample of its questions and prints one table
row: right document cited, declined, unanswerable ones declined; for a ranking
set (scifact) nDCG@10 and R@100 of the search. Standard library only.

  sample.py --base http://127.0.0.1:8000 --data ../shared/data \\
            --set xquad/en --brand quality --sample 200 --key KEY
"""
import argparse
import concurrent.futures
import json
import math
import os
import random
import sys
import time
import urllib.error
import urllib.request

SEED = 20
RETRY_STATUS = {429, 503}
RANKING_SETS = {"scifact"}


class Api:
    def __init__(self, base, key, timeout):
        self.base = base.rstrip("/")
        self.key = key
        self.timeout = timeout

    def call(self, method, path, body=None):
        """The parsed answer; waits and repeats while the server is full."""
        deadline = time.monotonic() + self.timeout
        data = None if body is None else json.dumps(body).encode()
        while True:
            request = urllib.request.Request(
                self.base + path, data=data, method=method)
            request.add_header("Content-Type", "application/json")
            if self.key:
                request.add_header("Authorization", "Bearer " + self.key)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                text = error.read().decode("utf-8", "replace")[:500]
                if error.code not in RETRY_STATUS or time.monotonic() > deadline:
                    sys.exit(f"{method} {path}: {error.code} {text}")
                wait = error.headers.get("Retry-After", "1")
                time.sleep(min(5.0, float(wait) if wait.isdigit() else 1.0))
            except (urllib.error.URLError, TimeoutError) as error:
                sys.exit(f"{method} {self.base}{path}: {error}")


def read_lines(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def read_judgements(folder):
    judgements = {}
    with open(os.path.join(folder, "qrels.tsv"), encoding="utf-8") as file:
        next(file)
        for line in file:
            query, document, score = line.split("\t")
            if int(score) > 0:
                judgements.setdefault(query, set()).add(document)
    return judgements


def upload(api, brand, documents, workers):
    """Returns {source id: document id}."""
    path = f"/v1/brands/{brand}/knowledge"

    def one(document):
        answer = api.call("POST", path, {
            "title": document.get("title") or document["_id"],
            "content": document["text"],
            "content_type": "text/plain",
            "external_id": document["_id"],
        })
        return answer["id"], document["_id"]

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return dict(pool.map(one, documents))


def wait_ready(api, brand, sources, seconds):
    deadline = time.monotonic() + seconds
    for source in sources:
        while True:
            state = api.call("GET", f"/v1/brands/{brand}/knowledge/{source}")
            if state.get("status") == "ready":
                break
            if state.get("status") in ("failed", "cancelled"):
                sys.exit(f"{source}: {state}")
            if time.monotonic() > deadline:
                sys.exit(f"{source}: not ready in {seconds} s")
            time.sleep(0.2)


def ask(api, brand, question, number):
    began = time.monotonic()
    answer = api.call("POST", f"/v1/brands/{brand}/turns", {
        "message": question["text"],
        "user": {"id": f"sampler-{number}"},
    })
    cited = [c["source_id"] for c in answer.get("citations", [])]
    return cited, (time.monotonic() - began) * 1000


def sample_of(items, count):
    items = sorted(items, key=lambda item: item["_id"])
    return random.Random(SEED).sample(items, min(count, len(items)))


def run_answers(api, args, folder, sources):
    judgements = read_judgements(folder)
    questions = [q for q in read_lines(folder, "queries.jsonl")
                 if q["_id"] in judgements]
    others = read_lines(folder, "unanswerable.jsonl")
    right = declined = refused = 0
    times = []
    sample = sample_of(questions, args.sample)
    for number, question in enumerate(sample):
        cited, took = ask(api, args.brand, question, number)
        times.append(took)
        declined += not cited
        right += any(sources.get(c) in judgements[question["_id"]]
                     for c in cited[:3])
    hard = sample_of(others, args.sample)
    for number, question in enumerate(hard):
        cited, took = ask(api, args.brand, question, args.sample + number)
        times.append(took)
        refused += not cited
    times.sort()
    print("| set | documents | asked | right document cited | declined |"
          " unanswerable declined | median ms |")
    print("|---|---|---|---|---|---|---|")
    unanswerable = (f"{100 * refused / len(hard):.1f} % of {len(hard)}"
                    if hard else "")
    print(f"| {args.set} | {len(sources)} | {len(sample)} |"
          f" {100 * right / len(sample):.1f} % |"
          f" {100 * declined / len(sample):.1f} % | {unanswerable} |"
          f" {times[len(times) // 2]:.1f} |")
    if args.counts:
        with open(args.counts, "a", encoding="utf-8") as out:
            json.dump({"asked": len(sample), "right": right,
                       "declined": declined, "hard": len(hard),
                       "refused": refused}, out)
            out.write("\n")
        return True  # judged together with other sets
    return judge(len(sample), right, declined, len(hard), refused)


def judge(asked, right, declined, hard, refused):
    """80 % cite the right document, at most 20 % are declined; of those
    without an answer at least half are."""
    good = right >= 0.8 * asked and declined <= 0.2 * asked
    return good and (not hard or refused >= 0.5 * hard)


def judge_counts(path):
    total = {}
    for line in open(path, encoding="utf-8"):
        for name, value in json.loads(line).items():
            total[name] = total.get(name, 0) + value
    print("together: {right} of {asked} cite the right document, {declined} "
          "declined; {refused} of {hard} unanswerable declined".format(**total))
    return judge(total["asked"], total["right"], total["declined"],
                 total["hard"], total["refused"])


def run_ranking(api, args, folder, sources):
    judgements = read_judgements(folder)
    questions = [q for q in read_lines(folder, "queries.jsonl")
                 if q["_id"] in judgements]
    ndcg = recall = 0.0
    for question in questions:
        answer = api.call("POST", f"/v1/brands/{args.brand}/search",
                          {"query": question["text"], "top_k": 200})
        ranking = []
        for hit in answer["hits"]:
            document = sources.get(hit["source_id"])
            if document not in ranking:
                ranking.append(document)
        relevant = judgements[question["_id"]]
        gain = sum(1 / math.log2(rank + 2)
                   for rank, document in enumerate(ranking[:10])
                   if document in relevant)
        ideal = sum(1 / math.log2(rank + 2)
                    for rank in range(min(10, len(relevant))))
        ndcg += gain / ideal
        recall += len(relevant & set(ranking[:100])) / len(relevant)
    ndcg /= len(questions)
    recall /= len(questions)
    print("| set | documents | queries | nDCG@10 | R@100 |")
    print("|---|---|---|---|---|")
    print(f"| {args.set} | {len(sources)} | {len(questions)} |"
          f" {ndcg:.4f} | {recall:.4f} |")
    return ndcg >= 0.67 and recall >= 0.92


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", default="http://127.0.0.1:8000")
    parser.add_argument("--data", default=os.environ.get(
        "XIN_SHARED_DATA", "../shared/data"))
    parser.add_argument("--set", default="xquad/en")
    parser.add_argument("--brand", default="quality",
                        help="a brand that exists and has no other knowledge")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--key", default=os.environ.get("XIN_API_KEY", ""))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--wait", type=int, default=600,
                        help="seconds until all documents must be ready")
    parser.add_argument("--counts", default="",
                        help="append the counts to this file, do not judge")
    parser.add_argument("--judge", default="",
                        help="judge the counts of such a file, ask nothing")
    args = parser.parse_args()
    if args.judge:
        return 0 if judge_counts(args.judge) else 1
    folder = os.path.join(args.data, "retrieval", args.set)
    if not os.path.isdir(folder):
        print(f"skipped: no {folder}; set XIN_SHARED_DATA or --data")
        return 77
    api = Api(args.base, args.key, args.wait)
    sources = upload(api, args.brand, read_lines(folder, "corpus.jsonl"),
                     args.workers)
    wait_ready(api, args.brand, sources, args.wait)
    run = run_ranking if args.set in RANKING_SETS else run_answers
    return 0 if run(api, args, folder, sources) else 1


if __name__ == "__main__":
    sys.exit(main())
