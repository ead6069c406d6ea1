#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The scripts against the real program: names of Services lead to its ports,
# what is executed in a pod is executed beside it.

load helper

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || exit 1
	for XIN in "$PWD/build-debug/xin" "$PWD/build/xin"; do
		[ ! -x "$XIN" ] || break
	done
	export XIN HOME_DIR=$BATS_FILE_TMPDIR
	[ -x "$XIN" ] || return 0
	# shellcheck disable=SC2046
	export $(python3 -c '
import socket
sockets = [socket.socket() for _ in range(4)]
for name, s in zip(("ORCHESTRATOR", "GATEWAY", "EXPORTER", "WORKER"), sockets):
    s.bind(("127.0.0.1", 0))
    print(name + "_PORT=%d" % s.getsockname()[1])')
	cp -r lua "$HOME_DIR/lua"
	(cd "$HOME_DIR" && exec env -i PATH="$PATH" XIN_LUA_DIR="$HOME_DIR/lua" \
		XIN_DATA_DIR="$HOME_DIR/data" XIN_AUTH=keys XIN_ADMIN_KEY="xin_$(printf 'k%.0s' $(seq 43))" \
		XIN_ORCHESTRATOR_LISTEN="127.0.0.1:$ORCHESTRATOR_PORT" \
		XIN_GATEWAY_LISTEN="127.0.0.1:$GATEWAY_PORT" \
		GATEWAY_METRICS_HOST=127.0.0.1 GATEWAY_METRICS_PORT="$EXPORTER_PORT" \
		INGEST_METRICS_HOST=127.0.0.1 INGEST_METRICS_PORT="$WORKER_PORT" \
		"$XIN" serve >"$HOME_DIR/log" 2>&1) 3>&- &
	echo $! >"$HOME_DIR/pid"
	for _ in $(seq 200); do
		curl -sf --noproxy '*' "http://127.0.0.1:$ORCHESTRATOR_PORT/health" >/dev/null && break
		sleep 0.1
	done
}

teardown_file() {
	[ ! -s "$HOME_DIR/pid" ] || kill "$(cat "$HOME_DIR/pid")"
}

setup() {
	[ -x "$XIN" ] || skip "no xin is built"
	cluster_setup three
	local name
	for name in xin-platform xin-platform-xin-platform; do
		echo "connect-to = \"$name-orchestrator:8000:127.0.0.1:$ORCHESTRATOR_PORT\""
		echo "connect-to = \"$name-channel-gateway:8080:127.0.0.1:$GATEWAY_PORT\""
		echo "connect-to = \"$name-ingestion-worker:9103:127.0.0.1:$WORKER_PORT\""
	done >"$SHIM_CURLRC"
	export PROBE_TRIES=3 SHIM_EXEC="$BATS_TEST_TMPDIR/exec"
	# The pods' own ports are one process's here.
	cat >"$SHIM_EXEC" <<-SH
		#!/bin/sh
		[ "\$2" != logs ] || exec cat "$HOME_DIR/log"
		shift 2
		last=\$(eval "echo \\\${\$#}")
		case \$last in
		http://127.0.0.1:*) set -- scripts wait --hash "\$SCRIPTS_HASH" --timeout 5 http://127.0.0.1:$ORCHESTRATOR_PORT ;;
		esac
		exec "$XIN" "\$@"
	SH
	chmod +x "$SHIM_EXEC"
	python - "$SHIM_CLUSTER" "xin_$(printf 'k%.0s' $(seq 43))" <<-'PY'
		import base64, json, sys
		objects = json.load(open(sys.argv[1]))
		objects.append({"kind": "Secret", "metadata": {"name": "xin-orchestrator-secrets", "namespace": "xin-staging"},
		    "data": {"XIN_ADMIN_KEY": base64.b64encode(sys.argv[2].encode()).decode()}})
		json.dump(objects, open(sys.argv[1], "w"))
	PY
}

smoke() { run_script "$ROOT/scripts/smoke_test.sh" "$@"; }

