#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is Qdrant's double right? A second opinion: the local mode of Qdrant's own
Python client, which has its models of every request and its own search.

What the program really sends (the suites of search, recorded by the double) is
sent to the client's local mode, and the answers must be the same; then filters
made by chance over points made by chance. Exits 77, which is "skipped", when
the client cannot be had from PyPI or the suites are not built.

    qdrant_oracle_test.py [folder of the built tests]
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
VENV = os.path.join(ROOT, "build-oracle")
CLIENT = "qdrant-client>=1.15,<2"
SUITES = ("contract_search_test", "contract_search_qdrant_test",
          "contract_search_parity_test")


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(77)


def in_venv():
    """Run again under a Python that has the client."""
    python = os.path.join(VENV, "bin", "python")
    probe = [python, "-c", "import qdrant_client"]
    if not os.path.exists(python) or subprocess.call(
            probe, stderr=subprocess.DEVNULL) != 0:
        subprocess.call([sys.executable, "-m", "venv", VENV])
        if subprocess.call([python, "-m", "pip", "install", "-q", CLIENT],
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL) != 0:
            skip(f"{CLIENT} cannot be had from PyPI")
    os.execv(python, [python, "-B", os.path.abspath(__file__)] + sys.argv[1:])


try:
    from qdrant_client import QdrantClient, models
except ImportError:
    in_venv()

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import qdrant_double  # noqa: E402


class Oracle:
    """The client's local mode, spoken to in REST bodies. Its models refuse
    unknown fields, so that the shapes are checked by the way."""

    def __init__(self):
        self.client = QdrantClient(":memory:")
        self.compared = 0

    def reset(self):
        self.client.close()
        self.client = QdrantClient(":memory:")

    def ask(self, method, rest, name, body):
        client = self.client
        if (method, rest) == ("PUT", ""):
            spec = models.CreateCollection(**body)
            return client.create_collection(
                name, vectors_config=spec.vectors or {},
                sparse_vectors_config=spec.sparse_vectors)
        if (method, rest) == ("PUT", "/index"):
            models.CreateFieldIndex(**body)
            return None
        if (method, rest) == ("PUT", "/points"):
            client.upsert(name, models.PointsList(**body).points)
        elif (method, rest) == ("POST", "/points/delete"):
            client.delete(name, models.FilterSelector(**body))
        elif (method, rest) == ("POST", "/points"):
            spec = models.PointRequest(**body)
            return client.retrieve(name, spec.ids, spec.with_payload)
        elif (method, rest) == ("POST", "/points/query/batch"):
            spec = models.QueryRequestBatch(**body)
            return client.query_batch_points(name, spec.searches)
        elif (method, rest) == ("POST", "/points/count"):
            spec = models.CountRequest(**body)
            return client.count(name, spec.filter, exact=spec.exact).count
        elif (method, rest) == ("POST", "/facet"):
            spec = models.FacetRequest(**body)
            return client.facet(name, spec.key, spec.filter, spec.limit,
                                spec.exact).hits
        elif (method, rest) != ("GET", ""):
            raise AssertionError(f"nobody knows {method} {rest}")
        return None


def same_ranking(theirs, ours, limit):
    """The same points with the same scores; of equal last ones any."""
    theirs = [(p.score, str(p.id), p.payload) for p in theirs]
    ours = [(p["score"], str(p["id"]), p.get("payload")) for p in ours]
    assert len(theirs) == len(ours), f"{len(theirs)} and {len(ours)} points"
    for a, b in zip(theirs, ours):
        assert abs(a[0] - b[0]) <= 1e-5 * max(1, abs(a[0])), (a[:2], b[:2])
    if not ours:
        return
    edge = ours[-1][0] + 1e-4 if len(ours) == limit else float("-inf")
    inner = [{i: p for s, i, p in side if s > edge}
             for side in (theirs, ours)]
    # Right at the edge rounding decides; one point more or less is no news.
    shared = inner[0].keys() & inner[1].keys()
    assert len(shared) >= max(map(len, inner)) - 2, (inner[0].keys() ^
                                                     inner[1].keys())
    for i in shared:
        assert inner[0][i] == inner[1][i], i


def compare(rest, body, theirs, ours):
    """False when there is nothing to compare."""
    if theirs is None:
        return False
    if rest == "/points":
        assert {str(p.id): p.payload for p in theirs} == \
            {p["id"]: p["payload"] for p in ours}
    elif rest == "/points/count":
        assert theirs == ours["count"], (theirs, ours)
    elif rest == "/facet":
        assert {h.value: h.count for h in theirs} == \
            {h["value"]: h["count"] for h in ours["hits"]}
    elif rest == "/points/query/batch":
        for search, a, b in zip(body["searches"], theirs, ours):
            same_ranking(a.points, b["points"], search["limit"])
    else:
        return False
    return True


