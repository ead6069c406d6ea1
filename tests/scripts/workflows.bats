#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# .github: what the workflows may, and in which order they do it. Their form is
# looked at by scripts/lint (actionlint, yamllint).

load helper

setup() { cd "$ROOT" || exit 1; }

# Python over all workflows: `flows` by name, `action` (deploy), `texts`.
look() {
	/usr/bin/python3 - "$@" <<-'PY'
		import pathlib, re, sys, yaml
		paths = sorted(pathlib.Path(".github").rglob("*.yml"))
		texts = {p: p.read_text() for p in paths}
		flows = {p.stem: yaml.safe_load(t) for p, t in texts.items() if p.parent.name == "workflows"}
		action = yaml.safe_load(pathlib.Path(".github/actions/deploy/action.yml").read_text())
		def steps():
		    for name, flow in flows.items():
		        for job in flow["jobs"].values():
		            yield from ((name, s) for s in job["steps"])
		    yield from (("deploy", s) for s in action["runs"]["steps"])
		exec(sys.argv[1])
	PY
}

@test "126: the secrets are the kubeconfigs and the registry's, and each stays where it is needed" {
	look '
used = {n: set(re.findall(r"secrets\.(\w+)", t)) for n, t in ((p.stem, t) for p, t in texts.items())}
registry = {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"}
assert used["cd"] == {"KUBE_CONFIG_STAGING", "KUBE_CONFIG_PRODUCTION"} | registry, used
assert used["release"] == registry and used["ci"] == set() == used["action"], used
assert not any("secrets: inherit" in t for t in texts.values())
jobs = flows["cd"]["jobs"]
for name in ("staging", "production"):
    assert jobs[name]["environment"] == name
    given = str(jobs[name])
    assert ("KUBE_CONFIG_" + name.upper()) in given
assert "KUBE_CONFIG_PRODUCTION" not in str(jobs["staging"])
assert "KUBE_CONFIG_STAGING" not in str(jobs["production"])'
}

@test "126: no permission but what a job says it needs" {
	look '
allowed = {("release", "image"): {"contents": "read", "id-token": "write", "attestations": "write"},
           ("release", "publish"): {"contents": "write"}}
for name, flow in flows.items():
    assert flow["permissions"] == {"contents": "read"}, name
    for job, spec in flow["jobs"].items():
        assert spec.get("permissions") == allowed.get((name, job)), (name, job)
        assert spec["timeout-minutes"] <= 120
    assert "pull_request_target" not in flow[True]
for name, step in steps():
    if "checkout@" in step.get("uses", ""):
        assert step["with"]["persist-credentials"] is False, name'
}

@test "126: actions are pinned by commit, and nothing is pasted into a shell" {
	look '
for name, step in steps():
    uses = step.get("uses")
    assert uses is None or uses.startswith("./") or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", uses), uses
    run = step.get("run", "")
    assert "${{" not in run or run == "make ${{ matrix.target }}", run
for p, text in texts.items():
    for line in text.splitlines():
        assert "@" not in line or "uses:" not in line or re.search(r"@[0-9a-f]{40} # v\d", line), line'
}

@test "159: preflight, upgrade, smoke, in that order, for staging and then production" {
	look '
order = [s["run"] for s in action["runs"]["steps"]]
def at(words):
    found = [i for i, run in enumerate(order) if words in run]
    assert len(found) == 1, (words, found)
    return found[0]
assert at("scripts/preflight_check.sh") < at("helm upgrade --install") < at("scripts/smoke_test.sh")
assert "xin doctor" in order[at("xin doctor")]
assert action["runs"]["steps"][-1]["if"] == "always()"
jobs = flows["cd"]["jobs"]
assert jobs["production"]["needs"] == "staging"
for name, namespace in (("staging", "xin-staging"), ("production", "xin-prod")):
    deploy = jobs[name]["steps"][-1]
    assert deploy["uses"] == "./.github/actions/deploy"
    assert deploy["with"]["environment"] == name and deploy["with"]["namespace"] == namespace
    assert {"INGESTION_URL", "INGESTION_VERIFY_URL", "INGRESS_HOST", "SCRIPTS_HASH"} == set(deploy["env"])'
}

@test "159: the shell of the deploy action is sound, and its files are private" {
	command -v shellcheck >/dev/null || skip "shellcheck cannot be had"
	look '
for i, step in enumerate(action["runs"]["steps"]):
    open(sys.argv[2] + "/%d.sh" % i, "w").write("#!/bin/bash\nset -euo pipefail\n" + step["run"])' "$BATS_TEST_TMPDIR"
	shellcheck "$BATS_TEST_TMPDIR"/*.sh
	RUNNER_TEMP=$BATS_TEST_TMPDIR GITHUB_ENV=$BATS_TEST_TMPDIR/env KUBE_CONFIG_TEXT='a: b' bash "$BATS_TEST_TMPDIR/0.sh"
	[ "$(cat "$BATS_TEST_TMPDIR/kubeconfig")" = "a: b" ]
	[ "$(stat -c %a "$BATS_TEST_TMPDIR/kubeconfig")" = 600 ]
	[ "$(cat "$BATS_TEST_TMPDIR/env")" = "KUBECONFIG=$BATS_TEST_TMPDIR/kubeconfig" ]
	run env RUNNER_TEMP="$BATS_TEST_TMPDIR" GITHUB_ENV=/dev/null KUBE_CONFIG_TEXT= bash "$BATS_TEST_TMPDIR/0.sh"
	[ "$status" -eq 1 ]
}

@test "the CI runs targets that exist, and the release builds by the repository's own script" {
	look '
targets = flows["ci"]["jobs"]["gate"]["strategy"]["matrix"]["target"]
assert {"test", "verify", "coverage"} == set(targets)
make = open("Makefile").read()
for target in targets:
    assert re.search(r"^%s:" % target, make, re.M), "make has no target " + target
release = str(flows["release"])
assert "deploy/image/build" in release and "helm package deploy/helm/xin-platform" in release'
	[ -x deploy/image/build ]
}

