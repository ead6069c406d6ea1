# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, status and lines
# What the suites of the scripts share: the shims first in PATH, one made-up
# cluster, and a server behind all its Services.

ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
export ROOT

# The distribution's own: a wrapper of versions costs more than the shims do.
python() { /usr/bin/python3 -SE "$@"; }

# A clean environment: nothing of the caller's shell may steer the scripts.
cluster_setup() { # fixture
	unset INGESTION_URL INGESTION_PAYLOAD INGESTION_VERIFY_URL INGESTION_API_KEY \
		EXTERNAL_SECRET_NAME CHECK_METRICS CHECK_DOCTOR METRICS_SERVICE_HOST \
		METRICS_SERVICE_PORT METRICS_SERVICE_PATH METRICS_PORT METRICS_PATH \
		NAMESPACE RELEASE IMAGE SCRIPTS_HASH INGRESS_HOST KUBECTL HELM CHART
	export PATH="$BATS_TEST_DIRNAME/shims:$PATH"
	export SHIM_STATE="$BATS_TEST_TMPDIR" SHIM_CALLS="$BATS_TEST_TMPDIR/calls"
	export SHIM_CLUSTER="$BATS_TEST_TMPDIR/cluster.json"
	export SHIM_CURLRC="$BATS_TEST_TMPDIR/curlrc"
	export PROBE_TRIES=0 VERIFY_EVERY=0.1
	: >"$SHIM_CALLS"
	cp "$BATS_TEST_DIRNAME/fixtures/$1.json" "$SHIM_CLUSTER"
}

# Services that answer 200 to /health and /metrics, and what is added.
services_start() { # host:port...
	local at
	ANSWERS=$BATS_TEST_TMPDIR/answers.json REQUESTS=$BATS_TEST_TMPDIR/requests
	: >"$REQUESTS"
	{
		echo '{'
		for at in "$@"; do
			echo "\"$at/health\": 200, \"$at/metrics\": 200,"
		done
		echo '"none": 200}'
	} >"$ANSWERS"
	"$BATS_TEST_DIRNAME/shims/services" "$ANSWERS" "$REQUESTS" \
		"$BATS_TEST_TMPDIR/port" 3>&- &
	SERVICES_PID=$!
	for _ in $(seq 100); do
		[ ! -s "$BATS_TEST_TMPDIR/port" ] || break
		sleep 0.05
	done
	echo "connect-to = \"::127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")\"" >"$SHIM_CURLRC"
}

services_stop() { [ -z "${SERVICES_PID:-}" ] || kill "$SERVICES_PID"; }

answer() { # host:port/path JSON
	python - "$ANSWERS" "$1" "$2" <<-'PY'
		import json, sys
		path, where, what = sys.argv[1:]
		answers = json.load(open(path))
		answers[where] = json.loads(what)
		json.dump(answers, open(path, "w"))
	PY
}

# Only stdout: the report. stderr is in $BATS_TEST_TMPDIR/stderr.
run_script() { # script args...
	run bash -c 'bash "$@" 2>"$BATS_TEST_TMPDIR/stderr"' run "$@"
}

errors() { cat "$BATS_TEST_TMPDIR/stderr"; }

# Python over the calls or requests: prints what the expression makes.
ask() { # file expression
	python -c 'import json, sys
rows = [json.loads(x) for x in open(sys.argv[1])]
print(eval(sys.argv[2]))' "$1" "$2"
}

has() { # text in $output
	[[ $output == *"$1"* ]] || {
		echo "missing: $1"
		echo "$output"
		return 1
	}
}

has_not() {
	[[ $output != *"$1"* ]] || {
		echo "unexpected: $1"
		return 1
	}
}

told() { # text on stderr
	grep -qF -- "$1" "$BATS_TEST_TMPDIR/stderr" || {
		echo "not on stderr: $1"
		errors
		return 1
	}
}

same() { # golden file
	diff -u "$BATS_TEST_DIRNAME/golden/$1" <(printf '%s\n' "$output")
}
