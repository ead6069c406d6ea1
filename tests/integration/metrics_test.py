#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The expositions of a running `xin serve`, read by promtool and by the Python
client's OpenMetrics parser, each skipped by name where it cannot be had."""
import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import promtool as tools  # noqa: E402
from xin_process import Xin  # noqa: E402


def exporters(xin):
    """Port by service, of all that listen."""
    found = {}
    for event in xin.events():
        if event.get("event") == "http.listening":
            found.setdefault(event["for"], []).append(f"http://127.0.0.1:{event['port']}")
    return found


class Expositions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.xin = Xin(XIN_VITALS_MS="200").start()
        cls.addClassCleanup(cls.xin.stop)
        cls.xin.upload("default", "returns.md", "# Returns\n\nWithin 30 days of delivery.\n")
        for _ in range(3):
            cls.xin.ask("POST", "/v1/brands/default/turns",
                        {"message": "returns?", "user": {"id": "u"}},
                        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        cls.xin.ask("GET", "/v1/brands/nobody/knowledge")
        cls.urls = [url for urls in exporters(cls.xin).values() for url in urls]

    def test_there_are_four(self):
        self.assertEqual(4, len(self.urls), self.urls)

    def test_promtool_finds_nothing_to_say_30(self):
        if tools.promtool("--version") is None:
            self.skipTest("no promtool here: install the package prometheus")
        for url in self.urls:
            text, kind = tools.scrape(url)
            self.assertIn("text/plain; version=0.0.4", kind)
            self.assertEqual((0, ""), tools.promtool("check", "metrics", stdin=text), url)

    def test_openmetrics_is_what_its_parser_expects(self):
        python = tools.client_python()
        if python is None:
            self.skipTest("no prometheus_client here: pip cannot fetch it")
        traces = set()
        for url in self.urls:
            text, kind = tools.scrape(url, tools.OPENMETRICS)
            self.assertIn("application/openmetrics-text; version=1.0.0", kind)
            self.assertTrue(text.endswith("\n# EOF\n"))
            samples = tools.openmetrics(python, text)
            self.assertIn("http_requests_total", {name for _, name, _ in samples}, url)
            traces |= {trace for _, _, trace in samples if trace}
        self.assertIn("0af7651916cd43dd8448eb211c80319c", traces)

    def test_dependencies_sources_and_the_process_are_there(self):
        text, _ = tools.scrape(self.xin.url)
        for name in ("store", "queue", "objects", "search", "model"):
            self.assertIn(f'xin_dependency_up{{name="{name}"}} 1\n', text)
        for name in ("process_open_fds", "process_start_time_seconds", "process_cpu_seconds_total",
                     "xin_loops", "xin_fibers", "xin_queue_unread", "xin_sources_still_seconds",
                     'xin_sources{status="ready"}', 'xin_queue_depth{state="waiting"}',
                     'xin_tracing_spans_total{outcome="dropped"}', "xin_script_heap_bytes",
                     'xin_script_reloads_total{result="rejected"} 0\n'):
            self.assertIn(name, text)
        self.assertEqual(1, len(re.findall(r"^xin_script_generation_info\{", text, re.M)))

    def test_the_5xx_counter_is_there_before_the_first_one(self):
        for url in self.urls:
            self.assertRegex(tools.scrape(url)[0], r'http_requests_total\{.*status_code="5xx"\} 0')


class SwitchedOff(unittest.TestCase):
    def test_every_exporter_says_why_it_has_nothing(self):
        xin = Xin(XIN_METRICS="off").start()
        self.addCleanup(xin.stop)
        urls = [url for urls in exporters(xin).values() for url in urls]
        self.assertEqual(4, len(urls))
        for xin.url in urls:
            status, body = xin.ask("GET", "/metrics")
            self.assertEqual(404, status)
            self.assertIn("XIN_METRICS=off", str(body))

    def test_a_wrong_word_ends_the_start(self):
        xin = Xin(XIN_METRICS="no").start()
        self.addCleanup(xin.stop)
        self.assertIn("known are on, off", xin.last_words())


if __name__ == "__main__":
    unittest.main(verbosity=2)
