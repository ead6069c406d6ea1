#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# scripts/smoke_test.sh; the number of a promise stands in its test's name.

load helper

LONG=xin-platform-xin-platform
KNOWLEDGE=http://$LONG-orchestrator:8000/v1/brands/default/knowledge

setup() {
	cluster_setup three
	services_start xin-platform-orchestrator:8000 xin-platform-channel-gateway:8080 \
		xin-platform-ingestion-worker:9103 \
		$LONG-orchestrator:8000 $LONG-channel-gateway:8080
}

teardown() { services_stop; }

smoke() { run_script "$ROOT/scripts/smoke_test.sh" "$@"; }

probed() { ask "$REQUESTS" '" ".join(r["where"] for r in rows)'; }

with_sample_cluster() {
	cp "$BATS_TEST_DIRNAME/fixtures/sample.json" "$SHIM_CLUSTER"
}

with_ingestion() {
	export INGESTION_URL=$KNOWLEDGE INGESTION_PAYLOAD='{"title":"smoke","content":"hello"}'
	answer $LONG-orchestrator:8000/v1/brands/default/knowledge \
		'{"status": 202, "body": "{\"id\":\"src_1\",\"status\":\"pending\"}"}'
}

with_secret() { # key [entry]
	python - "$SHIM_CLUSTER" "$1" "${2:-INGESTION_API_KEY}" <<-'PY'
		import base64, json, sys
		objects = json.load(open(sys.argv[1]))
		objects.append({"kind": "Secret", "metadata": {"name": "xin-orchestrator-secrets",
		    "namespace": "xin-staging"},
		    "data": {sys.argv[3]: base64.b64encode(sys.argv[2].encode()).decode()}})
		json.dump(objects, open(sys.argv[1], "w"))
	PY
}

@test "144: staging or production; anything else is wrong usage" {
	for args in "" "dev" "staging production"; do
		# shellcheck disable=SC2086
		smoke $args
		[ "$status" -eq 2 ]
		[ -z "$output" ]
		told "usage: smoke_test.sh staging|production"
	done
	[ ! -s "$SHIM_CALLS" ]
}

@test "145: staging is xin-staging, production is xin-prod, the release xin-platform" {
	smoke production
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "Using namespace=xin-prod release=xin-platform" ]
	[ "$(ask "$SHIM_CALLS" '{c[c.index("--namespace") + 1] for c in rows}')" = "{'xin-prod'}" ]
	has "passed for release xin-platform in production"
	: >"$SHIM_CALLS"
	smoke staging
	[ "$(ask "$SHIM_CALLS" '{c[c.index("--namespace") + 1] for c in rows}')" = "{'xin-staging'}" ]
}

@test "146, 147, 149, 150, 151, 152: the runbook's sample, word for word" {
	with_sample_cluster
	with_ingestion
	export INGESTION_VERIFY_URL=http://$LONG-orchestrator:8000/health
	smoke staging
	[ "$status" -eq 0 ]
	same sample.txt
}

@test "148: every deployment of the release is waited for, and no other" {
	smoke staging
	[ "$(ask "$SHIM_CALLS" 'sorted(c[5] for c in rows if "rollout" in c)')" = \
		"['deployment/xin-platform-channel-gateway', 'deployment/xin-platform-ingestion-worker', 'deployment/xin-platform-orchestrator']" ]
	[ "$(ask "$SHIM_CALLS" '{c[c.index("--selector") + 1] for c in rows if "deployments" in c}')" = \
		"{'app.kubernetes.io/instance=xin-platform'}" ]
}

@test "149: progress of kubectl is not in the report, a stuck rollout fails" {
	export SHIM_ROLLOUT=xin-platform-channel-gateway=slow
	smoke staging
	[ "$status" -eq 0 ]
	same three.txt
	told "0 of 1 updated replicas are available"
	export SHIM_ROLLOUT=xin-platform-channel-gateway=stuck
	smoke staging
	[ "$status" -eq 1 ]
	told "deployment/xin-platform-channel-gateway did not roll out within 180s"
	has_not "Probing"
	has_not "Smoke tests passed"
}

@test "150: the first declared port counts, aliases are not probed again" {
	smoke staging
	[ "$(probed)" = "xin-platform-orchestrator:8000/health xin-platform-orchestrator:8000/metrics \
xin-platform-channel-gateway:8080/health xin-platform-channel-gateway:8080/metrics \
xin-platform-ingestion-worker:9103/health xin-platform-ingestion-worker:9103/metrics" ]
}

