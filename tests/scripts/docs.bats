#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The runbook against the repository: what it names is there.

load helper

setup() { cd "$ROOT" || exit 1; }

look() { /usr/bin/python3 -c 'import pathlib, re, subprocess
book = pathlib.Path("docs/runbook.md").read_text()
exec(__import__("sys").argv[1])' "$@"; }

@test "107: targets, files, settings and commands that the runbook names exist" {
	look '
makefile = pathlib.Path("Makefile").read_text()
for target in set(re.findall(r"`(?:\w+=\S+ )*make ([a-z][a-z0-9-]*)", book)):
    assert re.search(r"^%s:" % target, makefile, re.M), "make " + target
for path in set(re.findall(r"(?<![\w/.:-])((?:scripts|deploy|docs|tests|\.github|lua)/[\w./-]*\w)", book)):
    assert pathlib.Path(path).exists() or pathlib.Path("docs", path).exists(), path
for path in re.findall(r"\]\((?!http)([^)#]+)", book):
    assert pathlib.Path("docs", path).exists(), path
known = "".join(pathlib.Path(p).read_text() for p in subprocess.run(
    ["git", "ls-files", "src/base/*.def", "src/base/*.c", "src/store", "scripts", ".github", "deploy/helm", "tests/load", "src/main"],
    capture_output=True, text=True).stdout.split() if not p.endswith((".png", ".lua", ".json")))
for name in set(re.findall(r"`\$?((?:XIN|STORAGE|INGEST|INGESTION|GATEWAY|OTEL|METRICS|CHECK|SCRIPTS|INGRESS|LOCUST|QDRANT|ORCHESTRATOR)_[A-Z_]*[A-Z])\b", book)):
    assert name in known, name
main = pathlib.Path("src/main/main.c").read_text()
for command in set(re.findall(r"`xin ([a-z]+)", book)):
    assert "\"%s\"" % command in main or command == "help", "xin " + command'
}

@test "107: the runbook has the headings of the operators' own" {
	for heading in "## Observability Setup" "## Knowledge Upload Checklist" "### Telemetry validation checklist" \
		"### Troubleshooting Telemetry" "## Test Strategy" "### Common Test Failures" "### Load Test Issues" \
		"## Incident Response Checklist" "## Secret Management" "### Installing External Secrets Operator (ESO)" \
		"## Deployment Preflight Checks" "## Post-deploy Smoke Tests" \
		"### Smoke test script: sample output & troubleshooting"; do
		grep -qxF "$heading" docs/runbook.md || { echo "$heading"; return 1; }
	done
}

@test "142, 143, 144: the runbook's commands are those that the suites run" {
	grep -qF "bash scripts/preflight_check.sh xin-staging xin-platform deploy/helm/xin-platform/values-staging.yaml" docs/runbook.md
	grep -qF "bash scripts/preflight_check.sh xin-prod xin-platform deploy/helm/xin-platform/values-production.yaml" docs/runbook.md
	grep -qF "bash scripts/smoke_test.sh staging" docs/runbook.md
}

@test "152: the runbook's sample is the golden one" {
	look '
sample = pathlib.Path("tests/scripts/golden/sample.txt").read_text()
assert "```\n" + sample + "```" in book'
}

@test "161: every failure of the smoke test has its entry" {
	look '
part = book[book.index("### Smoke test script"):]
part = part[part.index("Troubleshooting"):]
for words in ("permission denied", "timed out waiting for rollout", "No deployments/services found",
              "/metrics but /health works", "image cannot be pulled", "Ingestion POST returns 4xx/5xx",
              "Ingestion verify timed out"):
    assert words in part, words'
}

@test "80: what is said about servers that are missing" {
	look '
part = book[book.index("### Common Test Failures"):]
part = part[:part.index("\n## ")]
for words in ("Integration tests hang", "skipped by name", "No container engine"):
    assert words in part, words'
}
