/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `xin scripts wait`: until a generation of the scripts is active. Without URLs
 * one service is asked by its API, which also tells why one was refused. With
 * URLs every address that their hosts resolve to (a headless Service: every
 * replica) is asked at /metrics, which needs no key and which every role has.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "fiber/fiber.h"
#include "fiber/loop.h"
#include "main/command.h"
#include "net/url.h"

#define ASK_MS       5000
#define EVERY_MS     300
#define METRICS_MAX  ((size_t)16 << 20)
#define REPLICAS_MAX 256

static struct {
	const char *hash;  /* this one, or its beginning; or */
	const char *since; /* any but this one */
	const char *timeout;
	char **urls;
	int count;
	uint64_t until, seconds;
	char last[512]; /* what is not yet so */
} wait_;

struct lookup {
	char host[256], port[8];
	char address[REPLICAS_MAX][64]; /* numeric, [v6] in brackets */
	size_t count;
	int rc;
};

/* The metrics name a generation by its id, the beginning of its hash. */
static bool
same(const char *generation, const char *hash)
{
	return str_starts(generation, hash) || str_starts(hash, generation);
}

static bool
wanted(const char *generation)
{
	if (generation == NULL || generation[0] == '\0')
		return false;
	return wait_.hash != NULL ? same(generation, wait_.hash)
				  : !same(generation, wait_.since);
}

/* ---- one service, by its API ---- */

static enum err_code
ask_api(bool *done_out)
{
	json_auto json_t *status = NULL;
	const json_t *active, *last;
	const char *tried, *hash;

	TRY(client_json("GET", "/v1/scripts", NULL, &status));
	active = json_object_get(status, "active");
	last = json_object_get(status, "last_attempt");
	hash = json_str(active, "hash");
	tried = json_str(last, "hash");
	if (wanted(hash)) {
		printf("generation %s is active\n",
		    json_str(active, "generation"));
		*done_out = true;
		return OK;
	}
	if (wanted(tried) && str_eq(json_str(last, "result"), "rejected")) {
		json_dumpf(
		    json_object_get(last, "errors"), stderr, JSON_INDENT(2));
		fputc('\n', stderr);
		return err_set(
		    ERR_SCRIPT, "generation %.12s was rejected", tried);
	}
	snprintf(wait_.last, sizeof(wait_.last), "%.12s is active",
	    hash != NULL ? hash : "no generation");
	return OK;
}

/* ---- every replica, by its metrics ---- */

static enum err_code
look_up(void *arg)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct lookup *lookup = arg;
	struct addrinfo *list = NULL;

	lookup->count = 0;
	lookup->rc = getaddrinfo(lookup->host, lookup->port, &hints, &list);
	for (struct addrinfo *a = list;
	     lookup->rc == 0 && a != NULL && lookup->count < REPLICAS_MAX;
	     a = a->ai_next) {
		char *to = lookup->address[lookup->count++];
		char number[48];

		getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof(number),
		    NULL, 0, NI_NUMERICHOST);
		snprintf(to, sizeof(lookup->address[0]),
		    a->ai_family == AF_INET6 ? "[%s]" : "%s", number);
	}
	if (lookup->rc == 0)
		freeaddrinfo(list);
	return OK;
}

/* The generation whose sample is 1; false when there is none. */
static bool
active_of(const char *metrics, char *out, size_t size)
{
	static const char head[] = "\nxin_script_generation_info{generation=\"";

	for (const char *at = metrics; (at = strstr(at, head)) != NULL;) {
		const char *name = at + sizeof(head) - 1;
		size_t len = strcspn(name, "\"\n");

		at = name + len;
		if (str_starts(at, "\"} 1\n"))
			return str_copy_n(out, size, name, len);
	}
	return false;
}