@test "150: a service that is not healthy fails, after the doctor was asked" {
	export SHIM_EXEC="$BATS_TEST_TMPDIR/exec"
	printf '#!/bin/sh\necho "doctor says: $*"\n' >"$SHIM_EXEC"
	chmod +x "$SHIM_EXEC"
	answer xin-platform-channel-gateway:8080/health 503
	smoke staging
	[ "$status" -eq 1 ]
	has "OK: xin-platform-orchestrator:8000/metrics"
	has_not "OK: xin-platform-channel-gateway"
	has_not "passed"
	told "FAILED: http://xin-platform-channel-gateway:8080/health does not answer 2xx"
	told "doctor says: xin-platform-orchestrator xin doctor"
	told "The requested URL returned error: 503"
}

@test "150: a service that gets ready a moment later is waited for" {
	export PROBE_TRIES=3
	answer xin-platform-orchestrator:8000/health '[503, 503, 200]'
	smoke staging
	[ "$status" -eq 0 ]
	same three.txt
}

@test "150: a deployment scaled to zero is said and not probed" {
	sed -i.bak '/"Deployment".*ingestion-worker/s/"replicas": 1/"replicas": 0/' "$SHIM_CLUSTER"
	smoke staging
	[ "$status" -eq 0 ]
	has "Not probed: xin-platform-ingestion-worker (its deployment is scaled to 0)"
	has_not "Probing http://xin-platform-ingestion-worker"
}

@test "151: /metrics that fails while /health works points at the port" {
	answer xin-platform-orchestrator:8000/metrics 404
	smoke staging
	[ "$status" -eq 1 ]
	has "OK: xin-platform-orchestrator:8000/health"
	told "does service xin-platform-orchestrator serve metrics on its first port?"
}

@test "152: the probes' closing line stands after all of them" {
	smoke staging
	[ "${lines[23]}" = "Service probes (/health and /metrics) passed for release xin-platform in staging" ]
	has_not "Probing http://other"
}

@test "153: INGESTION_URL set: INGESTION_PAYLOAD is POSTed from inside the cluster" {
	with_ingestion
	INGESTION_PAYLOAD='{"title":"it'\''s \"quoted\" سلام","content":"$HOME \\ `id`",
	"tags":[]}'
	smoke staging
	[ "$status" -eq 0 ]
	has "POST succeeded"
	[ "$(ask "$REQUESTS" '[r["body"] for r in rows if r["method"] == "POST"][0]')" = "$INGESTION_PAYLOAD" ]
	[ "$(ask "$REQUESTS" '[r["headers"]["content-type"] for r in rows if r["method"] == "POST"][0]')" = application/json ]
	[ "$(ask "$SHIM_CALLS" 'any("title" in x for c in rows for x in c)')" = False ]
}

@test "153: a refused POST fails with the answer, its id and what to do" {
	with_ingestion
	answer $LONG-orchestrator:8000/v1/brands/default/knowledge \
		'{"status": 401, "body": "{\"error\":{\"message\":\"a key is needed\"}}"}'
	smoke staging
	[ "$status" -eq 1 ]
	has_not "POST succeeded"
	has_not "Smoke tests passed"
	told "a key is needed"
	told "HTTP 401. Find smoke-"
	told "set INGESTION_API_KEY"
}

@test "153, R14: the key comes from INGESTION_API_KEY or the release's Secret, never into a description" {
	local key='[r["headers"].get("authorization") for r in rows if r["method"] == "POST"][-1]'
	with_ingestion
	smoke staging
	[ "$(ask "$REQUESTS" "$key")" = None ]
	with_secret xin_adminkey XIN_ADMIN_KEY
	smoke staging
	[ "$(ask "$REQUESTS" "$key")" = "Bearer xin_adminkey" ]
	sed -i.bak 's/xin-orchestrator-secrets/another/' "$SHIM_CLUSTER"
	with_secret xin_secretkey
	smoke staging
	[ "$(ask "$REQUESTS" "$key")" = "Bearer xin_secretkey" ]
	INGESTION_API_KEY=xin_mine smoke staging
	[ "$(ask "$REQUESTS" "$key")" = "Bearer xin_mine" ]
	! grep -q "xin_secretkey\|xin_mine\|xin_adminkey" "$SHIM_CALLS"
	[[ $output$(errors) != *xin_mine* ]]
}

@test "154: INGESTION_URL unset: no POST and no such line" {
	smoke staging
	[ "$status" -eq 0 ]
	has_not POST
	has_not Ingestion
	[ "$(ask "$REQUESTS" '{r["method"] for r in rows}')" = "{'GET'}" ]
}

@test "155: INGESTION_VERIFY_URL is polled until 200" {
	export INGESTION_VERIFY_URL=http://xin-platform-orchestrator:8000/item
	answer xin-platform-orchestrator:8000/item '[409, 503, 200]'
	smoke staging
	[ "$status" -eq 0 ]
	has "Ingestion verified (GET http://xin-platform-orchestrator:8000/item returned 200)"
	[ "$(ask "$REQUESTS" 'sum(r["where"].endswith("/item") for r in rows)')" = 3 ]
}

