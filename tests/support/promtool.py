# SPDX-License-Identifier: Apache-2.0
"""What reads metrics beside us: promtool (package prometheus) and the Python
client's parsers, in a venv under build-tools. None = cannot be had here."""
import pathlib
import shutil
import subprocess
import sys

from xin_process import OPENER, ROOT

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PARSE = """
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for family in parse(sys.stdin.read()):
    for sample in family.samples:
        trace = sample.exemplar.labels["trace_id"] if sample.exemplar else ""
        print(family.type, sample.name, trace)
"""


def scrape(url, accept="text/plain"):
    """The text and its content type."""
    import urllib.request
    request = urllib.request.Request(url + "/metrics", headers={"Accept": accept})
    with OPENER.open(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def promtool(*words, stdin=None):
    """Exit status and everything said, or None."""
    program = shutil.which("promtool")
    if not program:
        return None
    done = subprocess.run([program, *words], input=stdin, capture_output=True, text=True,
                          timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def client_python():
    """An interpreter that has prometheus_client, or None."""
    python = ROOT / "build-tools" / "prometheus-venv" / "bin" / "python"
    has = [str(python), "-c", "import prometheus_client"]
    if python.exists() and subprocess.run(has, capture_output=True, check=False).returncode == 0:
        return str(python)
    folder = pathlib.Path(python).parents[1]
    folder.parent.mkdir(exist_ok=True)
    for step in ([sys.executable, "-m", "venv", str(folder)],
                 [str(python), "-m", "pip", "install", "-q", "prometheus_client==0.22.1"]):
        if subprocess.run(step, capture_output=True, timeout=300, check=False).returncode != 0:
            return None
    return str(python)


def openmetrics(python, text):
    """[(type, sample, trace id or "")] as the client's parser reads it."""
    done = subprocess.run([python, "-c", PARSE], input=text, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    return [(line.split(" ") + [""])[:3] for line in done.stdout.splitlines()]
