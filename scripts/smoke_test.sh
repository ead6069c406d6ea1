#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is seen of a release from inside the cluster, after each upgrade: every
# Deployment rolled out, /health and /metrics of every Service, and on wish the
# scripts' generation, the ingress and an ingestion from POST to ready.
#
#   bash scripts/smoke_test.sh staging|production
#
# RELEASE               Helm release, default xin-platform
# NAMESPACE             default xin-staging or xin-prod
# IMAGE                 image with curl for the probe pod
# ROLLOUT_TIMEOUT       for each Deployment, default 180s
# INGESTION_URL         POST INGESTION_PAYLOAD there
# INGESTION_VERIFY_URL  poll until it answers 200, VERIFY_TIMEOUT seconds (120)
#                       at most; {id} becomes the id that the POST answered
# INGESTION_API_KEY     key of both; default: that entry, else XIN_ADMIN_KEY, of
#                       the Secret EXTERNAL_SECRET_NAME (xin-orchestrator-secrets)
# SCRIPTS_HASH          every pod must run this generation of the Lua scripts
#                       within SCRIPTS_TIMEOUT seconds (300)
# INGRESS_HOST          probe the API and the webhook through the ingress
#                       (INGRESS_SCHEME https, INGRESS_CURL: more options)
#
# stdout is the report, request ids and reasons go to stderr. Exit codes: 0
# passed, 1 failed, 2 wrong usage.
set -euo pipefail

usage() {
	echo "usage: smoke_test.sh staging|production" >&2
	exit 2
}
[ $# -eq 1 ] || usage
ENVIRONMENT=$1
case $ENVIRONMENT in
staging) NAMESPACE=${NAMESPACE:-xin-staging} ;;
production) NAMESPACE=${NAMESPACE:-xin-prod} ;;
*) usage ;;
esac
RELEASE=${RELEASE:-xin-platform}
IMAGE=${IMAGE:-curlimages/curl:8.5.0}
ROLLOUT_TIMEOUT=${ROLLOUT_TIMEOUT:-180s}
VERIFY_TIMEOUT=${VERIFY_TIMEOUT:-120}
SCRIPTS_TIMEOUT=${SCRIPTS_TIMEOUT:-300}
SECRET=${EXTERNAL_SECRET_NAME:-xin-orchestrator-secrets}
INGESTION_PAYLOAD=${INGESTION_PAYLOAD:-'{"title":"smoke","content":"hello"}'}
LABEL="app.kubernetes.io/instance=$RELEASE"

# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$(dirname "$0")/lib/cluster.sh"

# Lines that begin with a component, ordered by who needs whom: orchestrator,
# gateway, worker, the rest.
by_dependency() {
	awk -F '\t' -v OFS='\t' 'NF > 1 {
		what = $1 != "" ? $1 : $2
		rank = what ~ /orchestrator/ ? 1 : what ~ /gateway/ ? 2 : what ~ /worker/ ? 3 : 4
		print rank, $0
	}' | sort -t "$(printf '\t')" -k1,1n -k3,3 | cut -f 2-
}

# WORK/deployments: component, name, replicas. WORK/services: component, name,
# first port. The aliases with long names lead to the same pods: left out.
list() { # deployments|services selector third-column
	kube_ask get "$1" --selector "$2" --output \
		"jsonpath={range .items[*]}{.metadata.labels.app\.kubernetes\.io/component}{'\t'}{.metadata.name}{'\t'}{$3}{'\n'}{end}" \
		>"$WORK/found" ||
		die "cannot list $1 in namespace $NAMESPACE (does this work: kubectl get $1 -n $NAMESPACE)"
	by_dependency <"$WORK/found" >"$WORK/$1"
	[ -s "$WORK/$1" ] ||
		die "no $1 found in namespace $NAMESPACE with label $LABEL (other release name? set RELEASE)"
}

# kubectl's own closing line belongs to the report, its progress does not.
wait_rollouts() {
	local name
	say "Waiting for rollouts for deployments:"
	say "$DEPLOYMENTS"
	for name in $DEPLOYMENTS; do
		say "Waiting rollout for deployment/$name (timeout=$ROLLOUT_TIMEOUT)"
		kube rollout status "deployment/$name" --timeout="$ROLLOUT_TIMEOUT" |
			awk '/successfully rolled out/ { print; next } { print >"/dev/stderr" }' || {
			pod_reasons
			die "deployment/$name did not roll out within $ROLLOUT_TIMEOUT"
		}
	done
}

pod_reasons() {
	kube_ask get pods --selector "$LABEL" >&2 || true
}

# What the services themselves find wrong with their back ends.
doctor() {
	local name
	for name in $DEPLOYMENTS; do
		note "xin doctor in deployment/$name:"
		kube exec "deployment/$name" -- xin doctor >&2 || true
	done
}

# A component that is scaled to zero, as KEDA does it, answers nobody.
asleep() { # component
	awk -F '\t' -v what="$1" '$1 != "" && $1 == what && $3 == "0" { found = 1 }
		END { exit !found }' "$WORK/deployments"
}

probe_services() {
	local line component name port path
	while IFS= read -r line <&3; do
		component=$(printf '%s' "$line" | cut -f 1)
		name=$(printf '%s' "$line" | cut -f 2)
		port=$(printf '%s' "$line" | cut -f 3)
		[ -n "$port" ] || die "service $name declares no port"
		if asleep "$component"; then
			say "Not probed: $name (its deployment is scaled to 0)"
			continue
		fi
		for path in /health /metrics; do
			say "Probing http://$name:$port$path"
			probe_get "http://$name:$port$path" || {
				[ "$path" = /metrics ] &&
					die "http://$name:$port$path: does service $name serve metrics on its first port?"
				doctor
				die "http://$name:$port$path does not answer 2xx"
			}
			say "OK: $name:$port$path"
		done
	done 3<"$WORK/services"
	say "Service probes (/health and /metrics) passed for release $RELEASE in $ENVIRONMENT"
}

