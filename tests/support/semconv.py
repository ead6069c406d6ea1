# SPDX-License-Identifier: Apache-2.0
"""What a span must carry by its kind, and which keys there are at all: the one
table is src/base/attributes.def. Sources: OpenTelemetry semantic conventions
1.41.1, "HTTP Spans", "Database Client Calls Spans", "Messaging Spans",
"Generative AI Spans"; their names as a package: known_names()."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "opentelemetry-semantic-conventions==0.63b1"  # of 1.41.1
SCHEMA = "https://opentelemetry.io/schemas/1.41.1"
TABLE = {name: kind for kind, name in re.findall(
    r'ATTRIBUTE\(ATTR_\w+, (\w+), "([^"]+)"', (ROOT / "src/base/attributes.def").read_text())}
TYPES = {"STR": str, "INT": int, "REAL": (float, int), "BOOL": bool, "STRS": list}
EVENTS = {"guard.verdict": {"xin.guard.name", "xin.guard.stage", "xin.guard.action"},
          "exception": {"exception.type"}}
RESOURCE = {"service.name", "service.namespace", "service.version", "service.instance.id",
            "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version", "host.name"}
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
MESSAGING = {"messaging.system", "messaging.operation.name", "messaging.operation.type",
             "messaging.destination.name"}
HTTP_SERVER = {"http.request.method", "url.path", "url.scheme", "http.route",
               "http.response.status_code"}
HTTP_CLIENT = {"http.request.method", "server.address", "server.port", "url.full"}
AI_NAMED_BY = {"chat": "gen_ai.request.model", "embeddings": "gen_ai.request.model",
               "retrieval": "gen_ai.data_source.id"}


def known_names():
    """Every name of the pinned conventions; None where the package cannot be had."""
    venv = ROOT / "build-tools" / "semconv-venv"
    if not (venv / "ready").exists():
        for argv in ([sys.executable, "-m", "venv", str(venv)],
                     [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps",
                      PACKAGE]):
            if subprocess.run(argv, capture_output=True, timeout=280, check=False).returncode != 0:
                return None
        (venv / "ready").touch()
    names = set()
    for path in venv.glob("lib/python3*/site-packages/opentelemetry/semconv/**/*.py"):
        names |= set(re.findall(r'^[A-Z0-9_]+: Final = \(?\s*"([a-z0-9_.]+)"',
                                path.read_text(), re.M))
    return names


def wrong_values(attributes):
    """What the table does not know, or knows as another type."""
    for key, value in attributes.items():
        kind = TABLE.get(key)
        if kind is None:
            yield f"{key} is not in attributes.def"
        elif not isinstance(value, TYPES[kind]) or (kind == "INT" and isinstance(value, bool)):
            yield f"{key} is {value!r}, not {kind}"


def required(kind, attributes):
    """The keys that a span of this kind must have, and the shape of its name or None."""
    operation = attributes.get("gen_ai.operation.name")
    if kind == SERVER:
        return HTTP_SERVER, "{http.request.method} {http.route}"
    if kind in (PRODUCER, CONSUMER) or "messaging.system" in attributes:
        return MESSAGING, "{messaging.operation.name} {messaging.destination.name}"
    if operation is not None:
        return {"gen_ai.provider.name", AI_NAMED_BY[operation]}, \
            "{gen_ai.operation.name} {" + AI_NAMED_BY[operation] + "}"
    if "db.system.name" in attributes:
        target = " {db.collection.name}" if "db.collection.name" in attributes else ""
        redis = {"db.namespace"} if attributes["db.system.name"] == "redis" else set()
        return {"db.operation.name"} | redis, "{db.operation.name}" + target
    if kind == CLIENT:
        return HTTP_CLIENT, "{http.request.method}"
    return set(), None


def faults(name, kind, failed, attributes, events):
    """Everything that is wrong with one span, as sentences."""
    yield from wrong_values(attributes)
    keys, wanted = required(kind, attributes)
    yield from (f"{key} is missing" for key in sorted(keys - set(attributes)))
    if wanted is not None and keys <= set(attributes):
        told = re.sub(r"\{([a-z_.]+)\}", lambda m: str(attributes[m[1]]), wanted)
        if name != told:
            yield f"the name is not {told!r}"
    if failed and "error.type" not in attributes:
        yield "status ERROR without error.type"
    if "xin.correlation_id" not in attributes and kind in (SERVER, CONSUMER):
        yield "xin.correlation_id is missing"
    if re.search(r"[?#@]", attributes.get("url.full", "") + attributes.get("url.path", "")):
        yield "a URL with user, query or fragment"
    for event, pairs in events:
        if event not in EVENTS:
            yield f"event {event} is not known"
            continue
        yield from wrong_values(pairs)
        yield from (f"{event}: {key} is missing" for key in sorted(EVENTS[event] - set(pairs)))
