#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# scripts/preflight_check.sh; the number of a promise stands in its test's name.

load helper

setup() {
	cluster_setup three
	export SHIM_RENDERED="$BATS_TEST_DIRNAME/fixtures/rendered_plain.yaml"
	export CHART="$BATS_TEST_TMPDIR/chart"
	mkdir -p "$CHART"
	printf 'externalSecrets:\n  enabled: false\n' >"$CHART/values-staging.yaml"
	printf 'image:\n  tag: x\nexternalSecrets:\n  # the store\n  enabled: true\nother:\n  enabled: false\n' \
		>"$CHART/values-production.yaml"
}

teardown() { services_stop; }

preflight() { run_script "$ROOT/scripts/preflight_check.sh" "$@"; }

secret() { # name namespace
	python - "$SHIM_CLUSTER" "$1" "${2:-xin-staging}" <<-'PY'
		import json, sys
		objects = json.load(open(sys.argv[1]))
		objects.append({"kind": "Secret", "metadata": {"name": sys.argv[2], "namespace": sys.argv[3]}})
		json.dump(objects, open(sys.argv[1], "w"))
	PY
}

rendered() { export SHIM_RENDERED="$BATS_TEST_DIRNAME/fixtures/rendered_$1.yaml"; }

called() { ask "$SHIM_CALLS" '"\n".join(" ".join(c) for c in rows)'; }

@test "129: all three arguments may be left out, a fourth is wrong usage" {
	preflight
	[ "$status" -eq 0 ]
	preflight xin-prod
	[ "$status" -eq 0 ]
	preflight xin-prod xin-platform
	[ "$status" -eq 0 ]
	preflight xin-prod xin-platform "$CHART/values-staging.yaml"
	[ "$status" -eq 0 ]
	preflight a b c d
	[ "$status" -eq 2 ]
	told "usage: preflight_check.sh [namespace] [release] [values-file]"
}

@test "130, 131, 132: defaults are xin-staging, xin-platform and the staging values" {
	preflight
	[ "${lines[0]}" = "Preflight for namespace=xin-staging release=xin-platform values=$CHART/values-staging.yaml" ]
	[ "$(called | head -n 1)" = "helm template xin-platform $CHART --namespace xin-staging --values $CHART/values-staging.yaml" ]
	[ "${lines[${#lines[@]} - 1]}" = "Preflight checks passed for release xin-platform in namespace xin-staging" ]
	unset CHART
	preflight
	[[ ${lines[0]} == *"values=$ROOT/deploy/helm/xin-platform/values-staging.yaml" ]]
}

@test "133: a chart that cannot render fails before any call of the cluster" {
	unset SHIM_RENDERED
	preflight
	[ "$status" -eq 1 ]
	told "nil pointer evaluating"
	told "helm template cannot render $CHART"
	[ "$(ask "$SHIM_CALLS" '{c[0] for c in rows}')" = "{'helm'}" ]
}

@test "134: a missing values file fails before anything is called" {
	preflight xin-staging xin-platform values-nowhere.yaml
	[ "$status" -eq 1 ]
	told "values file values-nowhere.yaml does not exist"
	[ ! -s "$SHIM_CALLS" ]
}

@test "135: the namespace must exist" {
	preflight xin-nowhere
	[ "$status" -eq 1 ]
	told 'namespaces "xin-nowhere" not found'
	told "kubectl create namespace xin-nowhere"
	preflight xin-prod
	[ "$status" -eq 0 ]
	has "OK: namespace xin-prod"
}

@test "136: ESO enabled in the template, in the values, in both, in none" {
	for case in plain:staging:0 plain:production:1 eso:staging:1 eso:production:1; do
		IFS=: read -r template values wanted <<<"$case"
		rendered "$template"
		preflight xin-staging xin-platform "$CHART/values-$values.yaml"
		[ "$status" -eq "$wanted" ]
		[ "$wanted" = 0 ] || told "MISSING: secret xin-orchestrator-secrets in namespace xin-staging"
	done
	secret xin-orchestrator-secrets
	for case in plain:staging plain:production eso:staging eso:production; do
		IFS=: read -r template values <<<"$case"
		rendered "$template"
		preflight xin-staging xin-platform "$CHART/values-$values.yaml"
		[ "$status" -eq 0 ]
	done
	has "OK: secret xin-orchestrator-secrets"
}

@test "136: the switch is found in flow style, and not in another block" {
	printf 'externalSecrets: { enabled: true }\n' >"$CHART/values-staging.yaml"
	preflight
	[ "$status" -eq 1 ]
	printf 'externalSecrets:\n  # enabled: true\n  items: []\nother:\n  enabled: true\n' >"$CHART/values-staging.yaml"
	preflight
	[ "$status" -eq 0 ]
}

@test "136: the Secret of another namespace does not count" {
	secret xin-orchestrator-secrets xin-prod
	rendered eso
	preflight xin-staging
	[ "$status" -eq 1 ]
	preflight xin-prod
	[ "$status" -eq 0 ]
}

@test "137: ESO disabled: that Secret is not asked for" {
	preflight
	[ "$status" -eq 0 ]
	[[ $(called) != *secret* ]]
}

@test "138: EXTERNAL_SECRET_NAME is asked for instead" {
	rendered eso
	secret my-secrets
	EXTERNAL_SECRET_NAME=my-secrets preflight
	[ "$status" -eq 0 ]
	has "OK: secret my-secrets"
	EXTERNAL_SECRET_NAME=other-secrets preflight
	[ "$status" -eq 1 ]
	told "MISSING: secret other-secrets"
	[[ $(called) != *xin-orchestrator-secrets* ]]
}

