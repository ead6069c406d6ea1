#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What must hold before an upgrade: the chart renders with these values, the
# namespace is there, and so is every Secret that the pods will ask for.
#
#   scripts/preflight_check.sh [namespace] [release] [values-file]
#
# CHART                 default deploy/helm/xin-platform
# EXTERNAL_SECRET_NAME  the Secret that External Secrets must have made,
#                       default xin-orchestrator-secrets
# CHECK_METRICS=true    curl /metrics of the running release from inside the
#                       cluster: METRICS_SERVICE_HOST, METRICS_SERVICE_PORT,
#                       METRICS_SERVICE_PATH (METRICS_PORT, METRICS_PATH too)
# CHECK_DOCTOR=true     `xin doctor` in the running orchestrator: its back ends
# IMAGE                 image with curl for the probe pod
#
# Exit codes: 0 ready, 1 not ready, 2 wrong usage.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
CHART=${CHART:-$ROOT/deploy/helm/xin-platform}
[ $# -le 3 ] || {
	echo "usage: preflight_check.sh [namespace] [release] [values-file]" >&2
	exit 2
}
NAMESPACE=${1:-xin-staging}
RELEASE=${2:-xin-platform}
VALUES=${3:-$CHART/values-staging.yaml}
SECRET_DEFAULT=xin-orchestrator-secrets
SECRET=${EXTERNAL_SECRET_NAME:-$SECRET_DEFAULT}
IMAGE=${IMAGE:-curlimages/curl:8.5.0}
case $RELEASE in
*xin-platform*) FULLNAME=$RELEASE ;;
*) FULLNAME=$RELEASE-xin-platform ;;
esac
METRICS_SERVICE_HOST=${METRICS_SERVICE_HOST:-$FULLNAME-orchestrator}
METRICS_SERVICE_PORT=${METRICS_SERVICE_PORT:-${METRICS_PORT:-8000}}
METRICS_SERVICE_PATH=${METRICS_SERVICE_PATH:-${METRICS_PATH:-/metrics}}

# shellcheck source-path=SCRIPTDIR source=lib/cluster.sh
. "$(dirname "$0")/lib/cluster.sh"

render() {
	[ -f "$VALUES" ] || die "values file $VALUES does not exist"
	"$HELM" template "$RELEASE" "$CHART" --namespace "$NAMESPACE" \
		--values "$VALUES" >"$WORK/manifests" ||
		die "helm template cannot render $CHART with $VALUES"
	[ -s "$WORK/manifests" ] || die "helm template rendered nothing"
	say "OK: chart renders with $VALUES"
}

# A template may leave the objects out where the cluster's API is unknown, so
# the values are asked as well.
external_secrets() {
	grep -Eq '^kind: *"?ExternalSecret"? *$' "$WORK/manifests" ||
		awk '/^[^ #]/ { inside = /^externalSecrets:/ }
			inside && /^ +enabled: *true *(#.*)?$/ { found = 1 }
			/^externalSecrets: *\{.*enabled: *true[ ,}]/ { found = 1 }
			END { exit !found }' "$VALUES"
}

# The Secrets that the rendered pods name and cannot do without, one a line.
# In block style an entry's lines are indented deeper than its key; in flow style
# ({ name: x, optional: true }) all stands on one line.
secrets_named() {
	awk '
	function flush() {
		if (name != "" && !optional) print name
		name = ""; optional = 0; depth = -1
	}
	function value(line) {
		sub(/^[^:]*: */, "", line); sub(/ *#.*$/, "", line)
		gsub(/["\047 ]/, "", line)
		return line
	}
	BEGIN { depth = -1 }
	/^---/ { flush(); pod = 0; next }
	/^kind: / { pod = /Deployment|StatefulSet|DaemonSet|Job/ }
	!pod { next }
	{
		match($0, /^[ -]*/); indent = RLENGTH
		if (depth >= 0 && indent <= depth) flush()
		text = substr($0, indent + 1)
		if (text ~ /^(secretRef|secretKeyRef|secret): *$/) {
			flush(); depth = indent; next
		}
		if (text ~ /^(secretRef|secretKeyRef|secret): *\{/) {
			flush()
			optional = text ~ /optional: *true/
			sub(/^[^{]*\{ */, "", text)
			if (text !~ /^(name|secretName):/) sub(/^.*[ ,]name:|^.*[ ,]secretName:/, "name:", text)
			sub(/[,}].*$/, "", text)
			name = value(text)
			flush(); next
		}
		if (depth < 0) next
		if (text ~ /^(name|secretName): /) name = value(text)
		if (text ~ /^optional: *true/) optional = 1
	}
	END { flush() }' "$WORK/manifests" | sort -u
}

# Each is there, or all that are missing are named with what to do.
check_secrets() {
	local name missing="" wanted
	wanted=$(secrets_named)
	if external_secrets; then
		wanted=$(printf '%s\n' "$wanted" | grep -vx "$SECRET_DEFAULT" || true)
		wanted=$(printf '%s\n%s\n' "$SECRET" "$wanted")
	fi
	for name in $wanted; do
		if kube_ask get secret "$name" --output name >/dev/null 2>"$WORK/why"; then
			say "OK: secret $name"
		elif grep -q NotFound "$WORK/why"; then
			missing="$missing $name"
		else
			cat "$WORK/why" >&2
			die "cannot read secret $name in namespace $NAMESPACE"
		fi
	done
	[ -n "$missing" ] || return 0
	for name in $missing; do
		note "MISSING: secret $name in namespace $NAMESPACE"
	done
	if external_secrets; then
		advise_sync
	else
		note "Create it, or take it out of the secretRefs in $VALUES."
	fi
	exit 1
}

# The chart makes the ExternalSecrets, so before the first install nobody has.
advise_sync() {
	if "$HELM" status "$RELEASE" --namespace "$NAMESPACE" >/dev/null 2>&1; then
		note "The release is installed: see why External Secrets did not sync:"
		note "  kubectl describe externalsecrets -n $NAMESPACE"
		return 0
	fi
	note "Release $RELEASE is not installed yet. Let the Secrets be synced first:"
	note "  helm template $RELEASE $CHART -n $NAMESPACE -f $VALUES -s templates/externalsecret.yaml | kubectl apply -n $NAMESPACE -f -"
	note "  kubectl wait externalsecrets --all -n $NAMESPACE --for=condition=Ready --timeout=120s"
}

check_metrics() {
	local url="http://$METRICS_SERVICE_HOST:$METRICS_SERVICE_PORT$METRICS_SERVICE_PATH"
	probe_open preflight "$IMAGE"
	probe_get "$url" || die "$url does not answer from inside the cluster"
	say "OK: $url"
}

check_doctor() {
	kube exec "deployment/$FULLNAME-orchestrator" -- xin doctor ||
		die "xin doctor in deployment/$FULLNAME-orchestrator found what is wrong (above)"
	say "OK: xin doctor"
}

cluster_begin "$HELM" "$KUBECTL"
say "Preflight for namespace=$NAMESPACE release=$RELEASE values=$VALUES"
render
kube_ask get namespace "$NAMESPACE" --output name >/dev/null ||
	die "namespace $NAMESPACE does not exist or cannot be read (kubectl create namespace $NAMESPACE)"
say "OK: namespace $NAMESPACE"
check_secrets
[ "${CHECK_METRICS:-false}" != true ] || check_metrics
[ "${CHECK_DOCTOR:-false}" != true ] || check_doctor
say "Preflight checks passed for release $RELEASE in namespace $NAMESPACE"
