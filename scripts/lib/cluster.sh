# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What preflight_check.sh and smoke_test.sh share: words, kubectl, and one
# probe pod inside the cluster from which curl is called. Bash 3.2 will do.
#
# Commands stand in variables (KUBECTL, HELM), every wait has a ceiling. The
# answers of the scripts go to stdout; request ids and reasons to stderr.

KUBECTL=${KUBECTL:-kubectl}
HELM=${HELM:-helm}
PROBE_POD=""
WORK=""
# A probe: some tries, for a Service's endpoints follow a rollout with a delay.
PROBE_TRIES=${PROBE_TRIES:-5}
PROBE_SECONDS=${PROBE_SECONDS:-10}

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
die() {
	note "FAILED: $*"
	exit 1
}

# The tools are there, WORK is a folder for this run, and the end cleans up.
cluster_begin() { # command...
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null 2>&1 ||
			die "$tool is not installed or not on PATH"
	done
	WORK=$(mktemp -d)
	trap cluster_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

cluster_end() {
	[ -z "$PROBE_POD" ] ||
		kube_ask delete pod "$PROBE_POD" --ignore-not-found --wait=false \
			>/dev/null 2>&1 || true
	rm -rf "$WORK"
}

# kubectl in the namespace; kube_ask for what is one short request.
kube() { "$KUBECTL" --namespace "$NAMESPACE" "$@"; }
kube_ask() { kube --request-timeout=30s "$@"; }

cluster_id() { printf '%s-%s%s' "$1" "$$" "$RANDOM"; }

# Settings that a namespace of the Pod Security level "restricted" accepts. The
# pod ends by itself when this script is killed before it can delete it.
probe_overrides() { # pod image
	cat <<JSON
{"spec":{"activeDeadlineSeconds":1800,"automountServiceAccountToken":false,
"enableServiceLinks":false,"terminationGracePeriodSeconds":0,
"securityContext":{"runAsNonRoot":true,"runAsUser":100,"runAsGroup":101,
"seccompProfile":{"type":"RuntimeDefault"}},
"containers":[{"name":"$1","image":"$2",
"resources":{"requests":{"cpu":"10m","memory":"16Mi"},
"limits":{"memory":"64Mi"}},
"securityContext":{"allowPrivilegeEscalation":false,
"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}}}]}}
JSON
}

# One pod for all probes: one image pull, and what is secret goes in through
# stdin instead of standing in a pod's description.
probe_open() { # name image
	local why
	PROBE_POD=$(cluster_id "$1")
	kube_ask run "$PROBE_POD" --image="$2" --restart=Never --quiet \
		--labels=app.kubernetes.io/name=xin-probe --override-type=strategic \
		--overrides="$(probe_overrides "$PROBE_POD" "$2")" \
		--command -- sleep 1800 >/dev/null ||
		die "cannot create a pod in namespace $NAMESPACE (kubectl auth can-i create pods -n $NAMESPACE)"
	kube wait "pod/$PROBE_POD" --for=condition=Ready --timeout=90s >/dev/null &&
		return 0
	why=$(kube_ask get pod "$PROBE_POD" --output \
		'jsonpath={.status.containerStatuses[0].state.waiting.reason} {.status.containerStatuses[0].state.waiting.message}' || true)
	die "the probe pod is not ready after 90 s: ${why:-no reason given}
  Can the cluster pull $2? Set IMAGE to one that it can."
}

# curl in the pod: GET url must be a 2xx within PROBE_TRIES.
probe_get() { # url
	local id
	id=$(cluster_id smoke)
	note "GET $1 X-Request-ID: $id"
	kube exec "$PROBE_POD" -- curl --fail --silent --show-error \
		--output /dev/null --max-time "$PROBE_SECONDS" \
		--retry "$PROBE_TRIES" --retry-delay 2 --retry-all-errors \
		--header "X-Request-ID: $id" "$1"
}

# The status of a GET, 000 when there was no answer. A key, if any, goes
# through stdin: its first line.
probe_status() { # url key
	# shellcheck disable=SC2016 # the pod's shell expands it
	printf '%s\n' "$2" | kube exec --stdin "$PROBE_POD" -- sh -c '
		read -r key
		exec curl --silent --output /dev/null --max-time "$2" \
			--write-out "%{http_code}" --header "X-Request-ID: $3" \
			${key:+--header "Authorization: Bearer $key"} "$1"' \
		probe "$1" "$PROBE_SECONDS" "$(cluster_id verify)" 2>/dev/null || true
}

# POST JSON; the answer's body, then a line with its status.
probe_post() { # url key payload id
	# shellcheck disable=SC2016 # the pod's shell expands it
	printf '%s\n%s' "$2" "$3" | kube exec --stdin "$PROBE_POD" -- sh -c '
		read -r key
		exec curl --silent --show-error --max-time 60 \
			--write-out "\n%{http_code}" --data-binary @- \
			--header "Content-Type: application/json" \
			--header "X-Request-ID: $2" \
			${key:+--header "Authorization: Bearer $key"} "$1"' \
		probe "$1" "$4"
}