static enum err_code
ask_replica(const struct lookup *lookup, const char *address, bool *done_out)
{
	char url[160], host[300], generation[80];
	const char *headers[] = { host, NULL };
	struct http_call call = {
		.method = "GET",
		.url = url,
		.headers = headers,
		.max_reply_bytes = METRICS_MAX,
	};
	struct http_call_reply reply;
	const char *refused;
	enum err_code rc;

	snprintf(
	    url, sizeof(url), "http://%s:%s/metrics", address, lookup->port);
	snprintf(host, sizeof(host), "Host: %s:%s", lookup->host, lookup->port);
	*done_out = false;
	rc = http_call(&call, deadline_in_ms(ASK_MS), &reply);
	if (rc == ERR_CANCELLED)
		return rc;
	if (rc != OK) {
		snprintf(wait_.last, sizeof(wait_.last), "%s: %s", url,
		    err_message());
		return OK;
	}
	if (reply.status != 200 ||
	    !active_of(buf_str(&reply.body), generation, sizeof(generation))) {
		snprintf(wait_.last, sizeof(wait_.last),
		    "%s (HTTP %d) names no generation", url, reply.status);
	} else {
		refused = strstr(buf_str(&reply.body),
		    "\nxin_script_last_reload_successful 0\n");
		*done_out = wanted(generation);
		snprintf(wait_.last, sizeof(wait_.last), "%s runs %s%s", url,
		    generation,
		    refused ? " and refused what it was last given" : "");
	}
	http_call_reply_done(&reply);
	return OK;
}

static enum err_code
ask_url(const char *url, size_t *replicas, bool *done_out)
{
	static struct lookup lookup; /* large for a fiber's stack */
	int port;

	if (!str_starts(url, "http://") ||
	    url_host_port(url + 7, lookup.host, sizeof(lookup.host), &port) !=
		OK)
		return err_set(ERR_INVALID,
		    "\"%.200s\" is no http://host:port of a service", url);
	snprintf(lookup.port, sizeof(lookup.port), "%d", port);
	TRY(pool_run(look_up, &lookup));
	*done_out = false;
	if (lookup.rc != 0) {
		snprintf(wait_.last, sizeof(wait_.last), "%s: %s", lookup.host,
		    gai_strerror(lookup.rc));
		return OK;
	}
	for (size_t i = 0; i < lookup.count; i++) {
		TRY(ask_replica(&lookup, lookup.address[i], done_out));
		if (!*done_out)
			return OK;
	}
	*replicas += lookup.count;
	return OK;
}

static enum err_code
ask_replicas(bool *done_out)
{
	size_t replicas = 0;
	bool done = true;

	for (int i = 0; i < wait_.count && done; i++)
		TRY(ask_url(wait_.urls[i], &replicas, &done));
	*done_out = done;
	if (done)
		printf("%s generation %s is active on %zu replica%s\n",
		    wait_.hash != NULL ? "the" : "another than",
		    wait_.hash != NULL ? wait_.hash : wait_.since, replicas,
		    replicas == 1 ? "" : "s");
	return OK;
}

static enum err_code
run(void *arg)
{
	bool done = false;

	(void)arg;
	wait_.until = deadline_in_ms(wait_.seconds * 1000);
	for (;;) {
		TRY(wait_.count > 0 ? ask_replicas(&done) : ask_api(&done));
		if (done)
			return OK;
		if (deadline_left_ms(wait_.until) == 0)
			return err_set(ERR_DEADLINE, "not so after %llu s: %s",
			    (unsigned long long)wait_.seconds, wait_.last);
		TRY(fiber_sleep(EVERY_MS));
	}
}

int
command_scripts_wait(int argc, char **argv)
{
	struct option_spec specs[] = { { "hash", &wait_.hash, NULL },
		{ "since", &wait_.since, NULL },
		{ "timeout", &wait_.timeout, NULL }, { 0 } };
	const char *hash;

	wait_.seconds = 120;
	wait_.urls = argv;
	if (!command_options(argc, argv, specs, &wait_.count))
		return 2;
	hash = wait_.hash != NULL ? wait_.hash : wait_.since;
	if ((wait_.hash != NULL) == (wait_.since != NULL) || strlen(hash) < 6 ||
	    (wait_.timeout != NULL &&
		(!str_to_u64(wait_.timeout, &wait_.seconds) ||
		    wait_.seconds > 86400))) {
		fputs("usage: xin scripts wait --hash HASH | --since HASH "
		      "[--timeout SECONDS] [http://HOST:PORT...]\n"
		      "HASH: a generation's hash or at least 6 characters of "
		      "its beginning\n",
		    stderr);
		return 2;
	}
	return command_setup() ? client_run(run, NULL) : 1;
}