# A ConfigMap reaches the pods after the upgrade ended: each pod is asked at its
# own first port, by its own program.
wait_scripts() {
	local pod port
	kube_ask get pods --selector "$LABEL,app.kubernetes.io/component" \
		--field-selector status.phase=Running --output \
		"jsonpath={range .items[*]}{.metadata.name}{' '}{.spec.containers[0].ports[0].containerPort}{'\n'}{end}" \
		>"$WORK/pods"
	while read -r pod port <&3; do
		[ -n "$port" ] || continue
		kube exec "$pod" -- xin scripts wait --hash "$SCRIPTS_HASH" \
			--timeout "$SCRIPTS_TIMEOUT" "http://127.0.0.1:$port" >&2 ||
			die "pod/$pod does not run generation $SCRIPTS_HASH"
	done 3<"$WORK/pods"
	say "Scripts: every pod runs generation $SCRIPTS_HASH"
}

read_key() {
	KEY=${INGESTION_API_KEY:-}
	[ -z "$KEY" ] || return 0
	KEY=$(kube_ask get secret "$SECRET" --ignore-not-found --output \
		'go-template={{with .data}}{{with .INGESTION_API_KEY}}{{. | base64decode}}{{else}}{{with .XIN_ADMIN_KEY}}{{. | base64decode}}{{end}}{{end}}{{end}}') ||
		note "Secret $SECRET cannot be read: going on without a key (set INGESTION_API_KEY)"
}

ingest() {
	local id status
	id=$(cluster_id smoke)
	note "POST $INGESTION_URL X-Request-ID: $id"
	probe_post "$INGESTION_URL" "$KEY" "$INGESTION_PAYLOAD" "$id" >"$WORK/answer" ||
		die "POST $INGESTION_URL: no answer (X-Request-ID: $id)"
	status=$(tail -n 1 "$WORK/answer")
	case $status in
	2??) say "POST succeeded" ;;
	*)
		sed '$d' "$WORK/answer" >&2
		die "POST $INGESTION_URL: HTTP $status. Find $id in the orchestrator's log and in the traces; 401: set INGESTION_API_KEY"
		;;
	esac
}

verify() {
	local url=$INGESTION_VERIFY_URL until source="" status
	case $url in
	*'{id}'*)
		[ ! -s "$WORK/answer" ] || source=$(sed '$d' "$WORK/answer" | tr -d '\n' |
			sed -n 's/^[^"]*"id" *: *"\([A-Za-z0-9_-]*\)".*/\1/p')
		[ -n "$source" ] ||
			die "INGESTION_VERIFY_URL has {id}, but no POST answered one (set INGESTION_URL)"
		url=${url%%'{id}'*}$source${url#*'{id}'}
		;;
	esac
	until=$((SECONDS + VERIFY_TIMEOUT))
	while :; do
		status=$(probe_status "$url" "$KEY")
		[ "$status" != 200 ] || break
		[ "$SECONDS" -lt "$until" ] ||
			die "ingestion not verified: GET $url returned ${status:-000} for $VERIFY_TIMEOUT s"
		sleep "${VERIFY_EVERY:-2}"
	done
	say "Ingestion verified (GET $url returned 200)"
}

# Through the ingress only Xin's own answer carries the id that was sent: no
# key is needed to know that routing works and that the header survives it.
probe_ingress() {
	local base="${INGRESS_SCHEME:-https}://$INGRESS_HOST" path method id
	for path in /v1/brands /webchat/webhook; do
		method=GET
		[ "$path" = /v1/brands ] || method=POST
		id=$(cluster_id ingress)
		say "Probing $base$path"
		# shellcheck disable=SC2086
		kube exec "$PROBE_POD" -- curl --silent --show-error --request "$method" \
			--max-time "$PROBE_SECONDS" --retry "$PROBE_TRIES" --retry-delay 2 \
			--retry-all-errors --output /dev/null --dump-header - \
			--header "X-Request-ID: $id" ${INGRESS_CURL:-} "$base$path" |
			tr -d '\r' >"$WORK/head" || die "$base$path: no answer"
		grep -qi "^x-request-id: $id\$" "$WORK/head" || {
			head -n 1 "$WORK/head" >&2
			die "$base$path is not answered by Xin, or the ingress drops X-Request-ID"
		}
		say "OK: $INGRESS_HOST$path"
	done
}

cluster_begin "$KUBECTL"
say "Using namespace=$NAMESPACE release=$RELEASE"
list deployments "$LABEL" .spec.replicas
DEPLOYMENTS=$(cut -f 2 "$WORK/deployments")
wait_rollouts
list services "$LABEL,xin.dev/service-alias!=true" '.spec.ports[0].port'
probe_open smoke "$IMAGE"
probe_services
[ -z "${INGRESS_HOST:-}" ] || probe_ingress
[ -z "${SCRIPTS_HASH:-}" ] || wait_scripts
if [ -n "${INGESTION_URL:-}${INGESTION_VERIFY_URL:-}" ]; then
	read_key
	[ -z "${INGESTION_URL:-}" ] || ingest
	[ -z "${INGESTION_VERIFY_URL:-}" ] || verify
fi
say "Smoke tests passed for $ENVIRONMENT"