@test "155: the wait has a ceiling, and the last status is told" {
	export INGESTION_VERIFY_URL=http://xin-platform-orchestrator:8000/item VERIFY_TIMEOUT=1
	answer xin-platform-orchestrator:8000/item 409
	smoke staging
	[ "$status" -eq 1 ]
	has_not "verified"
	told "ingestion not verified: GET http://xin-platform-orchestrator:8000/item returned 409 for 1 s"
}

@test "155, R19: {id} of the POST's answer, and 409 until ready" {
	with_ingestion
	export INGESTION_VERIFY_URL="$KNOWLEDGE/{id}?require=ready"
	answer "$LONG-orchestrator:8000/v1/brands/default/knowledge/src_1?require=ready" '[409, 200]'
	smoke staging
	[ "$status" -eq 0 ]
	has "Ingestion verified (GET $KNOWLEDGE/src_1?require=ready returned 200)"
	unset INGESTION_URL
	smoke staging
	[ "$status" -eq 1 ]
	told "INGESTION_VERIFY_URL has {id}, but no POST answered one"
}

@test "156: the last line on success only, any failure is non-zero" {
	smoke staging
	[ "$status" -eq 0 ]
	[ "${lines[${#lines[@]} - 1]}" = "Smoke tests passed for staging" ]
	for at in orchestrator:8000/health channel-gateway:8080/metrics ingestion-worker:9103/health; do
		answer "xin-platform-$at" 500
		SHIM_EXEC=true smoke staging
		[ "$status" -eq 1 ]
		has_not "Smoke tests passed"
		answer "xin-platform-$at" 200
	done
}

@test "157: IMAGE is curlimages/curl and can be changed" {
	grep -q '^IMAGE=${IMAGE:-curlimages/curl:' "$ROOT/scripts/smoke_test.sh"
	smoke staging
	[ "$(ask "$SHIM_CALLS" '[x for c in rows for x in c if x.startswith("--image=")]')" = "['--image=curlimages/curl:8.5.0']" ]
	: >"$SHIM_CALLS"
	IMAGE=registry.example/curl:1 smoke staging
	[ "$status" -eq 0 ]
	[ "$(ask "$SHIM_CALLS" '[x for c in rows for x in c if x.startswith("--image=")]')" = "['--image=registry.example/curl:1']" ]
}

@test "157: an image that cannot be pulled is told" {
	export SHIM_BAD_IMAGE=curlimages/curl:8.5.0
	smoke staging
	[ "$status" -eq 1 ]
	told ImagePullBackOff
	told "Can the cluster pull curlimages/curl:8.5.0? Set IMAGE"
}

@test "158: no deployment or no service: a failure that names the label" {
	RELEASE=nothing smoke staging
	[ "$status" -eq 1 ]
	told "no deployments found in namespace xin-staging with label app.kubernetes.io/instance=nothing"
	sed -i.bak 's/"kind": "Service"/"kind": "ServiceAccount"/' "$SHIM_CLUSTER"
	smoke staging
	[ "$status" -eq 1 ]
	told "no services found in namespace xin-staging with label app.kubernetes.io/instance=xin-platform"
}

@test "160: the order is orchestrator, gateway, worker, not the alphabet's" {
	smoke staging
	[ "$status" -eq 0 ]
	same three.txt
}

@test "160: without component labels the names decide" {
	sed -i.bak 's/, "app.kubernetes.io\/component": "[a-z-]*"//' "$SHIM_CLUSTER"
	smoke staging
	[ "$status" -eq 0 ]
	same three.txt
}

@test "161: permission denied says what to try" {
	export SHIM_FORBIDDEN="list deployments"
	smoke staging
	[ "$status" -eq 1 ]
	told "Error from server (Forbidden)"
	told "kubectl get deployments -n xin-staging"
	export SHIM_FORBIDDEN="create pods"
	smoke staging
	[ "$status" -eq 1 ]
	told "kubectl auth can-i create pods -n xin-staging"
}

@test "162: the runbook's example with its long URL works as written" {
	answer $LONG-orchestrator:8000/v1/brands/default/knowledge 202
	cd "$ROOT"
	INGESTION_URL="http://xin-platform-xin-platform-orchestrator:8000/v1/brands/default/knowledge" \
	INGESTION_PAYLOAD='{"title":"smoke","content":"hello"}' \
	INGESTION_VERIFY_URL="http://xin-platform-xin-platform-orchestrator:8000/health" \
	run_script scripts/smoke_test.sh staging
	[ "$status" -eq 0 ]
	has "POST succeeded"
	has "Ingestion verified (GET http://xin-platform-xin-platform-orchestrator:8000/health returned 200)"
}

