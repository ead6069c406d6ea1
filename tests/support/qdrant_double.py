#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Qdrant's REST interface, for tests: the part that Xin uses.

Stricter than the real one: unknown fields are refused, filters need an index
(as in strict mode), equal scores come in an order that changes from request to
request, and what was written without wait=true shows late. The real server's
sentences and status codes are used where they are known.

    qdrant_double.py [--port N] [--api-key KEY] [--record FILE]
        prints "port N" and serves; FILE gets each request with its answer, one
        JSON object a line

Control, for tests that want failures:
    POST /_double/fail   {"match": "/points", "times": 2, "status": 500,
                          "retry_after": 1, "delay_ms": 0, "drop": false}
    POST /_double/reset  everything forgotten
    GET  /_double/stats  {"requests": {"PUT /points": 3, ...}, "wait_false": 0}
"""
import argparse
import ctypes
import json
import math
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY = 32 << 20
LATE_S = 0.3  # when a write without wait shows
U32 = 1 << 32


class Refused(Exception):
    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def bad(sentence):
    raise Refused(400, "Format error in JSON body: " + sentence)


def wrong(sentence):
    raise Refused(400, "Wrong input: " + sentence)


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


# ---- shapes ----

def fields(value, required=(), optional=()):
    if not isinstance(value, dict):
        bad("expected an object")
    for key in value:
        if key not in required and key not in optional:
            bad(f"unknown field `{key}`")
    for key in required:
        if key not in value:
            bad(f"missing field `{key}`")
    return value


def is_int(value, low=0, high=(1 << 63) - 1):
    return type(value) is int and low <= value <= high


def is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def check_id(value):
    if is_int(value, 0, (1 << 64) - 1):
        return value
    if isinstance(value, str):
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    bad(f"value {value!r} is not a valid point ID, valid values are either an "
        "unsigned integer or a UUID")


def check_dense(value):
    if not isinstance(value, list) or not value or \
            not all(is_number(x) for x in value):
        bad("a dense vector is a list of numbers")
    return value


def check_sparse(value):
    fields(value, ("indices", "values"))
    indices, values = value["indices"], value["values"]
    if not isinstance(indices, list) or not isinstance(values, list) or \
            not all(is_int(x, 0, U32 - 1) for x in indices) or \
            not all(is_number(x) for x in values):
        bad("a sparse vector has u32 indices and number values")
    if len(indices) != len(values):
        raise Refused(422, "Validation error in JSON body: must be the same "
                           "length as indices")
    if len(set(indices)) != len(indices):
        raise Refused(422, "Validation error in JSON body: must be unique")
    return value


def check_bool(value, name):
    if not isinstance(value, bool):
        bad(f"`{name}` must be a boolean")
    return value


# ---- filters ----

def as_list(value):
    return value if isinstance(value, list) else [value]


def values_at(payload, key):
    """Values under a path "a.b"; arrays are spread."""
    found = [payload]
    for part in key.split("."):
        found = [item[part] for item in found
                 if isinstance(item, dict) and part in item]
    return [x for item in found for x in as_list(item)]


def same(a, b):
    return type(a) is type(b) and a == b


class Filter:
    """Compiled once for a request: `test(point)`, and `seed` of keyword
    matches that every match has, to start from the index."""

    def __init__(self, collection, spec):
        fields(spec, (), ("must", "should", "must_not", "min_should"))
        if "min_should" in spec:
            bad("min_should is not in this double")
        self.seed = []
        self.collection = collection
        self.must = [self.condition(collection, c, True)
                     for c in as_list(spec.get("must") or [])]
        self.should = [self.condition(collection, c, False)
                       for c in as_list(spec.get("should") or [])]
        self.must_not = [self.condition(collection, c, False)
                         for c in as_list(spec.get("must_not") or [])]

    def condition(self, collection, spec, must):
        if not isinstance(spec, dict):
            bad("a condition is an object")
        if set(spec) & {"must", "should", "must_not"}:
            return Filter(collection, spec).test
        if "has_id" in spec:
            wanted = {check_id(x) for x in fields(spec, ("has_id",))["has_id"]}
            return lambda p: p["id"] in wanted
        if "is_empty" in spec:
            key = fields(fields(spec, ("is_empty",))["is_empty"],
                         ("key",))["key"]
            return lambda p: not values_at(p["payload"], key)
        fields(spec, ("key",), ("match", "range"))
        key = spec["key"]
        kind = collection.indexes.get(key)
        if kind is None:
            raise Refused(400, f'Bad request: Index required but not found for '
                               f'"{key}" of one of the following types')
        if "range" in spec:
            return self.range(key, spec["range"])
        if "match" not in spec:
            bad("a condition needs `match` or `range`")
        return self.match(key, spec["match"], must)

    def match(self, key, match, must):
        if not isinstance(match, dict) or len(match) != 1:
            bad("`match` has one member")
        (how, wanted), = match.items()
        if how == "value":
            if type(wanted) not in (str, int, bool):
                bad("`match.value` is a keyword, an integer or a bool")
            if must and isinstance(wanted, str):
                self.seed.append((key, wanted))
            return lambda p: any(same(x, wanted)
                                 for x in values_at(p["payload"], key))
        if how in ("any", "except"):
            if not isinstance(wanted, list) or \
                    not all(type(x) in (str, int) for x in wanted):
                bad(f"`match.{how}` is a list of keywords or of integers")
            within = set(wanted)
            if how == "any":
                return lambda p: any(x in within
                                     for x in values_at(p["payload"], key))
            return lambda p: any(x not in within
                                 for x in values_at(p["payload"], key))
        bad(f"`match.{how}` is not in this double")

    @staticmethod
    def range(key, spec):
        fields(spec, (), ("gt", "gte", "lt", "lte"))
        if not all(is_number(x) for x in spec.values()):
            bad("`range` has numbers")
        tests = {"gt": lambda x, y: x > y, "gte": lambda x, y: x >= y,
                 "lt": lambda x, y: x < y, "lte": lambda x, y: x <= y}
        return lambda p: any(
            is_number(x) and all(tests[op](x, y) for op, y in spec.items())
            for x in values_at(p["payload"], key))

    def tenant(self):
        """Xin's own law: whatever goes over points names its tenant."""
        for field, (_, params) in self.collection.indexes.items():
            if (params or {}).get("is_tenant") and \
                    field not in [key for key, _ in self.seed]:
                raise Refused(400, f"no `{field}` in `must` of the filter")
        return self

    def test(self, point):
        return all(c(point) for c in self.must) and \
            not any(c(point) for c in self.must_not) and \
            (not self.should or any(c(point) for c in self.should))


