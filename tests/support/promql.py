# SPDX-License-Identifier: Apache-2.0
"""Just enough of PromQL and of the expositions to say which names and labels an
expression takes for granted."""
import re

from xin_process import ROOT

SCRAPE = {"job", "instance", "service"}  # given by the scrape configuration
WORDS = set("sum min max avg count by without on ignoring group_left and or unless rate increase "
            "max_over_time absent histogram_quantile label_values bool".split())


def table():
    """Labels by metric, from src/base/metrics.def."""
    text = (ROOT / "src/base/metrics.def").read_text()
    found = {}
    for kind, name, labels in re.findall(
            r'METRIC\(\w+,\s*(\w+),\s*"(\w+)",\s*"([\w,]*)"', text):
        found[name] = set(filter(None, labels.split(",")))
        if "HISTOGRAM" in kind:
            for end in ("_bucket", "_sum", "_count"):
                found[name + end] = found[name] | ({"le"} if end == "_bucket" else set())
    return found


def exposed(text):
    """Labels by sample name, of an exposition."""
    found = {}
    for line in text.splitlines():
        sample = re.match(r"([a-zA-Z_:][\w:]*)(\{.*\})? ", line)
        if sample and not line.startswith("#"):
            labels = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', sample[2] or "")
            found.setdefault(sample[1], set()).update(labels)
    return found


def uses(expr):
    """({metric: labels of its matchers}, labels that it groups by)."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    groups = set()
    for words in re.findall(r"\bby\s*\(([^)]*)\)", bare):
        groups |= set(filter(None, re.split(r"[\s,]+", words)))
    bare = re.sub(r"\bby\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    found = {}
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?", bare):
        if name not in WORDS:
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", matchers))
    return found, groups