@test "R20: with INGRESS_HOST the API and the webhook are probed through the ingress" {
	export INGRESS_HOST=xin.example INGRESS_SCHEME=http
	answer xin.example/v1/brands 401
	answer xin.example/webchat/webhook 401
	smoke staging
	[ "$status" -eq 0 ]
	has "OK: xin.example/v1/brands"
	has "OK: xin.example/webchat/webhook"
	answer xin.example/webchat/webhook '{"status": 404, "echo": false}'
	smoke staging
	[ "$status" -eq 1 ]
	told "is not answered by Xin, or the ingress drops X-Request-ID"
}

@test "R28: the id of each call is told, and each is fresh" {
	with_ingestion
	smoke staging
	[ "$(ask "$REQUESTS" 'len({r["headers"]["x-request-id"] for r in rows}) == len(rows)')" = True ]
	told "POST $KNOWLEDGE X-Request-ID: smoke-"
	while read -r id; do told "$id"; done < <(ask "$REQUESTS" '"\n".join(r["headers"]["x-request-id"] for r in rows)')
}

@test "SCRIPTS_HASH: every pod is asked by its own program" {
	export SCRIPTS_HASH=abc123 SHIM_EXEC="$BATS_TEST_TMPDIR/exec"
	printf '#!/bin/sh\necho "$*" >>"%s"\n[ "$1" != "$BAD" ]\n' "$BATS_TEST_TMPDIR/executed" >"$SHIM_EXEC"
	chmod +x "$SHIM_EXEC"
	smoke staging
	[ "$status" -eq 0 ]
	has "Scripts: every pod runs generation abc123"
	[ "$(sort "$BATS_TEST_TMPDIR/executed")" = "xin-platform-channel-gateway-0 xin scripts wait --hash abc123 --timeout 300 http://127.0.0.1:8080
xin-platform-ingestion-worker-0 xin scripts wait --hash abc123 --timeout 300 http://127.0.0.1:9103
xin-platform-orchestrator-0 xin scripts wait --hash abc123 --timeout 300 http://127.0.0.1:8000" ]
	BAD=xin-platform-ingestion-worker-0 smoke staging
	[ "$status" -eq 1 ]
	told "pod/xin-platform-ingestion-worker-0 does not run generation abc123"
}

@test "the probe pod is deleted, also after a failure, and may run in a restricted namespace" {
	smoke staging
	[ "$(cat "$SHIM_STATE/pods.json")" = "[]" ]
	rm "$SHIM_STATE/pods.json"
	answer xin-platform-orchestrator:8000/metrics 404
	smoke staging
	[ "$status" -eq 1 ]
	[ "$(cat "$SHIM_STATE/pods.json")" = "[]" ]
	ask "$SHIM_CALLS" '[x for c in rows for x in c if x.startswith("--overrides=")][0][12:]' | python -c '
import json, sys
spec = json.load(sys.stdin)["spec"]
assert spec["securityContext"]["runAsNonRoot"] and spec["activeDeadlineSeconds"] == 1800
assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
context = spec["containers"][0]["securityContext"]
assert context["capabilities"]["drop"] == ["ALL"] and not context["allowPrivilegeEscalation"]'
}

@test "without kubectl it says so" {
	KUBECTL=kubectl-that-is-not-there smoke staging
	[ "$status" -eq 1 ]
	told "kubectl-that-is-not-there is not installed or not on PATH"
}

# Up to the first connection kubectl has read its arguments: what it does not
# know is another error than a server that is not there.
@test "a real kubectl, where there is one, understands every call" {
	local real
	real=$(PATH=${PATH#*:} command -v kubectl) || skip "no kubectl on this machine"
	with_ingestion
	with_secret k
	export INGESTION_VERIFY_URL=http://xin-platform-orchestrator:8000/health \
		SCRIPTS_HASH=abc SHIM_EXEC=true
	answer xin-platform-orchestrator:8000/health 200
	smoke staging
	[ "$status" -eq 0 ]
	python - "$SHIM_CALLS" "$real" <<-'PY'
		import json, subprocess, sys
		seen = set()
		for row in open(sys.argv[1]):
		    call = json.loads(row)[1:]
		    verb = next(w for w in call[2:] if not w.startswith("-"))
		    shape = (verb, tuple(w.split("=")[0] for w in call if w.startswith("--")))
		    if shape in seen:
		        continue
		    seen.add(shape)
		    done = subprocess.run([sys.argv[2], "--server=http://127.0.0.1:1"] + call,
		                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
		    assert done.returncode and "refused" in done.stderr, (call, done.stderr)
		    assert "unknown" not in done.stderr, (call, done.stderr)
		assert {s[0] for s in seen} >= {"get", "rollout", "run", "wait", "exec", "delete"}, seen
	PY
}
