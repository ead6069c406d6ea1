#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traces of the real binary, taken by a strict receiver (checklist 1-16): where
they go, what a collector that is down, slow or refusing does, how W3C context
comes in and goes on, what is in the spans and what never is. With --cluster:
one joined trace over three processes, and the same from a real collector.
Exit status 77: something cannot be had here, by name."""
import email.utils
import http.client
import http.server
import json
import pathlib
import re
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import otel_collector  # noqa: E402
import otlp_receiver  # noqa: E402
import semconv  # noqa: E402
from cluster import Cluster, Missing, free_port  # noqa: E402
from otlp_receiver import Receiver  # noqa: E402
from xin_process import OPENER, Xin  # noqa: E402

SERVICES = {"xin-channel-gateway", "xin-orchestrator", "xin-ingestion-worker"}
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
ON, OFF = ("tracing initialised", "tracing active"), (
    "tracing disabled; operating without OTLP exporter",
    "distributed tracing disabled; no OTLP endpoint configured")


def wait(what, check, seconds=15):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class Case(unittest.TestCase):
    def receiver(self, answer=None, port=0):
        receiver = Receiver(answer, port)
        self.addCleanup(receiver.close)
        return receiver

    def xin(self, command="serve", **settings):
        xin = Xin(command)
        self.addCleanup(xin.stop)
        return xin.start(**(FAST | settings))

    @staticmethod
    def turn(xin, message="hello", headers=None):
        return xin.ask("POST", "/v1/brands/default/turns",
                       {"message": message, "user": {"id": "u"}}, headers)

    @staticmethod
    def lines(xin, event):
        return [e for e in xin.events() if e["event"] == event]

    @staticmethod
    def metric(xin, name, **labels):
        with OPENER.open(xin.url + "/metrics", timeout=10) as response:
            text = response.read().decode()
        total = 0
        for line in text.splitlines():
            if line.startswith(name + "{") and all(
                    f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def server_span(self, receiver, name="POST /v1/brands/{brand_id}/turns"):
        return receiver.wait(name, lambda spans: [s for s in spans if s.name == name])[-1]


class Endpoint(Case):
    def test_the_url_is_used_as_it_is_and_headers_go_along_2_3_4_5_12(self):
        receiver = self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url("/custom/x?tenant=1"),
                       OTEL_EXPORTER_HEADERS="authorization=Basic%20YTpi==, x-two = 2 ,broken,=x",
                       OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
        receiver.wait("three probes", lambda spans: len(spans) == 3)
        _, path, headers, _ = receiver.requests[0]
        self.assertEqual("/custom/x?tenant=1", path)
        self.assertEqual("Basic YTpi==", headers["authorization"])
        self.assertEqual("2", headers["x-two"])
        self.assertEqual("application/x-protobuf", headers["Content-Type"])
        self.assertRegex(headers["User-Agent"], r"^OTel-OTLP-Exporter-C/\d")
        self.assertNotIn("traceparent", {name.lower() for name in headers})
        skipped = self.lines(xin, "tracing.header_skipped")
        self.assertEqual([3, 4], [line["pair"] for line in skipped])
        self.assertNotIn("YTpi", "".join(xin.logs))

    def test_each_service_says_the_sentences_and_has_its_name_8_9_10_11_15(self):
        receiver = self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url())
        receiver.wait("three probes", lambda spans: {s.service for s in spans} == SERVICES)
        for sentence in ON:
            self.assertEqual(sorted(SERVICES),
                             sorted(e["service"] for e in self.lines(xin, sentence)), sentence)
        for sentence in OFF:
            self.assertEqual([], self.lines(xin, sentence))

    def test_without_an_endpoint_nothing_is_initialised_6_7_10_11(self):
        xin = self.xin()
        self.turn(xin)
        for sentence in ON:
            self.assertEqual([], self.lines(xin, sentence))
        for sentence in OFF:
            self.assertEqual(sorted(SERVICES),
                             sorted(e["service"] for e in self.lines(xin, sentence)), sentence)
        self.assertEqual({"warning"}, {e["level"] for e in self.lines(xin, OFF[1])})

    def test_switched_off_by_the_standard_setting(self):
        receiver = self.receiver()
        for off in ({"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
            xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), **off)
            self.turn(xin)
            time.sleep(0.5)
            self.assertEqual([], receiver.requests)
            self.assertEqual([], self.lines(xin, ON[0]) + self.lines(xin, OFF[1]))
            self.assertEqual(3, len(self.lines(xin, OFF[0])))

    def test_the_standard_endpoints_come_after(self):
        receiver = self.receiver()
        base = receiver.url("")
        self.xin(OTEL_EXPORTER_OTLP_ENDPOINT=base + "/",
                 OTEL_EXPORTER_OTLP_HEADERS="x-key=v", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
        receiver.wait("probes", lambda spans: len(spans) == 3)
        _, path, headers, _ = receiver.requests[-1]
        self.assertEqual(("/v1/traces", "v", "gzip"),
                         (path, headers["x-key"], headers["Content-Encoding"]))
        self.xin(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                 OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=base + "/t")
        receiver.wait("probes", lambda spans: len(spans) == 6)
        self.assertEqual("/t", receiver.requests[-1][1])

    def test_resource_attributes_are_added_and_the_name_stays(self):
        receiver = self.receiver()
        self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), OTEL_RESOURCE_ATTRIBUTES=
                 "deployment.environment.name=te%20st,service.name=other,service.version=9")
        spans = receiver.wait("probes", lambda spans: len(spans) == 3 and spans)
        self.assertEqual(SERVICES, {s.service for s in spans})
        for span in spans:
            self.assertEqual("te st", span.resource["deployment.environment.name"])
            self.assertEqual("9", span.resource["service.version"])
            self.assertEqual("xin", span.resource["telemetry.sdk.name"])

    def test_malformed_settings_end_the_start_with_their_name(self):
        for name, value in (("OTEL_EXPORTER_ENDPOINT", "collector:4318"),
                            ("OTEL_EXPORTER_ENDPOINT", "http:///v1/traces"),
                            ("OTEL_TRACES_SAMPLER", "sometimes"),
                            ("OTEL_TRACES_SAMPLER_ARG", "2"),
                            ("OTEL_PROPAGATORS", "b3"),
                            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
                            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
                            ("OTEL_RESOURCE_ATTRIBUTES", "no pair"),
                            ("OTEL_SDK_DISABLED", "yes"),
                            ("XIN_TRACE_CONTENT", "all")):
            xin = Xin("serve")
            xin.start(**{"OTEL_EXPORTER_ENDPOINT": "http://127.0.0.1:9", name: value})
            code = xin.process.wait(20)
            failed = wait("the reason", lambda xin=xin: self.lines(xin, "process.failed"))
            self.assertEqual(1, code)
            self.assertIn(name, failed[0]["error"])
            xin.stop()


class Collector(Case):
    """What a collector may do; serving must not notice."""

    def test_down_at_start_is_one_error_line_and_recovery_one_info_13_14(self):
        port = free_port()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=f"http://127.0.0.1:{port}/v1/traces",
                       OTEL_BSP_EXPORT_TIMEOUT="700")
        wait("the error", lambda: self.lines(xin, "tracing export failing"))
        for _ in range(4):
            began = time.monotonic()
            self.assertEqual(200, self.turn(xin)[0])
            self.assertLess(time.monotonic() - began, 2)
            time.sleep(0.4)
        self.assertEqual(200, xin.ask("GET", "/health")[0])
        self.assertEqual(1, len(self.lines(xin, "tracing export failing")))
        self.assertEqual(1, sum(e["level"] == "error" for e in xin.events()))
        wait("lost spans", lambda: self.metric(xin, "xin_tracing_spans_total", outcome="lost") > 5)
        receiver = self.receiver(port=port)
        self.turn(xin)
        self.server_span(receiver)
        recovered = wait("the info", lambda: self.lines(xin, "tracing export recovered"))
        self.assertEqual("info", recovered[0]["level"])
        self.assertGreater(recovered[0]["spans_lost"], 5)
        for sentence in OFF:
            self.assertEqual([], self.lines(xin, sentence))

    def test_a_name_that_does_not_resolve_stops_nothing_14(self):
        xin = self.xin(OTEL_EXPORTER_ENDPOINT="http://collector.invalid:4318/v1/traces")
        self.assertEqual(200, self.turn(xin)[0])
        wait("the error", lambda: self.lines(xin, "tracing export failing"), 30)
        self.assertEqual(200, self.turn(xin)[0])

    def test_a_slow_one_is_given_up_and_spans_over_the_queue_are_counted(self):
        receiver = self.receiver(lambda number: time.sleep(3))
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), OTEL_EXPORTER_OTLP_TIMEOUT="400",
                       OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
        for _ in range(8):
            began = time.monotonic()
            self.assertEqual(200, self.turn(xin)[0])
            self.assertLess(time.monotonic() - began, 1.5)
        self.assertGreater(self.metric(xin, "xin_tracing_spans_total", outcome="dropped"), 10)
        wait("the error", lambda: self.lines(xin, "tracing export failing"))

    def check_retried(self, told, least, most=8):
        receiver = self.receiver(lambda number: (200, {}, b"") if number > 0 else
                                 told() if callable(told) else told)
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url())
        receiver.wait("the probes", lambda spans: len(spans) == 3, 20)
        first, second = receiver.requests[:2]
        self.assertEqual(first[3], second[3])
        self.assertGreaterEqual(second[0] - first[0], least)
        self.assertLess(second[0] - first[0], most)
        self.assertEqual([], self.lines(xin, "tracing export failing"))

    def test_429_waits_as_long_as_retry_after_says(self):
        self.check_retried((429, {"Retry-After": "2"}, b""), 2.0)

    def test_a_retry_after_may_be_a_date(self):
        self.check_retried(lambda: (503, {"Retry-After": email.utils.formatdate(
            time.time() + 4, usegmt=True)}, b""), 2.5)  # a date has whole seconds

    def test_502_503_504_are_tried_again(self):
        for status in (502, 503, 504):
            self.check_retried((status, {}, b""), 0.2)

    def test_a_connection_lost_without_answer_is_tried_again(self):
        self.check_retried(None, 0.2)

    def test_400_and_other_refusals_are_dropped_at_once(self):
        for status in (400, 404, 413, 500, 301):
            receiver = self.receiver(lambda number, status=status: (status, {}, b"no"))
            xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url())
            wait("the error", lambda xin=xin: self.lines(xin, "tracing export failing"))
            count = len(receiver.requests)
            bodies = {raw for _, _, _, raw in receiver.requests}
            self.assertEqual(count, len(bodies), "a refused batch came again")
            self.assertIn(str(status), self.lines(xin, "tracing export failing")[0]["error"])
            self.assertEqual(200, self.turn(xin)[0])

    def test_partial_success_is_not_tried_again_and_said_once(self):
        receiver = self.receiver()
        receiver.answer = lambda number: (200, {}, receiver.partial(1, "too old\n"))
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url())
        wait("probes", lambda: len(receiver.spans) >= 3)
        self.turn(xin)
        self.server_span(receiver)
        bodies = [raw for _, _, _, raw in receiver.requests]
        self.assertEqual(len(bodies), len(set(bodies)))
        said = self.lines(xin, "tracing.partly_accepted")
        self.assertEqual([(1, "too old?")], [(e["rejected_spans"], e["message"]) for e in said])
        self.assertEqual([], self.lines(xin, "tracing export failing"))

    def test_a_warning_without_rejected_spans_is_said_and_nothing_is_lost(self):
        receiver = self.receiver()
        receiver.answer = lambda number: (200, {}, receiver.partial(0, "soon full"))
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url())
        self.turn(xin)
        self.server_span(receiver)
        said = wait("the warning", lambda: self.lines(xin, "tracing.partly_accepted"))
        self.assertEqual([(0, "soon full", "warning")], [
            (e["rejected_spans"], e["message"], e["level"]) for e in said])
        for outcome in ("rejected", "lost", "dropped"):
            self.assertEqual(0, self.metric(xin, "xin_tracing_spans_total", outcome=outcome))

    def test_what_waits_is_sent_at_stop(self):
        receiver = self.receiver()
        xin = Xin("serve").start(OTEL_EXPORTER_ENDPOINT=receiver.url(),
                                 OTEL_BSP_SCHEDULE_DELAY="60000")
        receiver.wait("probes", lambda spans: len(spans) == 3)
        self.turn(xin)
        self.assertEqual(3, len(receiver.spans))
        xin.stop()
        self.assertTrue([s for s in receiver.spans if s.name == "turn"])

    def test_stop_does_not_wait_for_a_collector_that_hangs(self):
        receiver = self.receiver(lambda number: time.sleep(30))
        xin = Xin("serve").start(OTEL_EXPORTER_ENDPOINT=receiver.url(), **FAST)
        self.turn(xin)
        began = time.monotonic()
        xin.stop()
        self.assertLess(time.monotonic() - began, 12)


class Context(Case):
    ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    @classmethod
    def setUpClass(cls):
        cls.receiver_ = Receiver()
        cls.addClassCleanup(cls.receiver_.close)
        cls.server = Xin("serve").start(OTEL_EXPORTER_ENDPOINT=cls.receiver_.url(), **FAST)
        cls.addClassCleanup(cls.server.stop)

    def ask(self, **headers):
        body = json.dumps({"message": "hello", "user": {"id": "u"}}).encode()
        request = __import__("urllib.request").request.Request(
            self.server.url + "/v1/brands/default/turns", body,
            {"Content-Type": "application/json"} | headers)
        with OPENER.open(request, timeout=20) as response:
            answer = response.headers["traceparent"]
        self.assertRegex(answer, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$")
        return answer.split("-")

    def test_valid_ones_continue(self):
        for text in (f"00-{self.ID}-{self.PARENT}-01", f"00-{self.ID}-{self.PARENT}-03",
                     f"01-{self.ID}-{self.PARENT}-01-more", f"cc-{self.ID}-{self.PARENT}-09"):
            _, trace, span, flags = self.ask(traceparent=text, tracestate="a=1, b@c=2")
            self.assertEqual(self.ID, trace, text)
            found = self.receiver_.wait(
                "the span", lambda spans, span=span: [s for s in spans if s.span_id == span])[0]
            self.assertEqual((self.PARENT, "a=1,b@c=2"), (found.parent_id, found.state))
            self.assertEqual(0x300, found.flags & 0x300, "the parent is remote")
            self.assertEqual(1, int(flags, 16) & 1)

    def test_invalid_ones_restart(self):
        for text in ("", "00", f"ff-{self.ID}-{self.PARENT}-01",
                     f"00-{self.ID.upper()}-{self.PARENT}-01", f"00-{'0' * 32}-{self.PARENT}-01",
                     f"00-{self.ID}-{'0' * 16}-01", f"00-{self.ID}-{self.PARENT}-01-more",
                     f"00-{self.ID}-{self.PARENT}-0", f"00-{self.ID}-{self.PARENT}-zz",
                     f"01-{self.ID}-{self.PARENT}-01.more", f"00_{self.ID}_{self.PARENT}_01"):
            _, trace, span, flags = self.ask(traceparent=text, tracestate="a=1")
            self.assertNotEqual(self.ID, trace, text)
            found = self.receiver_.wait(
                "the span", lambda spans, span=span: [s for s in spans if s.span_id == span])[0]
            self.assertEqual(("", "", "03"), (found.parent_id, found.state, flags))

    def ask_raw(self, *lines):
        """One turn with these header lines as they are: trace and span of the answer."""
        body = json.dumps({"message": "hello", "user": {"id": "u"}}).encode()
        connection = http.client.HTTPConnection(self.server.url.removeprefix("http://"))
        connection.putrequest("POST", "/v1/brands/default/turns")
        for name, text in (("Content-Type", "application/json"),
                           ("Content-Length", str(len(body))), *lines):
            connection.putheader(name, text)
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        self.assertEqual(200, answer.status)
        return answer.headers["traceparent"].split("-")[1:3]

    def test_header_lines_as_in_w3cs_own_validation(self):
        """After w3c/trace-context, test/test.py: (lines, continued?, tracestate)."""
        parent = f"00-{self.ID}-{self.PARENT}-01"
        other = f"00-{'2' * 32}-{self.PARENT}-01"
        state = "tracestate"
        many = [f"m{i:02}=1" for i in range(33)]
        cases = [
            ([("TraceParent", parent)], True, ""), ([("TRACEPARENT", parent)], True, ""),
            ([("traceparent", f" {parent} ")], True, ""),
            ([("traceparent", f"\t{parent}\t")], True, ""),
            ([("traceparent", parent), ("traceparent", other)], False, ""),
            ([("traceparent", parent), ("traceparent", parent)], False, ""),
            ([("traceparent", f"{parent},{parent}")], False, ""),
            ([("traceparent", f"cc{parent[2:]}-what-the-future-will-be-like")], True, ""),
            ([("traceparent", f"cc{parent[2:]}.what-the-future-will-not-be-like")], False, ""),
            ([(state, "foo=1")], False, "")]
        cases += [([("traceparent", parent), *((state, text) for text in given)], True, told)
                  for given, told in (
                      (["foo=1", "bar=2"], "foo=1,bar=2"), (["foo=1,", ""], "foo=1"),
                      (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
                      (["foo=1,foo=1"], "foo=1,foo=1"), (["foo=1", "foo=2"], "foo=1,foo=2"),
                      (["foo =1"], ""), (["FOO=1"], ""), (["foo.bar=1"], ""), (["@foo=1"], ""),
                      (["foo@bar=1"], "foo@bar=1"), (["foo=bar=baz"], ""), (["foo=,bar=3"], ""),
                      ([",".join(many[:32])], ",".join(many[:32])), ([",".join(many)], ""),
                      ([",".join(many[:16]), ",".join(many[16:])], ""))]
        seen = [(*self.ask_raw(*case[0]), *case) for case in cases]
        for trace, span, lines, continued, told in seen:
            with self.subTest(lines=lines):
                found = self.receiver_.wait("the span", lambda spans, span=span: [
                    s for s in spans if s.span_id == span])[0]
                self.assertEqual(continued, trace == self.ID)
                self.assertNotEqual("2" * 32, trace)
                self.assertEqual((self.PARENT if continued else "", told),
                                 (found.parent_id, found.state))

    def test_a_bad_tracestate_leaves_traceparent_valid(self):
        _, trace, span, _ = self.ask(traceparent=f"00-{self.ID}-{self.PARENT}-01",
                                     tracestate="Upper=1")
        self.assertEqual(self.ID, trace)
        found = self.receiver_.wait("the span", lambda spans: [
            s for s in spans if s.span_id == span])[0]
        self.assertEqual("", found.state)

    def test_what_the_caller_does_not_sample_is_not_recorded_but_goes_on(self):
        other = "1" * 32
        _, trace, _, flags = self.ask(traceparent=f"00-{other}-{self.PARENT}-00")
        self.assertEqual((other, "00"), (trace, flags))
        _, _, span, _ = self.ask()
        self.receiver_.wait("a later one", lambda spans: [s for s in spans if s.span_id == span])
        self.assertEqual([], self.receiver_.trace(other))

    def test_log_lines_and_spans_join_by_every_id_16_104(self):
        _, trace, span, _ = self.ask(**{"X-Request-ID": "join-1"})
        self.receiver_.wait("the span", lambda spans: [s for s in spans if s.span_id == span])
        time.sleep(0.5)
        spans = self.receiver_.trace(trace)
        self.assertEqual({"join-1"}, {s.attributes["xin.correlation_id"] for s in spans})
        lines = [e for e in self.server.events() if e.get("correlation_id") == "join-1"]
        self.assertEqual({trace}, {e["trace_id"] for e in lines})
        ids = {s.span_id for s in spans}
        self.assertTrue(lines and all(e["span_id"] in ids for e in lines), lines)

    def test_probes_and_scrapes_leave_no_spans(self):
        for path in ("/health", "/health/live", "/metrics"):
            with OPENER.open(self.server.url + path, timeout=10) as response:
                response.read()
        _, _, span, _ = self.ask()
        self.receiver_.wait("a later one", lambda spans: [s for s in spans if s.span_id == span])
        self.assertEqual([], [s for s in self.receiver_.spans
                              if "/health" in s.name or "metrics" in s.name or s.name == "ping"])

    def test_5xx_is_an_error_and_4xx_is_not(self):
        self.server.ask("GET", "/v1/brands/default/knowledge/kn_00000000000000000000000000")
        found = self.server_span(self.receiver_, "GET /v1/brands/{brand_id}/knowledge/{id}")
        self.assertEqual((404, 0), (found.attributes["http.response.status_code"], found.status))


class Sampler(Case):
    def test_off_records_nothing_but_the_probes(self):
        receiver = self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), OTEL_TRACES_SAMPLER="always_off")
        receiver.wait("probes", lambda spans: len(spans) == 3)
        self.turn(xin, headers={"traceparent": f"00-{Context.ID}-{Context.PARENT}-01"})
        time.sleep(0.5)
        self.assertEqual(3, len(receiver.spans))

    def test_a_share_of_new_traces(self):
        receiver = self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(),
                       OTEL_TRACES_SAMPLER="parentbased_traceidratio",
                       OTEL_TRACES_SAMPLER_ARG="0.25")
        for _ in range(120):
            xin.ask("GET", "/v1/brands")
        time.sleep(0.6)
        roots = [s for s in receiver.spans if s.name == "GET /v1/brands"]
        self.assertTrue(8 <= len(roots) <= 60, len(roots))
        self.turn(xin, headers={"traceparent": f"00-{'f' * 32}-{Context.PARENT}-01"})
        self.server_span(receiver)


class Peer:
    """A service that notes the headers it is asked with."""

    def __init__(self, reply):
        self.seen = []
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                peer.seen.append({k.lower(): v for k, v in self.headers.items()})
                body = json.dumps(reply(self.path, json.loads(raw))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Onward(Case):
    COMES = {"traceparent": f"00-{Context.ID}-{Context.PARENT}-01", "tracestate": "a=1",
             "baggage": "tenant=x%20y;p=1, bad member ,who=me"}

    def peer(self, reply):
        peer = Peer(reply)
        self.addCleanup(peer.close)
        return peer

    def test_the_gateway_tells_the_orchestrator_all_of_it(self):
        peer = self.peer(lambda path, body: {"id": "tn_1", "conversation_id": "cv_1",
                                             "reply": "hi", "citations": []})
        receiver = self.receiver()
        gateway = self.xin("gateway", OTEL_EXPORTER_ENDPOINT=receiver.url(),
                           XIN_ORCHESTRATOR_URL=peer.url, GATEWAY_WEBHOOK_SECRET="s")
        raw = json.dumps({"brand": "default", "message_id": "1", "text": "hi",
                          "user": {"id": "u"}}).encode()
        import hashlib
        import hmac
        signed = "sha256=" + hmac.new(b"s", raw, hashlib.sha256).hexdigest()
        gateway.ask("POST", "/webchat/webhook", raw, self.COMES | {
            "Content-Type": "application/json", "X-Signature": signed})
        seen = wait("the question", lambda: peer.seen)[0]
        self.assertEqual("a=1", seen["tracestate"])
        self.assertEqual("tenant=x%20y;p=1,who=me", seen["baggage"])
        client = receiver.wait("the call", lambda spans: [s for s in spans if s.kind == CLIENT])[0]
        self.assertEqual(f"00-{Context.ID}-{client.span_id}-01", seen["traceparent"])
        self.assertEqual(200, client.attributes["http.response.status_code"])

    def test_a_model_is_told_the_parent_and_no_baggage(self):
        def reply(path, body):
            return {"id": "c", "model": "m-1", "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "30 days [1]"},
                 "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}

        peer, receiver = self.peer(reply), self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), XIN_MODEL_URL=peer.url + "/v1",
                       XIN_MODEL_NAME="m", XIN_MODEL_KEY="model-secret-7")
        status, source = xin.upload("default", "r.md", "# Returns\n\nA jacket: 30 days.\n")
        wait("ready", lambda: xin.ask(
            "GET", f"/v1/brands/default/knowledge/{source['id']}")[1]["status"] == "ready")
        peer.seen.clear()
        self.turn(xin, "How many days for a jacket?", self.COMES)
        seen = wait("the question", lambda: peer.seen)[0]
        self.assertEqual(Context.ID, seen["traceparent"].split("-")[1])
        self.assertFalse({"baggage", "tracestate"} & set(seen))
        chat = receiver.wait("the chat span", lambda spans: [
            s for s in spans if s.name == "chat m" and s.trace_id == Context.ID])[0]
        self.assertEqual(CLIENT, chat.kind)
        attributes = chat.attributes
        self.assertEqual(("chat", "openai", "m", ["stop"], 11, 3), tuple(
            attributes[f"gen_ai.{name}"] for name in (
                "operation.name", "provider.name", "request.model",
                "response.finish_reasons", "usage.input_tokens", "usage.output_tokens")))
        everything = b"".join(raw for _, _, _, raw in receiver.requests)
        for secret in (b"model-secret-7", b"jacket", b"30 days"):
            self.assertNotIn(secret, everything)


class Content(Case):
    TEXT = "My zebra ate card 4711 in Zürich"

    def spans_of(self, **settings):
        receiver = self.receiver()
        xin = self.xin(OTEL_EXPORTER_ENDPOINT=receiver.url(), **settings)
        self.turn(xin, self.TEXT)
        self.server_span(receiver)
        time.sleep(0.4)
        return receiver, [s for s in receiver.spans if s.name == "turn"][0]

    def test_no_text_of_users_is_in_spans(self):
        receiver, turn = self.spans_of()
        everything = b"".join(raw for _, _, _, raw in receiver.requests)
        for word in (b"zebra", b"4711", "Zürich".encode()):
            self.assertNotIn(word, everything)
        self.assertFalse([k for k in turn.attributes if k.startswith("xin.content.")])

    def test_masked_when_asked_for(self):
        receiver, turn = self.spans_of(XIN_TRACE_CONTENT="masked")
        self.assertEqual("M* z**** a** c*** **** i* Z*****", turn.attributes["xin.content.message"])
        self.assertNotIn(b"zebra", b"".join(raw for _, _, _, raw in receiver.requests))

    def test_verdicts_and_generation_are_on_the_turn(self):
        _, turn = self.spans_of()
        verdicts = [a for name, a in turn.events if name == "guard.verdict"]
        self.assertTrue(verdicts)
        for verdict in verdicts:
            self.assertIn(verdict["xin.guard.action"], ("allow", "rewrite", "block"))
            self.assertIn(verdict["xin.guard.stage"], ("input", "output"))
        self.assertRegex(turn.attributes["xin.script.generation"], r"^[0-9a-f]{6,}$")


class Lua(Case):
    def test_scripts_reach_the_entry_point_1(self):
        receiver = self.receiver()
        xin = Xin("serve")
        (xin.home / "lua" / "brands" / "teller.lua").write_text("""
