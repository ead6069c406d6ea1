#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules and alerts by promtool: they parse, every one fires and falls silent,
and leads to its page. Exit status 77: promtool cannot be had here."""
import pathlib
import re
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import alert_cases  # noqa: E402
from promtool import promtool  # noqa: E402
from xin_process import ROOT  # noqa: E402

FOLDER = ROOT / "deploy" / "prometheus"
TEXT = (FOLDER / "alerts.yml").read_text()
NAMES = re.findall(r"- alert: (\w+)", TEXT)


class Rules(unittest.TestCase):
    def test_promtool_accepts_rules_and_configuration(self):
        for words in (("check", "rules", FOLDER / "rules.yml", FOLDER / "alerts.yml"),
                      ("check", "config", FOLDER / "prometheus.yml")):
            code, said = promtool(*map(str, words))
            self.assertEqual(0, code, said)

    def test_every_alert_fires_and_falls_silent_33(self):
        self.assertEqual(sorted(NAMES), sorted(alert_cases.CASES))
        path = FOLDER / "tests" / "alerts.yml"
        self.assertEqual(alert_cases.written(), path.read_text())
        code, said = promtool("test", "rules", str(path))
        self.assertEqual(0, code, said)

    def test_every_alert_has_severity_summary_and_its_page_106(self):
        for name, block in zip(NAMES, re.split(r"- alert: ", TEXT)[1:]):
            for key in ("severity:", "summary:", "description:", "runbook_url:"):
                self.assertIn(key, block, name)
            self.assertIn(f"docs/alerts/{name}.md", block)
            page = (ROOT / "docs" / "alerts" / f"{name}.md").read_text()
            for part in ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation"):
                self.assertIn(part, page, name)

    def test_pages_and_alerts_come_from_one_table(self):
        done = subprocess.run([str(ROOT / "scripts" / "alerts_make"), "--check"], check=False,
                              capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stderr)


if __name__ == "__main__":
    if promtool("--version") is None:
        print("no promtool here: install the package prometheus")
        sys.exit(77)
    unittest.main(verbosity=2)
