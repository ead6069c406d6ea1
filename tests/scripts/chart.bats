#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# scripts/preflight_check.sh with the real helm and the chart itself.

load helper

setup_file() {
	# Its words and its exit code: 77 is "cannot be had here".
	HELM_REAL=$("$BATS_TEST_DIRNAME/../support/chart_tool_get" helm) || true
	export HELM_REAL
}

setup() {
	[ -n "$HELM_REAL" ] || skip "helm cannot be had: no Go, or no module proxy"
	cluster_setup three
	export HELM=$HELM_REAL
	CHART_FOLDER=$ROOT/deploy/helm/xin-platform
}

preflight() { run_script "$ROOT/scripts/preflight_check.sh" "$@"; }

secrets() { # namespace names...
	python - "$SHIM_CLUSTER" "$@" <<-'PY'
		import json, sys
		objects = json.load(open(sys.argv[1]))
		objects += [{"kind": "Secret", "metadata": {"name": n, "namespace": sys.argv[2]}} for n in sys.argv[3:]]
		json.dump(objects, open(sys.argv[1], "w"))
	PY
}

@test "142: the runbook's staging call on the chart" {
	cd "$ROOT"
	secrets xin-staging xin-orchestrator-secrets xin-backend-secrets xin-gateway-secrets
	run_script scripts/preflight_check.sh xin-staging xin-platform deploy/helm/xin-platform/values-staging.yaml
	errors
	[ "$status" -eq 0 ]
	has "OK: secret xin-orchestrator-secrets"
	has "OK: secret xin-backend-secrets"
	has "OK: secret xin-gateway-secrets"
}

@test "143: the runbook's production call on the chart" {
	cd "$ROOT"
	secrets xin-prod xin-backend-secrets xin-gateway-secrets
	run_script scripts/preflight_check.sh xin-prod xin-platform deploy/helm/xin-platform/values-production.yaml
	[ "$status" -eq 1 ]
	told "MISSING: secret xin-orchestrator-secrets in namespace xin-prod"
	secrets xin-prod xin-orchestrator-secrets
	run_script scripts/preflight_check.sh xin-prod xin-platform deploy/helm/xin-platform/values-production.yaml
	[ "$status" -eq 0 ]
}

@test "133: a chart with a broken template never gets to the cluster" {
	cp -r "$CHART_FOLDER" "$BATS_TEST_TMPDIR/chart"
	echo '{{ .Values.nothing.at.all }}' >"$BATS_TEST_TMPDIR/chart/templates/broken.yaml"
	CHART=$BATS_TEST_TMPDIR/chart preflight
	[ "$status" -eq 1 ]
	told "broken.yaml"
	told "helm template cannot render"
	[ ! -s "$SHIM_CALLS" ]
}

@test "136, 137: the chart's switch is what counts" {
	sed 's/^  enabled: true$/  enabled: false/' "$CHART_FOLDER/values-staging.yaml" >"$BATS_TEST_TMPDIR/off.yaml"
	run "$HELM" template xin-platform "$CHART_FOLDER" -f "$BATS_TEST_TMPDIR/off.yaml"
	[ "$status" -eq 0 ]
	has_not "kind: ExternalSecret"
	preflight xin-staging xin-platform "$BATS_TEST_TMPDIR/off.yaml"
	[ "$status" -eq 1 ]
	told "MISSING: secret xin-orchestrator-secrets" # the secretRefs still name it
	told "Create it, or take it out of the secretRefs"
}

@test "R18: the first of the two commands renders every ExternalSecret, fit to be adopted" {
	preflight
	[ "$status" -eq 1 ]
	errors | sed -n 's/^  helm template \(.*\) | kubectl apply .*/\1/p' >"$BATS_TEST_TMPDIR/arguments"
	# shellcheck disable=SC2046
	run "$HELM" template $(cat "$BATS_TEST_TMPDIR/arguments")
	[ "$status" -eq 0 ]
	[ "$(grep -c '^kind: ExternalSecret' <<<"$output")" = 3 ]
	[ "$(grep -c 'meta.helm.sh/release-name: xin-platform' <<<"$output")" = 3 ]
	[ "$(grep -c 'app.kubernetes.io/managed-by: Helm' <<<"$output")" = 3 ]
}

@test "the chart's names, ports and labels are those that the scripts look for" {
	run "$HELM" template xin-platform "$CHART_FOLDER" -n xin-staging -f "$CHART_FOLDER/values-staging.yaml"
	[ "$status" -eq 0 ]
	printf '%s\n' "$output" | python3 - "$SHIM_CLUSTER" <(printf '%s\n' "$output") <<-'PY'
		import json, sys, yaml
		objects = [o for o in yaml.safe_load_all(open(sys.argv[2]))
		           if o and o["kind"] in ("Deployment", "Service")]
		for o in objects:
		    o["metadata"]["namespace"] = "xin-staging"
		json.dump(objects, open(sys.argv[1], "w"))
	PY
	services_start xin-platform-orchestrator:8000 xin-platform-channel-gateway:8080 \
		xin-platform-ingestion-worker:9103
	run_script "$ROOT/scripts/smoke_test.sh" staging
	services_stop
	[ "$status" -eq 0 ]
	same three.txt
}