def replay(path):
    oracle = Oracle()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            what = json.loads(line)
            if what["method"] == "RESET":
                oracle.reset()
                continue
            _, _, name, *rest = what["path"].split("/")
            rest = "".join("/" + part for part in rest)
            try:
                theirs = oracle.ask(what["method"], rest, name, what["body"])
                oracle.compared += compare(rest, what["body"], theirs,
                                           what["result"])
            except Exception as e:
                raise AssertionError(
                    f"request {number}: {what['method']} {what['path']}\n"
                    f"{json.dumps(what['body'])[:2000]}") from e
    return oracle.compared


def record(folder):
    """Run the suites with the double writing down."""
    total = 0
    for suite in SUITES:
        program = os.path.join(folder, suite)
        if not os.path.exists(program):
            skip(f"{program} is not built")
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            subprocess.run([program], cwd=ROOT, check=True,
                           env={**os.environ, "XIN_PARITY": "60",
                                "XIN_QDRANT_RECORD": file.name},
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            compared = replay(file.name)
        print(f"{suite}: {compared} answers are the same")
        total += compared
    assert total > 100, "hardly anything was compared"


# ---- filters by chance ----

WORDS = ["red", "green", "blue", "قرمز", "a b", ""]


def some_condition(rng, depth):
    kind = rng.randrange(8 if depth < 2 else 6)
    word = {"key": rng.choice(["color", "tags"])}
    if kind == 0:
        return {**word, "match": {"value": rng.choice(WORDS)}}
    if kind == 1:
        return {**word, "match": {"any": rng.sample(WORDS, 2)}}
    if kind == 2:
        return {**word, "match": {"except": rng.sample(WORDS, 2)}}
    if kind == 3:
        return {"key": "n", "match": {"value": rng.randrange(5)}}
    if kind == 4:
        return {"key": "n", "range": {rng.choice(["lt", "gte"]):
                                      rng.randrange(5)}}
    if kind == 5:
        return {"is_empty": {"key": rng.choice(["color", "tags", "n"])}}
    return some_filter(rng, depth + 1)


def some_filter(rng, depth=0):
    spec = {}
    for part in ("must", "should", "must_not"):
        if rng.random() < 0.5:
            spec[part] = [some_condition(rng, depth)
                          for _ in range(rng.randrange(1, 3))]
    return spec or {"must": [some_condition(rng, 2)]}


def some_point(rng, number):
    payload = {"number": number}
    if rng.random() < 0.8:
        payload["color"] = rng.choice(WORDS)
    if rng.random() < 0.7:
        payload["tags"] = rng.sample(WORDS, rng.randrange(4))
    if rng.random() < 0.8:
        payload["n"] = rng.randrange(5)
    size = rng.randrange(1, 6)
    vector = {"bm25": {"indices": rng.sample(range(12), size),
                       "values": [rng.random() + 0.1 for _ in range(size)]}}
    if rng.random() < 0.8:
        vector["dense"] = [rng.gauss(0, 1) for _ in range(3)]
    return {"id": number, "vector": vector, "payload": payload}


def by_chance(seed=7, rounds=300):
    rng = random.Random(seed)
    oracle = Oracle()
    spec = {"vectors": {"dense": {"size": 3, "distance": "Cosine"}},
            "sparse_vectors": {"bm25": {}}}
    double = qdrant_double.Collection(spec)
    oracle.ask("PUT", "", "c", spec)
    for field, kind in (("color", "keyword"), ("tags", "keyword"),
                        ("n", "integer")):
        double.index({"field_name": field, "field_schema": kind})
    points = [some_point(rng, i) for i in range(200)]
    for p in points:
        double.insert(double.checked_point(p))
    oracle.ask("PUT", "/points", "c", {"points": points})
    sizes = set()
    for _ in range(rounds):
        chosen = some_filter(rng)
        try:
            count = {"filter": chosen, "exact": True}
            found = double.count(count)
            sizes.add(found["count"])
            compare("/points/count", count,
                    oracle.ask("POST", "/points/count", "c", count), found)
            facet = {"key": "color", "filter": chosen, "limit": 100,
                     "exact": True}
            compare("/facet", facet,
                    oracle.ask("POST", "/facet", "c", facet),
                    double.facet(facet))
            query = {"query": {"indices": rng.sample(range(12), 3),
                               "values": [1.0, 2.0, 0.5]},
                     "using": "bm25", "limit": 20, "filter": chosen,
                     "with_payload": ["number"]}
            near = {"query": [rng.gauss(0, 1) for _ in range(3)],
                    "using": "dense", "limit": 20, "filter": chosen}
            body = {"searches": [query, near]}
            compare("/points/query/batch", body,
                    oracle.ask("POST", "/points/query/batch", "c", body),
                    [double.query(s) for s in body["searches"]])
        except AssertionError as e:
            raise AssertionError(json.dumps(chosen, ensure_ascii=False)) from e
    assert len(sizes) > 20, "the filters choose nothing"
    print(f"by chance: {rounds} filters are the same")


def main():
    warnings.simplefilter("ignore")
    by_chance()
    record(sys.argv[1] if len(sys.argv) > 1 else
           os.path.join(ROOT, "build-debug", "tests"))


if __name__ == "__main__":
    main()
