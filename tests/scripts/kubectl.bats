#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The scripts with a real kubectl, where there is one, on an API of a few
# objects: all that they ask of it but exec, which runs here.

load helper

setup() {
	REAL=$(command -v kubectl) || skip "no kubectl on this machine"
	cluster_setup three
	services_start xin-platform-orchestrator:8000 xin-platform-channel-gateway:8080 \
		xin-platform-ingestion-worker:9103 \
		xin-platform-xin-platform-orchestrator:8000 xin-platform-xin-platform-channel-gateway:8080
	"$BATS_TEST_DIRNAME/shims/api_server" "$BATS_TEST_TMPDIR/api" 3>&- 2>"$BATS_TEST_TMPDIR/api.log" &
	API_PID=$!
	for _ in $(seq 100); do
		[ ! -s "$BATS_TEST_TMPDIR/api" ] || break
		sleep 0.05
	done
	export KUBECTL="$BATS_TEST_TMPDIR/kubectl"
	cat >"$KUBECTL" <<-SH
		#!/bin/sh
		case " \$* " in
		*" exec "*)
			while [ "\$1" != -- ]; do shift; done
			shift
			PATH=$BATS_TEST_DIRNAME/shims/pod:\$PATH exec "\$@"
			;;
		esac
		exec "$REAL" --kubeconfig=/dev/null --cache-dir="$BATS_TEST_TMPDIR/cache" \\
			--server="http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/api")" "\$@"
	SH
	chmod +x "$KUBECTL"
}

teardown() {
	[ -z "${API_PID:-}" ] || kill "$API_PID"
	services_stop
}

pods_left() { "$KUBECTL" get pods -n xin-staging -l app.kubernetes.io/name=xin-probe -o name; }

@test "146 to 156: the runbook's sample by a real kubectl" {
	cp "$BATS_TEST_DIRNAME/fixtures/sample.json" "$SHIM_CLUSTER"
	answer xin-platform-xin-platform-orchestrator:8000/v1/brands/default/knowledge 202
	export INGESTION_URL=http://xin-platform-xin-platform-orchestrator:8000/v1/brands/default/knowledge
	export INGESTION_VERIFY_URL=http://xin-platform-xin-platform-orchestrator:8000/health
	run_script "$ROOT/scripts/smoke_test.sh" staging
	errors
	[ "$status" -eq 0 ]
	same sample.txt
	[ -z "$(pods_left)" ]
}

@test "160: three deployments in order, by a real kubectl" {
	run_script "$ROOT/scripts/smoke_test.sh" staging
	errors
	[ "$status" -eq 0 ]
	same three.txt
}

@test "158: nothing with the label, by a real kubectl" {
	RELEASE=nothing run_script "$ROOT/scripts/smoke_test.sh" staging
	[ "$status" -eq 1 ]
	told "no deployments found in namespace xin-staging with label app.kubernetes.io/instance=nothing"
}

@test "153, R14: the key out of the Secret, by a real kubectl" {
	python - "$SHIM_CLUSTER" <<-'PY'
		import base64, json, sys
		objects = json.load(open(sys.argv[1]))
		objects.append({"kind": "Secret", "metadata": {"name": "xin-orchestrator-secrets", "namespace": "xin-staging"},
		    "data": {"XIN_ADMIN_KEY": base64.b64encode(b"xin_fromthesecret").decode()}})
		json.dump(objects, open(sys.argv[1], "w"))
	PY
	answer xin-platform-orchestrator:8000/k 202
	INGESTION_URL=http://xin-platform-orchestrator:8000/k run_script "$ROOT/scripts/smoke_test.sh" staging
	[ "$status" -eq 0 ]
	[ "$(ask "$REQUESTS" '[r["headers"]["authorization"] for r in rows if r["method"] == "POST"]')" = "['Bearer xin_fromthesecret']" ]
}

@test "135, 136, 141: preflight by a real kubectl" {
	export SHIM_RENDERED="$BATS_TEST_DIRNAME/fixtures/rendered_eso.yaml" CHECK_METRICS=true
	touch "$BATS_TEST_TMPDIR/values.yaml"
	run_script "$ROOT/scripts/preflight_check.sh" xin-nowhere xin-platform "$BATS_TEST_TMPDIR/values.yaml"
	[ "$status" -eq 1 ]
	told 'namespaces "xin-nowhere" not found'
	run_script "$ROOT/scripts/preflight_check.sh" xin-staging xin-platform "$BATS_TEST_TMPDIR/values.yaml"
	[ "$status" -eq 1 ]
	told "MISSING: secret xin-orchestrator-secrets in namespace xin-staging"
	EXTERNAL_SECRET_NAME=mine run_script "$ROOT/scripts/preflight_check.sh" xin-staging xin-platform "$BATS_TEST_TMPDIR/values.yaml"
	told "MISSING: secret mine"
	python - "$SHIM_CLUSTER" <<-'PY'
		import json, sys
		objects = json.load(open(sys.argv[1]))
		objects.append({"kind": "Secret", "metadata": {"name": "mine", "namespace": "xin-staging"}})
		json.dump(objects, open(sys.argv[1], "w"))
	PY
	EXTERNAL_SECRET_NAME=mine run_script "$ROOT/scripts/preflight_check.sh" xin-staging xin-platform "$BATS_TEST_TMPDIR/values.yaml"
	errors
	[ "$status" -eq 0 ]
	has "OK: http://xin-platform-orchestrator:8000/metrics"
	[ -z "$(pods_left)" ]
}