@test "146 to 156, 162: the runbook's example against the real program prints the sample" {
	cp "$BATS_TEST_DIRNAME/fixtures/sample.json" "$BATS_TEST_TMPDIR/sample.json"
	python - "$SHIM_CLUSTER" "$BATS_TEST_TMPDIR/sample.json" <<-'PY'
		import json, sys
		secret = json.load(open(sys.argv[1]))[-1:]
		json.dump(json.load(open(sys.argv[2])) + secret, open(sys.argv[1], "w"))
	PY
	export INGESTION_URL="http://xin-platform-xin-platform-orchestrator:8000/v1/brands/default/knowledge"
	export INGESTION_PAYLOAD='{"title":"smoke","content":"hello"}'
	export INGESTION_VERIFY_URL="http://xin-platform-xin-platform-orchestrator:8000/health"
	smoke staging
	errors
	[ "$status" -eq 0 ]
	same sample.txt
}

@test "153, 155, R19: the document is followed until it is ready" {
	export INGESTION_URL="http://xin-platform-orchestrator:8000/v1/brands/default/knowledge"
	export INGESTION_VERIFY_URL="$INGESTION_URL/{id}?require=ready"
	smoke staging
	errors
	[ "$status" -eq 0 ]
	[[ $output == *"Ingestion verified (GET $INGESTION_URL/"*"?require=ready returned 200)"* ]]
}

@test "153: a payload that the API refuses fails with its reason" {
	export INGESTION_URL="http://xin-platform-orchestrator:8000/v1/brands/default/knowledge"
	INGESTION_PAYLOAD='{"title":' smoke staging
	[ "$status" -eq 1 ]
	told "HTTP 400"
	told '"request_id":"smoke-'
	# R28: the id leads to the orchestrator's line with the reason.
	local id
	id=$(errors | sed -n 's/^POST .* X-Request-ID: //p')
	grep '"event":"document.refused"' "$HOME_DIR/log" | grep -F "$id" | grep -q '"level":"warn'
}

@test "153: without a key the API says that it needs one" {
	export INGESTION_URL="http://xin-platform-orchestrator:8000/v1/brands/default/knowledge"
	EXTERNAL_SECRET_NAME=none smoke staging
	[ "$status" -eq 1 ]
	told "HTTP 401"
}

@test "SCRIPTS_HASH: the real xin answers for each pod" {
	SCRIPTS_HASH=$("$XIN" check "$HOME_DIR/lua" | sed -n 's/^ok: generation //p')
	export SCRIPTS_HASH
	[ -n "$SCRIPTS_HASH" ]
	smoke staging
	errors
	[ "$status" -eq 0 ]
	has "Scripts: every pod runs generation $SCRIPTS_HASH"
	told "generation $SCRIPTS_HASH is active on 1 replica"
}

@test "139, 141: preflight probes /metrics of the real program, and asks its doctor" {
	export CHECK_METRICS=true CHECK_DOCTOR=true SHIM_RENDERED="$BATS_TEST_DIRNAME/fixtures/rendered_plain.yaml"
	export XIN_DATA_DIR="$BATS_TEST_TMPDIR/data"
	touch "$BATS_TEST_TMPDIR/values.yaml"
	run_script "$ROOT/scripts/preflight_check.sh" xin-staging xin-platform "$BATS_TEST_TMPDIR/values.yaml"
	errors
	[ "$status" -eq 0 ]
	has "OK: http://xin-platform-orchestrator:8000/metrics"
	has "OK: xin doctor"
}

@test "65, 66: the runbook's commands for logs and metrics" {
	run bash -c "kubectl logs deployment/xin-platform-orchestrator -n xin-staging | grep -E 'tracing (initialised|disabled)'"
	[ "$status" -eq 0 ]
	has "tracing disabled; operating without OTLP exporter"
	run kubectl run curl-metrics --rm -i --restart=Never --image=curlimages/curl:8.5.0 -n xin-staging --command -- sh -c "curl -sf http://xin-platform-orchestrator:8000/metrics"
	[ "$status" -eq 0 ]
	has "http_requests_total"
}