@test "R18: every Secret that rendered pods name must be there, optional ones need not" {
	rendered refs
	preflight
	[ "$status" -eq 1 ]
	local name names="by-env by-key by-volume by-flow by-flow-key by-flow-volume of-migration of-init quoted"
	for name in $names; do
		told "MISSING: secret $name in"
	done
	[ "$(grep -c MISSING "$BATS_TEST_TMPDIR/stderr")" = 9 ]
	for name in $names; do secret "$name"; done
	preflight
	[ "$status" -eq 0 ]
}

@test "R18: before the first install the two commands that sync are printed" {
	rendered eso
	preflight
	[ "$status" -eq 1 ]
	told "helm template xin-platform $CHART -n xin-staging -f $CHART/values-staging.yaml -s templates/externalsecret.yaml | kubectl apply -n xin-staging -f -"
	told "kubectl wait externalsecrets --all -n xin-staging --for=condition=Ready --timeout=120s"
	SHIM_INSTALLED=1 preflight
	[ "$status" -eq 1 ]
	told "kubectl describe externalsecrets -n xin-staging"
	! grep -q "kubectl apply" "$BATS_TEST_TMPDIR/stderr"
}

@test "136: a Secret that may not be read is no missing one" {
	rendered eso
	SHIM_FORBIDDEN="get secrets" preflight
	[ "$status" -eq 1 ]
	told "Error from server (Forbidden)"
	told "cannot read secret xin-orchestrator-secrets"
	! grep -q MISSING "$BATS_TEST_TMPDIR/stderr"
}

@test "139: without CHECK_METRICS=true nothing is run in the cluster" {
	for value in "" false 1; do
		CHECK_METRICS=$value preflight
		[ "$status" -eq 0 ]
	done
	[[ $(called) != *" run "* ]]
}

@test "139, 141: CHECK_METRICS=true curls /metrics from inside the cluster" {
	services_start xin-platform-orchestrator:8000
	CHECK_METRICS=true preflight
	[ "$status" -eq 0 ]
	has "OK: http://xin-platform-orchestrator:8000/metrics"
	[ "$(ask "$REQUESTS" '[r["where"] for r in rows]')" = "['xin-platform-orchestrator:8000/metrics']" ]
	[[ $(called) == *" run preflight-"*"--image=curlimages/curl:8.5.0"* ]]
	[ "$(cat "$SHIM_STATE/pods.json")" = "[]" ]
	answer xin-platform-orchestrator:8000/metrics 503
	CHECK_METRICS=true preflight
	[ "$status" -eq 1 ]
	has_not "Preflight checks passed"
	told "http://xin-platform-orchestrator:8000/metrics does not answer from inside the cluster"
}

@test "140: host, port and path of the probe, under both kinds of names" {
	services_start none:1
	answer m.example:9102/deep/metrics 200
	export CHECK_METRICS=true METRICS_SERVICE_HOST=m.example
	METRICS_SERVICE_PORT=9102 METRICS_SERVICE_PATH=/deep/metrics preflight
	[ "$status" -eq 0 ]
	METRICS_PORT=9102 METRICS_PATH=/deep/metrics preflight
	[ "$status" -eq 0 ]
	METRICS_PORT=1 METRICS_PATH=/x METRICS_SERVICE_PORT=9102 METRICS_SERVICE_PATH=/deep/metrics preflight
	[ "$status" -eq 0 ]
	[ "$(ask "$REQUESTS" '{r["where"] for r in rows}')" = "{'m.example:9102/deep/metrics'}" ]
}

@test "140: another release's default host follows the chart's naming" {
	services_start mine-xin-platform-orchestrator:8000
	CHECK_METRICS=true preflight xin-staging mine
	[ "$status" -eq 0 ]
	has "OK: http://mine-xin-platform-orchestrator:8000/metrics"
}

@test "142: the runbook's staging call" {
	unset CHART
	cd "$ROOT"
	[ -f deploy/helm/xin-platform/values-staging.yaml ] || skip "the chart is not there"
	rendered eso
	secret xin-orchestrator-secrets xin-staging
	run_script scripts/preflight_check.sh xin-staging xin-platform deploy/helm/xin-platform/values-staging.yaml
	[ "$status" -eq 0 ]
}

@test "143: the runbook's production call, with ESO's Secrets" {
	unset CHART
	cd "$ROOT"
	[ -f deploy/helm/xin-platform/values-production.yaml ] || skip "the chart is not there"
	run_script scripts/preflight_check.sh xin-prod xin-platform deploy/helm/xin-platform/values-production.yaml
	[ "$status" -eq 1 ]
	told "MISSING: secret xin-orchestrator-secrets in namespace xin-prod"
	secret xin-orchestrator-secrets xin-prod
	run_script scripts/preflight_check.sh xin-prod xin-platform deploy/helm/xin-platform/values-production.yaml
	[ "$status" -eq 0 ]
}

@test "CHECK_DOCTOR=true asks the running orchestrator about its back ends" {
	export CHECK_DOCTOR=true SHIM_EXEC="$BATS_TEST_TMPDIR/exec"
	printf '#!/bin/sh\necho "FAIL  queue"\nexit $BAD\n' >"$SHIM_EXEC"
	chmod +x "$SHIM_EXEC"
	BAD=0 preflight
	[ "$status" -eq 0 ]
	has "OK: xin doctor"
	BAD=1 preflight
	[ "$status" -eq 1 ]
	has "FAIL  queue"
	told "xin doctor in deployment/xin-platform-orchestrator found what is wrong"
}