PATH = re.compile(r'([\w-]+)(?:\.(?:([\w-]+)|"([^"\\\\]*)"))?')


def included(payload, paths):
    """Members by path: `a`, `a.b` or `a."any key"`."""
    out = {}
    for path in paths:
        m = PATH.fullmatch(path)
        if m is None:
            bad(f"invalid payload path {path}")
        first, inner = m[1], m[2] if m[2] is not None else m[3]
        if first not in payload:
            continue
        if inner is None:
            out[first] = payload[first]
        elif isinstance(payload[first], dict):
            kept = out.setdefault(first, {})
            if inner in payload[first]:
                kept[inner] = payload[first][inner]
    return out


# ---- a collection ----

class Collection:
    def __init__(self, spec):
        fields(spec, (), ("vectors", "sparse_vectors", "hnsw_config",
                          "quantization_config", "on_disk_payload",
                          "shard_number", "replication_factor"))
        self.spec = spec
        self.dense = {}
        for name, v in (spec.get("vectors") or {}).items():
            fields(v, ("size", "distance"),
                   ("on_disk", "hnsw_config", "quantization_config",
                    "datatype"))
            if not is_int(v["size"], 1, 65536):
                raise Refused(422, "Validation error in JSON body: [vectors."
                                   "size: must be from 1 to 65536]")
            if v["distance"] not in ("Cosine", "Dot", "Euclid", "Manhattan"):
                bad(f"unknown variant `{v['distance']}`")
            if v["distance"] != "Cosine":
                bad("this double knows Cosine")
            self.dense[name] = v["size"]
        self.sparse = {}
        for name, v in (spec.get("sparse_vectors") or {}).items():
            fields(v, (), ("modifier", "index"))
            if v.get("modifier", "none") not in ("none", "idf"):
                bad("unknown modifier")
            self.sparse[name] = v
        self.check_tuning(spec)
        self.indexes = {}  # field -> (data_type, params)
        self.points = {}
        self.keywords = {}  # field -> value -> ids, for speed
        self.postings = {}  # name -> index -> {id: value}
        self.late = []  # (when, function)

    @staticmethod
    def check_tuning(spec):
        fields(spec.get("hnsw_config") or {}, (),
               ("m", "payload_m", "ef_construct", "full_scan_threshold",
                "max_indexing_threads", "on_disk"))
        quantization = spec.get("quantization_config")
        if quantization is not None:
            fields(quantization, (), ("scalar", "product", "binary"))
            if len(quantization) != 1:
                bad("one kind of quantization")
            if "scalar" in quantization:
                fields(quantization["scalar"], ("type",),
                       ("quantile", "always_ram"))
            if "binary" in quantization:
                fields(quantization["binary"], (),
                       ("always_ram", "encoding"))

    def index(self, spec):
        fields(spec, ("field_name",), ("field_schema",))
        schema = spec.get("field_schema")
        params = None
        if isinstance(schema, dict):
            fields(schema, ("type",), ("is_tenant", "on_disk", "lookup",
                                       "range", "is_principal"))
            kind, params = schema["type"], schema
        else:
            kind = schema
        if kind not in ("keyword", "integer", "float", "bool", "datetime",
                        "uuid", "text", "geo"):
            bad(f"unknown variant `{kind}`")
        if params and "is_tenant" in params and kind not in ("keyword",
                                                             "uuid"):
            bad("unknown field `is_tenant`")
        self.indexes[spec["field_name"]] = (kind, params)

    # -- writing --

    def checked_point(self, spec):
        fields(spec, ("id", "vector"), ("payload",))
        payload = spec.get("payload")
        if payload is not None and not isinstance(payload, dict):
            bad("payload is an object")
        vectors = {}
        if not isinstance(spec["vector"], dict):
            wrong("Not existing vector name error: ")
        for name, v in spec["vector"].items():
            if name in self.dense:
                check_dense(v)
                if len(v) != self.dense[name]:
                    wrong("Vector dimension error: expected dim: "
                          f"{self.dense[name]}, got {len(v)}")
                norm = math.sqrt(sum(x * x for x in v)) or 1
                vectors[name] = [x / norm for x in v]
            elif name in self.sparse:
                check_sparse(v)
                vectors[name] = {i: f32(x) for i, x in
                                 zip(v["indices"], v["values"])}
            else:
                wrong(f"Not existing vector name error: {name}")
        return {"id": check_id(spec["id"]), "vectors": vectors,
                "payload": payload or {}}

    def remove(self, point_id):
        point = self.points.pop(point_id, None)
        if point is None:
            return
        for field, values in self.keywords.items():
            for x in values_at(point["payload"], field):
                if isinstance(x, str):
                    values.get(x, set()).discard(point_id)
        for name, vector in point["vectors"].items():
            if name in self.sparse:
                for i in vector:
                    self.postings[name][i].pop(point_id, None)

    def insert(self, point):
        self.remove(point["id"])
        self.points[point["id"]] = point
        for field in self.indexes:
            values = self.keywords.setdefault(field, {})
            for x in values_at(point["payload"], field):
                if isinstance(x, str):
                    values.setdefault(x, set()).add(point["id"])
        for name, vector in point["vectors"].items():
            if name in self.sparse:
                lists = self.postings.setdefault(name, {})
                for i, x in vector.items():
                    lists.setdefault(i, {})[point["id"]] = x

    # -- reading --

    def select(self, spec):
        """Points of a filter."""
        chosen = Filter(self, spec).tenant()
        ids = self.points.keys()
        for key, value in chosen.seed:
            if key in self.keywords:
                ids = ids & self.keywords[key].get(value, set())
        return [self.points[i] for i in ids if chosen.test(self.points[i])]

    def score(self, query, using):
        if isinstance(query, list):
            if using not in self.dense:
                wrong(f"Not existing vector name error: {using}")
            check_dense(query)
            if len(query) != self.dense[using]:
                wrong("Vector dimension error: expected dim: "
                      f"{self.dense[using]}, got {len(query)}")
            norm = math.sqrt(sum(x * x for x in query)) or 1
            return {p["id"]: f32(sum(a * b for a, b in zip(
                p["vectors"][using], query)) / norm)
                for p in self.points.values() if using in p["vectors"]}
        if using not in self.sparse:
            wrong(f"Not existing vector name error: {using}")
        check_sparse(query)
        scores = {}
        for i, weight in zip(query["indices"], query["values"]):
            for p, x in self.postings.get(using, {}).get(i, {}).items():
                scores[p] = f32(scores.get(p, 0.0) + f32(weight) * x)
        return scores

    def query(self, spec):
        fields(spec, ("query",),
               ("using", "limit", "filter", "params", "with_payload",
                "with_vector", "score_threshold", "offset"))
        limit = spec.get("limit", 10)
        if not is_int(limit, 1):
            raise Refused(422, "Validation error in JSON body: [limit: must "
                               "be 1 or larger]")
        params = fields(spec.get("params") or {}, (),
                        ("hnsw_ef", "exact", "indexed_only", "quantization"))
        fields(params.get("quantization") or {}, (),
               ("ignore", "rescore", "oversampling"))
        scores = self.score(spec["query"], spec.get("using", ""))
        chosen = Filter(self, spec.get("filter") or {}).tenant()
        ids = scores.keys()
        for key, value in chosen.seed:
            if key in self.keywords:
                ids = ids & self.keywords[key].get(value, set())
        found = [i for i in ids if chosen.test(self.points[i])]
        random.shuffle(found)  # equal scores have no order
        found.sort(key=lambda i: -scores[i])
        return {"points": [
            {"id": i, "version": 0, "score": scores[i],
             **self.shown(self.points[i], spec)} for i in found[:limit]]}

    @staticmethod
    def shown(point, spec, with_payload=False):
        out = {}
        wanted = spec.get("with_payload", with_payload)
        if isinstance(wanted, list):
            out["payload"] = included(point["payload"], wanted)
        elif check_bool(wanted, "with_payload"):
            out["payload"] = point["payload"]
        if spec.get("with_vector", False) is not False:
            bad("with_vector is not in this double")
        return out

    def count(self, spec):
        fields(spec, (), ("filter", "exact"))
        check_bool(spec.get("exact", True), "exact")
        return {"count": len(self.select(spec.get("filter") or {}))}

    def facet(self, spec):
        fields(spec, ("key",), ("limit", "filter", "exact"))
        key, limit = spec["key"], spec.get("limit", 10)
        check_bool(spec.get("exact", False), "exact")
        if not is_int(limit, 1):
            raise Refused(422, "Validation error in JSON body: [limit: must "
                               "be 1 or larger]")
        if key not in self.indexes:
            raise Refused(400, "Bad request: No appropriate index for "
                               f"faceting: `{key}`. Please create one to "
                               "facet on this field.")
        counts = {}
        for point in self.select(spec.get("filter") or {}):
            for x in {x for x in values_at(point["payload"], key)
                      if type(x) in (str, int, bool)}:
                counts[x] = counts.get(x, 0) + 1
        order = sorted(counts.items(), key=lambda x: (-x[1], str(x[0])))
        return {"hits": [{"value": v, "count": n} for v, n in order[:limit]]}

    def info(self):
        config = {k: v for k, v in self.spec.items()
                  if k in ("vectors", "sparse_vectors", "on_disk_payload")}
        schema = {}
        for name, (kind, params) in self.indexes.items():
            schema[name] = {"data_type": kind, "points": len(self.points)}
            if params:
                schema[name]["params"] = params
        return {"status": "green", "optimizer_status": "ok",
                "points_count": len(self.points), "segments_count": 1,
                "indexed_vectors_count": len(self.points),
                "config": {"params": {"shard_number": 1, **config},
                           "hnsw_config": self.spec.get("hnsw_config", {}),
                           "quantization_config":
                               self.spec.get("quantization_config")},
                "payload_schema": schema}


