/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The URL: libpq reads it, we split its hosts. We go through them ourselves,
 * because without blocking libpq applies no connect_timeout, so that one dead
 * host would use up the whole deadline, and it would resolve names on the loop.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "postgres/internal.h"

#define ATTEMPT_MS 3000 /* one address, TLS and password included */

static const char *
option(const struct postgres *postgres, const char *key)
{
	for (const PQconninfoOption *o = postgres->options; o->keyword; o++)
		if (strcmp(o->keyword, key) == 0)
			return o->val != NULL && o->val[0] ? o->val : NULL;
	return NULL;
}

/* The n-th of a list separated by commas; NULL when it is empty or there are
 * fewer. A single one stands for all when `spread`. */
static char *
item_of(const char *list, unsigned n, bool spread)
{
	const char *end;

	if (list == NULL)
		return NULL;
	if (spread && strchr(list, ',') == NULL)
		n = 0;
	for (; n > 0; n--) {
		list = strchr(list, ',');
		if (list == NULL)
			return NULL;
		list++;
	}
	end = strchrnul(list, ',');
	return end == list ? NULL : mem_strndup(list, (size_t)(end - list));
}

static unsigned
count_items(const char *list)
{
	unsigned count = list != NULL;

	for (; list != NULL && *list != '\0'; list++)
		count += *list == ',';
	return count;
}

static enum err_code
split_hosts(struct postgres *postgres)
{
	const char *names = option(postgres, "host");
	const char *addrs = option(postgres, "hostaddr");
	const char *ports = option(postgres, "port");
	unsigned count = count_items(names != NULL ? names : addrs);

	if (names != NULL && addrs != NULL && count_items(addrs) != count)
		return err_set(ERR_CONFIG,
		    "store URL: host and hostaddr have not the same number");
	if (count_items(ports) > 1 && count_items(ports) != count)
		return err_set(ERR_CONFIG,
		    "store URL: give one port, or one for each host");
	if (count > POSTGRES_HOSTS_MAX)
		return err_set(ERR_CONFIG, "store URL: at most %d hosts",
		    POSTGRES_HOSTS_MAX);
	postgres->host_count = count > 0 ? count : 1;
	for (unsigned i = 0; i < count; i++)
		postgres->hosts[i] = (struct postgres__host){
			.name = item_of(names, i, false),
			.addr = item_of(addrs, i, false),
			.port = item_of(ports, i, true),
		};
	if (count == 0)
		postgres->hosts[0].port = item_of(ports, 0, true);
	return OK;
}

/* connect_timeout in seconds; libpq takes 0 for "for ever", we do not. */
static uint64_t
attempt_ms(const struct postgres *postgres)
{
	const char *text = option(postgres, "connect_timeout");
	uint64_t seconds;

	if (text == NULL || !str_to_u64(text, &seconds) || seconds == 0)
		return ATTEMPT_MS;
	return seconds > 60 ? 60000 : seconds * 1000;
}

/* An @ or / of a password that was not written as %XX shifts the parts: a piece
 * of the password would stand where the host does, and be named in errors. */
static bool
well_formed(const char *url)
{
	const char *start = strstr(url, "://");
	const char *at, *slash;

	if (start == NULL)
		return false;
	start += 3;
	at = strchr(start, '@');
	if (at == NULL)
		return true;
	slash = memchr(start, '/', (size_t)(at - start));
	if (slash != NULL) /* then it stands in a parameter */
		return memchr(slash, '?', (size_t)(at - slash)) != NULL;
	return memchr(at + 1, '@', strcspn(at + 1, "?")) == NULL;
}

/* Neither our sentence nor libpq's may quote the URL: it has the password. */
static enum err_code
unreadable(void)
{
	return err_set(ERR_CONFIG,
	    "the store's URL cannot be read: want "
	    "postgresql://user:password@host:5432/database?sslmode=..., "
	    "special characters of the password as %%XX (@ is %%40, / is "
	    "%%2F)");
}

static bool
ports_are_numbers(const struct postgres *postgres)
{
	uint64_t port;

	for (unsigned i = 0; i < postgres->host_count; i++)
		if (postgres->hosts[i].port != NULL &&
		    (!str_to_u64(postgres->hosts[i].port, &port) || port == 0 ||
			port > 65535))
			return false;
	return true;
}

enum err_code
postgres__url(struct postgres *postgres, const char *url)
{
	char *why = NULL;

	if (!well_formed(url))
		return unreadable();
	postgres->options = PQconninfoParse(url, &why);
	if (why != NULL)
		PQfreemem(why);
	if (postgres->options == NULL)
		return unreadable();
	postgres->attempt_ms = attempt_ms(postgres);
	TRY(split_hosts(postgres));
	return ports_are_numbers(postgres) ? OK : unreadable();
}

void
postgres__url_free(struct postgres *postgres)
{
	for (unsigned i = 0; i < postgres->host_count; i++) {
		mem_free(postgres->hosts[i].name);
		mem_free(postgres->hosts[i].addr);
		mem_free(postgres->hosts[i].port);
	}
	if (postgres->options != NULL)
		PQconninfoFree(postgres->options);
}

static void
add(struct postgres__params *p, const char *key, const char *value)
{
	if (value == NULL)
		return;
	must(p->count < POSTGRES_PARAMS_MAX - 1);
	p->keys[p->count] = key;
	p->values[p->count] = value;
	p->count++;
}

/* What holds unless the URL says otherwise. GSS encryption is tried by libpq
 * first of all and reads files on the way. */
static const struct {
	const char *key, *value;
} defaults[] = {
	{ "target_session_attrs", "read-write" },
	{ "fallback_application_name", "xin" },
	{ "connect_timeout", "3" },
	{ "tcp_user_timeout", "30000" },
	{ "keepalives_idle", "30" },
	{ "gssencmode", "disable" },
};

static bool
ours(const char *key, const struct postgres__host *host)
{
	return strcmp(key, "options") == 0 ||
	       strcmp(key, "client_encoding") == 0 ||
	       (host != NULL &&
		   (strcmp(key, "host") == 0 || strcmp(key, "hostaddr") == 0 ||
		       strcmp(key, "port") == 0));
}

/* The server itself ends a statement at its limit, and a transaction whose
 * client was cut off. */
void
postgres__params(const struct postgres *postgres,
    const struct postgres__host *host, struct postgres__params *params)
{
	const char *options = option(postgres, "options");

	*params = (struct postgres__params){ 0 };
	for (const PQconninfoOption *o = postgres->options; o->keyword; o++)
		if (o->val != NULL && o->val[0] && !ours(o->keyword, host))
			add(params, o->keyword, o->val);
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (option(postgres, defaults[i].key) == NULL)
			add(params, defaults[i].key, defaults[i].value);
	params->options = mem_printf("-c statement_timeout=%llu"
				     " -c idle_in_transaction_session_timeout="
				     "60000 %s",
	    (unsigned long long)postgres->statement_ms,
	    options != NULL ? options : "");
	add(params, "options", params->options);
	add(params, "client_encoding", "UTF8");
	if (host == NULL)
		return;
	add(params, "host", host->name);
	add(params, "hostaddr", host->addr);
	add(params, "port", host->port);
}

void
postgres__params_free(struct postgres__params *params)
{
	mem_free(params->options);
}