local telemetry = require("chatbot.core.telemetry")
local M = { api = 1, name = "teller", title = "T", languages = { "en" }, channels = { "webchat" },
  guardrails = {}, pipeline = "standard", fallback = "f", no_answer = "n", blocked = "b" }
function M.route(turn)
  local state = telemetry.init_tracing()
  return { route = "reply", reply = tostring(state.active) .. " " .. state.endpoint }
end
return M
""")
        xin.start(OTEL_EXPORTER_ENDPOINT=receiver.url() + "?key=hidden", **FAST)
        self.addCleanup(xin.stop)
        status, turn = xin.ask("POST", "/v1/brands/teller/turns",
                               {"message": "hi", "user": {"id": "u"}})
        self.assertEqual((200, "true " + receiver.url()), (status, turn.get("reply")), turn)


def check_joined(test, spans, wanted):
    """One trace with a single root; every parent is there."""
    ids = {s.span_id: s for s in spans}
    roots = [s for s in spans if s.parent_id == ""]
    test.assertEqual(1, len(roots), spans)
    for span in spans:
        if span.parent_id:
            parent = ids[span.parent_id]
            test.assertGreater(span.flags & 0x100, 0)
            test.assertEqual(span.service != parent.service, bool(span.flags & 0x200), span)
    test.assertEqual(wanted, {s.service for s in spans})
    return roots[0]


class Table(unittest.TestCase):
    """What holds real spans against the table can find fault."""
    GOOD = {"http.request.method": "POST", "url.path": "/x", "url.scheme": "http",
            "http.route": "/x", "http.response.status_code": 200, "xin.correlation_id": "c"}

    def faults(self, name="POST /x", failed=False, events=(), **more):
        attributes = {k: v for k, v in (self.GOOD | more).items() if v is not None}
        return list(semconv.faults(name, SERVER, failed, attributes, events))

    def test_a_good_span_has_none_and_every_fault_is_named(self):
        self.assertEqual([], self.faults())
        for wrong in ({"name": "POST /y"}, {"failed": True}, {"http.route": None},
                      {"xin.correlation_id": None}, {"http.status_code": 200},
                      {"http.response.status_code": "200"}, {"url.path": "/x?text=mine"},
                      {"events": [("other", {})]}, {"events": [("exception", {})]}):
            self.assertEqual(1, len(self.faults(**wrong)), wrong)


class ThreeProcesses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.receiver = Receiver()
        cls.addClassCleanup(cls.receiver.close)
        try:
            cls.cluster = Cluster(OTEL_EXPORTER_ENDPOINT=cls.receiver.url(), **FAST)
        except Missing as missing_server:
            raise unittest.SkipTest(str(missing_server)) from None
        cls.addClassCleanup(cls.cluster.close)
        cls.orchestrator = cls.cluster.role("orchestrator")
        cls.worker = cls.cluster.role("worker")
        cls.gateway = cls.cluster.role("gateway", XIN_ORCHESTRATOR_URL=cls.orchestrator.url)

    def joined(self, services, last):
        """The spans of the trace that has a span named `last`, once all are there."""
        def whole(spans):
            for span in spans:
                if span.name == last:
                    trace = [s for s in spans if s.trace_id == span.trace_id]
                    ids = {s.span_id for s in trace}
                    if all(s.parent_id in ids or not s.parent_id for s in trace) and \
                            {s.service for s in trace} == services:
                        return trace
            return None
        return self.receiver.wait("a joined trace", whole, 30)

    def test_1_upload_to_ready_is_one_trace(self):
        source = self.orchestrator.ready("default", "r.md",
                                         "# Returns\n\nA jacket can come back for 30 days.\n")
        spans = self.joined({"xin-orchestrator", "xin-ingestion-worker"}, "process arq:queue")
        root = check_joined(self, spans, {"xin-orchestrator", "xin-ingestion-worker"})
        self.assertEqual("POST /v1/brands/{brand_id}/knowledge", root.name)
        send = [s for s in spans if s.kind == PRODUCER][0]
        process = [s for s in spans if s.kind == CONSUMER][0]
        self.assertEqual((send.span_id, [(send.trace_id, send.span_id)]),
                         (process.parent_id, process.links))
        self.assertEqual("ready", process.attributes["xin.outcome"])
        self.assertEqual(source["id"], process.attributes["xin.source.id"])
        steps = [s.name for s in spans if s.name.startswith("step ")]
        for step in ("extract", "clean", "chunk", "guard", "index"):
            self.assertIn("step " + step, steps)
        systems = {s.attributes.get("db.system.name") for s in spans}
        self.assertLessEqual({"postgresql", "redis", "qdrant"}, systems)

    def test_2_webhook_to_reply_is_one_trace(self):
        status, answer = self.gateway.webhook({
            "brand": "default", "message_id": "m1", "user": {"id": "u"},
            "text": "For how many days can a jacket come back?"})
        self.assertEqual(200, status, answer)
        services = {"xin-channel-gateway", "xin-orchestrator"}
        spans = self.joined(services, "POST /webchat/webhook")
        root = check_joined(self, spans, services)
        self.assertEqual("POST /webchat/webhook", root.name)
        names = {s.name for s in spans}
        self.assertLessEqual({"turn", "retrieval chunks", "chat extractive", "turn.add",
                              "query xin_chunks"}, names)
        self.assertEqual(1, len({s.attributes["xin.correlation_id"] for s in spans}))


class RealCollector(unittest.TestCase):
    """The same two traces, taken by an OpenTelemetry collector."""

    @classmethod
    def setUpClass(cls):
        try:
            cls.cluster = Cluster(OTEL_EXPORTER_OTLP_COMPRESSION="gzip", **FAST)
            cls.addClassCleanup(cls.cluster.close)
            cls.collector = otel_collector.Collector(cls.cluster.folder)
        except Missing as missing_server:
            raise unittest.SkipTest(str(missing_server)) from None
        cls.cluster.children.append(cls.collector)
        cls.cluster.settings["OTEL_EXPORTER_ENDPOINT"] = cls.collector.url
        cls.orchestrator = cls.cluster.role("orchestrator")
        cls.worker = cls.cluster.role("worker")
        cls.gateway = cls.cluster.role("gateway", XIN_ORCHESTRATOR_URL=cls.orchestrator.url)

    def joined(self, name, services):
        def whole():
            spans = self.collector.spans()
            for _, span in spans:
                if span["name"] != name:
                    continue
                trace = [(n, s) for n, s in spans if s["traceId"] == span["traceId"]]
                ids = {s["spanId"] for _, s in trace}
                if {n for n, _ in trace} == services and all(
                        s.get("parentSpanId", "") in ids | {""} for _, s in trace):
                    return trace
            return None
        return wait("a joined trace in the collector's file", whole, 30)

    def test_1_it_takes_one_trace_for_each(self):
        self.orchestrator.ready("default", "r.md", "# Returns\n\nA jacket: 30 days.\n")
        upload = self.joined("process arq:queue", {"xin-orchestrator", "xin-ingestion-worker"})
        self.assertEqual(1, sum(not s.get("parentSpanId") for _, s in upload))
        self.gateway.webhook({"brand": "default", "message_id": "m1", "user": {"id": "u"},
                              "text": "How many days for a jacket?"})
        turn = self.joined("POST /webchat/webhook", {"xin-channel-gateway", "xin-orchestrator"})
        self.assertEqual(1, sum(not s.get("parentSpanId") for _, s in turn))

    def test_1b_every_attribute_is_of_the_table_and_every_kind_has_its_own(self):
        for batch in self.collector.batches():
            resource = otel_collector.attributes(batch["resource"])
            self.assertEqual(semconv.RESOURCE, set(resource))
            self.assertEqual(semconv.SCHEMA, batch["schemaUrl"])
        seen, kinds, wrong = set(), set(), set()
        for service, span in self.collector.spans():
            attributes = otel_collector.attributes(span)
            events = [(e["name"], otel_collector.attributes(e)) for e in span.get("events", [])]
            failed = span.get("status", {}).get("code") == 2
            for fault in semconv.faults(span["name"], span["kind"], failed, attributes, events):
                wrong.add(f"{service}, {span['name']}: {fault}")
            seen |= set(attributes).union(*(e for _, e in events))
            kinds.add(span["kind"])
        self.assertEqual([], sorted(wrong))
        self.assertEqual({INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER}, kinds)
        self.assertLessEqual({"db.system.name", "gen_ai.operation.name", "messaging.system",
                              "xin.guard.action", "xin.script.generation"}, seen)
        text = self.collector.file.read_text()
        for word in ("jacket", "30 days", "How many"):
            self.assertNotIn(word, text)

    def test_1c_the_table_is_of_the_pinned_conventions(self):
        known = semconv.known_names()
        if known is None:
            self.skipTest(f"no {semconv.PACKAGE} here: pip cannot fetch it")
        ours = {name for name in semconv.TABLE if not name.startswith("xin.")}
        self.assertEqual(set(), ours - known)
        self.assertEqual(set(), semconv.RESOURCE - known)
        self.assertGreater(len(known), 500)

    def test_2_its_end_and_return_are_one_line_each(self):
        self.collector.kill()
        for number in range(3):
            self.gateway.webhook({"brand": "default", "message_id": f"d{number}",
                                  "user": {"id": "u"}, "text": "hello"})
        failing = "tracing export failing"
        wait("the line", lambda: Case.lines(self.gateway, failing))
        self.collector.start()
        wait("recovery", lambda: Case.lines(self.gateway, "tracing export recovered"), 45)
        self.assertEqual(1, len(Case.lines(self.gateway, failing)))


if __name__ == "__main__":
    try:
        otlp_receiver.load_proto()
    except otlp_receiver.Missing as missing:
        print(f"skipped: {missing}")
        sys.exit(77)
    wide = (ThreeProcesses, RealCollector)
    if "--cluster" in sys.argv:
        sys.argv.remove("--cluster")
        tests = wide
    else:
        tests = (Endpoint, Collector, Context, Sampler, Onward, Content, Lua, Table)
    if len(sys.argv) > 1:
        tests = tuple(t for t in tests + wide if re.search(sys.argv[1], t.__name__))
    suite = unittest.TestSuite()
    for case in tests:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)