# ---- the server ----

class World:
    def __init__(self, api_key=None, record=None):
        self.api_key = api_key
        self.record = record
        self.lock = threading.RLock()
        self.reset()
        self.note(method="RESET")

    def reset(self):
        self.collections = {}
        self.failures = []
        self.requests = {}
        self.wait_false = 0

    def settle(self, all_of_it=False):
        """Writes without wait show when their time has come, in order."""
        for c in self.collections.values():
            while c.late and (all_of_it or c.late[0][0] <= time.monotonic()):
                c.late.pop(0)[1]()

    def collection(self, name):
        if name not in self.collections:
            raise Refused(404,
                          f"Not found: Collection `{name}` doesn't exist!")
        return self.collections[name]

    def write(self, collection, params, action):
        """wait=true: visible with the answer; and all that came before."""
        if params.get("wait") == "true":
            for _, earlier in collection.late:
                earlier()
            collection.late = []
            action()
            return {"operation_id": 1, "status": "completed"}
        self.wait_false += 1
        collection.late.append((time.monotonic() + LATE_S, action))
        return {"operation_id": 1, "status": "acknowledged"}

    def answer(self, method, path, params, body):
        known = {"wait", "ordering", "timeout"} if method in ("PUT", "DELETE") \
            or path.endswith("/delete") else {"consistency", "timeout"}
        for key in params:
            if key not in known:
                raise Refused(400, f"unknown query parameter {key}")
        self.settle()
        m = re.fullmatch(r"/collections/([^/]+)((?:/[^/]+)*)", path)
        if m is None:
            raise Refused(404, "")
        name, rest = unquote(m[1]), m[2]
        if rest == "" and method == "PUT":
            if name in self.collections:
                raise Refused(409, f"Wrong input: Collection `{name}` "
                                   "already exists!")
            self.collections[name] = Collection(body)
            return True
        if rest == "" and method == "DELETE":
            return self.collections.pop(name, None) is not None
        if rest == "/exists" and method == "GET":
            return {"exists": name in self.collections}
        return self.on_collection(self.collection(name), method, rest, params,
                                  body)

    def on_collection(self, c, method, rest, params, body):
        if method == "GET" and rest == "":
            return c.info()
        if method == "PUT" and rest == "/index":
            return self.write(c, params, lambda: c.index(body))
        if method == "PUT" and rest == "/points":
            fields(body, ("points",))
            if not isinstance(body["points"], list) or not body["points"]:
                raise Refused(422, "Validation error: Empty update request")
            points = [c.checked_point(p) for p in body["points"]]
            return self.write(c, params,
                              lambda: [c.insert(p) for p in points])
        if method == "POST" and rest == "/points/delete":
            fields(body, (), ("points", "filter"))
            if len(body) != 1:
                bad("data did not match any variant of untagged enum "
                    "PointsSelector")
            if "points" in body:
                wanted = [check_id(x) for x in body["points"]]
                return self.write(c, params,
                                  lambda: [c.remove(i) for i in wanted])
            c.select(body["filter"])
            return self.write(c, params, lambda: [
                c.remove(p["id"]) for p in c.select(body["filter"])])
        if method == "POST" and rest == "/points":
            fields(body, ("ids",), ("with_payload", "with_vector"))
            found = [c.points[i] for i in map(check_id, body["ids"])
                     if i in c.points]
            random.shuffle(found)
            return [{"id": p["id"], **c.shown(p, body, True)} for p in found]
        if method == "POST" and rest == "/points/query":
            return c.query(body)
        if method == "POST" and rest == "/points/query/batch":
            searches = fields(body, ("searches",))["searches"]
            return [c.query(s) for s in searches]
        if method == "POST" and rest == "/points/count":
            return c.count(body)
        if method == "POST" and rest == "/facet":
            return c.facet(body)
        raise Refused(404, "")

    # -- failures --

    def note(self, **what):
        if self.record is not None:
            self.record.write(json.dumps(what, ensure_ascii=False) + "\n")
            self.record.flush()

    def failure(self, path):
        for f in self.failures:
            if f["times"] > 0 and f["match"] in path:
                f["times"] -= 1
                return f
        return None

    def control(self, method, path, body):
        if path == "/_double/reset":
            self.reset()
            self.note(method="RESET")
            return {}
        if path == "/_double/fail":
            f = fields(body, ("match", "times"), ("status", "retry_after",
                                                  "delay_ms", "drop",
                                                  "sentence"))
            # A newer word on the same requests replaces the older one.
            self.failures = [old for old in self.failures if old["match"] != f["match"]] + [f]
            return {}
        if path == "/_double/stats":
            return {"requests": self.requests, "wait_false": self.wait_false,
                    "points": {n: len(c.points)
                               for n, c in self.collections.items()}}
        raise Refused(404, "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = None

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, status, value, headers=()):
        text = value if isinstance(value, bytes) else \
            json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, v in headers:
            self.send_header(name, v)
        self.end_headers()
        self.wfile.write(text)

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        if length > MAX_BODY:
            raise Refused(413, "JSON payload is larger than allowed")
        if not raw:
            return None
        if "application/json" not in self.headers.get("Content-Type", ""):
            raise Refused(415, "Content type error")
        try:
            return json.loads(raw.decode("utf-8"),
                              parse_constant=lambda c: bad("not a number"))
        except ValueError as e:
            bad(str(e))

    def allowed(self, path):
        key = self.world.api_key
        if key is None or path in ("/", "/healthz", "/readyz", "/livez"):
            return
        given = self.headers.get("api-key") or \
            self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given != key:
            raise Refused(401, "Invalid API key or JWT")

    def fail(self, f):
        """True when the request ends here."""
        if f.get("delay_ms"):
            time.sleep(f["delay_ms"] / 1000)
        if f.get("drop"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return True
        if not f.get("status"):
            return False
        headers = [("Retry-After", str(f["retry_after"]))] \
            if "retry_after" in f else []
        self.send(f["status"], {"status": {"error": f.get("sentence",
                                                     "made to fail")},
                                "time": 0.0}, headers)
        return True

    def serve(self):
        url = urlsplit(self.path)
        path = url.path.rstrip("/") or "/"
        params = {k: v[0] for k, v in parse_qs(url.query).items()}
        world = self.world
        try:
            body = self.body()
            if path.startswith("/_double/"):
                with world.lock:
                    self.send(200, world.control(self.command, path, body))
                return
            with world.lock:
                kind = re.sub(r"^/collections/[^/]+", "", path)
                name = f"{self.command} {kind}"
                world.requests[name] = world.requests.get(name, 0) + 1
                failure = world.failure(path)
            if failure is not None and self.fail(failure):
                return
            self.allowed(path)
            if path in ("/healthz", "/readyz", "/livez"):
                self.send(200, b"ok")
                return
            if path == "/":
                self.send(200, {"title": "qdrant - vector search engine",
                                "version": "1.19.0-double"})
                return
            with world.lock:
                result = world.answer(self.command, path, params, body)
                world.note(method=self.command, path=path, params=params,
                           body=body, result=result)
            self.send(200, {"result": result, "status": "ok", "time": 0.0001})
        except Refused as e:
            self.send(e.status, {"status": {"error": e.sentence}, "time": 0.0})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def start(port=0, api_key=None, record=None):
    """For Python tests: (server, port); stop with server.shutdown()."""
    handler = type("H", (Handler,), {"world": World(api_key, record)})
    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--record", type=argparse.FileType("a"))
    args = parser.parse_args()
    # End with the test that started us (PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    random.seed(1)
    _, port = start(args.port, args.api_key, args.record)
    print("port", port, flush=True)
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
