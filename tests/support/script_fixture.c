/* SPDX-License-Identifier: Apache-2.0 */
/* Generations and calls for tests, through the packed form. */
#include "script_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

/* Sanitizers make everything slower, not less certain. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KILL_BUDGET_US 250000
#else
#define KILL_BUDGET_US 50000
#endif

static void
put_u32(struct buf *out, size_t value)
{
	for (int i = 0; i < 4; i++)
		buf_addc(out, (char)((value >> (8 * i)) & 0xff));
}

static void
put_file(struct buf *out, const char *name, const char *text)
{
	put_u32(out, strlen(name));
	put_u32(out, strlen(text));
	buf_adds(out, name);
	buf_adds(out, text);
}

struct script_generation *
generation_of(const char *name, ...)
{
	struct script_generation *gen = NULL;
	struct buf files = { 0 };
	struct buf packed = { 0 };
	size_t count = 0;
	va_list ap;

	va_start(ap, name);
	while (name != NULL) {
		put_file(&files, name, va_arg(ap, const char *));
		count++;
		name = va_arg(ap, const char *);
	}
	va_end(ap);
	buf_adds(&packed, "XINGEN1\n");
	put_u32(&packed, count);
	buf_add(&packed, buf_str(&files), files.len);
	must(script_generation_unpack(packed.data, packed.len, &gen) == OK);
	buf_done(&files);
	buf_done(&packed);
	return gen;
}

enum err_code
run_lua_rc(const char *body, const char *args, json_t **result_out)
{
	char *text = mem_printf("local M = {}\nfunction M.route(message, ...)\n"
				"%s\nend\nreturn M",
	    body);
	struct script_generation *gen =
	    generation_of("brands/alpha.lua", text, NULL);
	struct script_budget budget = script_budget_default();
	struct script_session *session = NULL;
	json_t *list = json_loads(args, 0, NULL);
	json_t *out = NULL;
	enum err_code rc;

	must(list != NULL);
	budget.cpu_us = KILL_BUDGET_US;
	rc = script_session_open("alpha", gen, &budget, &session);
	if (rc == OK)
		rc = script_call(
		    session, SCRIPT_BRAND, "alpha", "route", list, &out);
	script_session_close(session);
	script_generation_unref(gen);
	json_decref(list);
	mem_free(text);
	if (rc == OK && result_out != NULL)
		*result_out = out;
	else if (rc == OK)
		json_decref(out);
	return rc;
}

json_t *
run_lua(const char *body, const char *args)
{
	json_t *out = NULL;

	if (run_lua_rc(body, args, &out) != OK) {
		fprintf(stderr, "script: %s\n", err_message());
		return NULL;
	}
	return out;
}
