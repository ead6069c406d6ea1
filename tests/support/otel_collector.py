# SPDX-License-Identifier: Apache-2.0
"""An OpenTelemetry collector, built by its own builder, that takes OTLP over
HTTP and writes what it took into a file. Missing: it cannot be had here."""
import json
import pathlib
import subprocess

from cluster import Child, Missing, free_port

HERE = pathlib.Path(__file__).resolve().parent


class Collector(Child):
    """Needs its port before the roles start: make it first."""

    def __init__(self, folder):
        found = subprocess.run([str(HERE / "otel_collector_get")], capture_output=True,
                               text=True, check=False)
        if found.returncode != 0:
            raise Missing("no OpenTelemetry collector here: it is built with Go")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        self.file = folder / "traces.json"
        config = folder / "otelcol.yaml"
        config.write_text(f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{self.file}", flush_interval: 100ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
""")
        super().__init__("otelcol", [found.stdout.strip(), "--config", str(config)], port, folder)

    def batches(self):
        """Every ResourceSpans in the file, in OTLP's JSON."""
        text = self.file.read_text() if self.file.exists() else ""
        for line in text.splitlines():
            try:
                batch = json.loads(line)
            except ValueError:
                continue  # is being written
            yield from batch["resourceSpans"]

    def spans(self):
        """[(service.name, span)] of all."""
        return [(attributes(rs["resource"])["service.name"], span) for rs in self.batches()
                for ss in rs["scopeSpans"] for span in ss["spans"]]


def value(said):
    """Of OTLP's JSON AnyValue; 64-bit integers are strings there."""
    (kind, what), = said.items()
    if kind == "arrayValue":
        return [value(v) for v in what.get("values", [])]
    return int(what) if kind == "intValue" else what


def attributes(holder):
    return {a["key"]: value(a["value"]) for a in holder.get("attributes", [])}
