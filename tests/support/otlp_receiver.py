# SPDX-License-Identifier: Apache-2.0
"""A strict OTLP/HTTP receiver for tests: it decodes every request with the
official protobuf classes, checks what the protocol says, and answers as told.
Missing names what cannot be had here."""
import gzip
import http.server
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "build-tools" / "otlp-venv"
VERSION = "1.45.2"


class Missing(Exception):
    pass


def load_proto():
    """The official classes, from a virtual environment made on first use."""
    if not (VENV / "ready").exists():
        for argv in ([sys.executable, "-m", "venv", str(VENV)],
                     [str(VENV / "bin" / "pip"), "install", "-q",
                      f"opentelemetry-proto=={VERSION}"]):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
            if done.returncode != 0:
                raise Missing("no opentelemetry-proto here: " + done.stderr[-200:])
        (VENV / "ready").touch()
    sys.path.extend(str(p) for p in VENV.glob("lib/python3*/site-packages"))
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    return trace_service_pb2


def value(any_value):
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(v) for v in any_value.array_value.values]
    return getattr(any_value, kind) if kind else None


def pairs(attributes):
    keys = [a.key for a in attributes]
    assert len(keys) == len(set(keys)), f"a key twice: {keys}"
    return {a.key: value(a.value) for a in attributes}


class Span:
    def __init__(self, span, resource, scope):
        assert len(span.trace_id) == 16 and any(span.trace_id), span
        assert len(span.span_id) == 8 and any(span.span_id), span
        assert len(span.parent_span_id) in (0, 8), span
        assert span.name, span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 600, span
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.name, self.kind = span.name, span.kind
        self.attributes = pairs(span.attributes)
        self.events = [(e.name, pairs(e.attributes)) for e in span.events]
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
        self.status, self.flags, self.state = span.status.code, span.flags, span.trace_state
        self.resource = resource
        self.service = resource["service.name"]
        self.scope = scope

    def __repr__(self):
        return f"<{self.service} {self.name} {self.span_id} of {self.parent_id or '-'}>"


class Receiver:
    """`answers`: a function of the request's number (from 0) that gives
    (status, headers, body), sleeps, or returns None to close without answer."""

    def __init__(self, answer=None, port=0):
        self.proto = load_proto()
        self.answer = answer
        self.spans, self.requests, self.problems = [], [], []
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.take(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path="/v1/traces"):
        return f"http://127.0.0.1:{self.port}{path}"

    def take(self, handler):
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self.lock:
            number = len(self.requests)
            self.requests.append((time.monotonic(), handler.path, dict(handler.headers), raw))
        spans = []
        try:
            spans = self.decode(handler.headers, raw)
        except Exception as error:  # whatever it is, the test must see it
            self.problems.append(repr(error))
        told = self.answer(number) if self.answer else (200, {}, b"")
        if told is None:
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, body = told
        if status == 200:
            with self.lock:
                self.spans.extend(spans)
        handler.send_response(status)
        for name, text in ({"Content-Type": "application/x-protobuf"} | headers).items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def decode(self, headers, raw):
        assert headers["Content-Type"] == "application/x-protobuf", headers
        if headers.get("Content-Encoding"):
            assert headers["Content-Encoding"] == "gzip", headers
            raw = gzip.decompress(raw)
        request = self.proto.ExportTraceServiceRequest()
        assert request.ParseFromString(raw) == len(raw)
        assert request.resource_spans, "an empty request"
        found = []
        for rs in request.resource_spans:
            assert rs.schema_url == "https://opentelemetry.io/schemas/1.41.1"
            resource = pairs(rs.resource.attributes)
            for ss in rs.scope_spans:
                assert ss.scope.name == "xin" and ss.spans
                assert ss.schema_url == rs.schema_url
                found += [Span(s, resource, ss.scope.name) for s in ss.spans]
        return found

    def partial(self, rejected, message=""):
        answer = self.proto.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
        answer.partial_success.error_message = message
        return answer.SerializeToString()

    def wait(self, what, check, seconds=15):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self.lock:
                spans = list(self.spans)
            found = check(spans)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s for {what}; spans: {spans[-40:]}; "
                             f"problems: {self.problems}")

    def trace(self, trace_id):
        with self.lock:
            return [s for s in self.spans if s.trace_id == trace_id]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        assert not self.problems, self.problems
