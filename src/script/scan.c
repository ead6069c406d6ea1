/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds, before a script runs, names that nobody declared and module locals
 * that functions write to. It reads the dump that our own compiler made (the
 * format of Lua 5.4, ldump.c), so it needs no parser of its own. Whatever does
 * not look as expected ends the scan quietly: at run time the names raise
 * anyway.
 */
#include "script/scan.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define OP_SETUPVAL 10
#define OP_GETTABUP 11
#define OP_SETTABUP 15
#define LINE_ABS    (-0x80)
#define DEPTH_MAX   200

struct text {
	const char *at;
	size_t len;
};

struct upvalue {
	uint8_t in_stack;
	uint8_t index;
	struct text name;
};

struct function {
	const struct function *parent;
	int depth; /* 0 = the chunk */
	size_t line_defined;
	const uint8_t *code;
	size_t code_count;
	struct text *constants; /* at NULL for what is no string */
	size_t constants_count;
	struct upvalue *upvalues;
	size_t upvalues_count;
	const int8_t *lines;
	size_t lines_count;
};

struct scan {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
	const char *file;
	struct script_report *report;
	bool (*known)(const char *name);
};

static const uint8_t *
get(struct scan *scan, size_t len)
{
	const uint8_t *at = scan->at;

	if (scan->bad || (size_t)(scan->end - scan->at) < len) {
		scan->bad = true;
		return NULL;
	}
	scan->at += len;
	return at;
}

static uint8_t
get_byte(struct scan *scan)
{
	const uint8_t *at = get(scan, 1);

	return at == NULL ? 0 : *at;
}

/* Seven bits a byte, the most significant first; bit 7 marks the last. */
static size_t
get_size(struct scan *scan)
{
	size_t value = 0;

	while (!scan->bad) {
		uint8_t byte = get_byte(scan);

		value = value << 7 | (byte & 0x7f);
		if (byte & 0x80)
			return value;
		if (value > UINT32_MAX)
			scan->bad = true;
	}
	return 0;
}

static size_t
get_count(struct scan *scan, size_t each)
{
	size_t count = get_size(scan);

	if (count > (size_t)(scan->end - scan->at) / each)
		scan->bad = true;
	return scan->bad ? 0 : count;
}

static struct text
get_text(struct scan *scan)
{
	size_t size = get_size(scan);
	struct text text = { NULL, 0 };

	if (size == 0)
		return text;
	text.len = size - 1;
	text.at = (const char *)get(scan, text.len);
	return text;
}

static void
get_constants(struct scan *scan, struct function *fn)
{
	fn->constants_count = get_count(scan, 1);
	fn->constants =
	    mem_zero((fn->constants_count + 1) * sizeof(*fn->constants));
	for (size_t i = 0; i < fn->constants_count && !scan->bad; i++) {
		switch (get_byte(scan)) {
		case 0x13: /* float */
		case 0x03: /* integer */
			get(scan, 8);
			break;
		case 0x04: /* short string */
		case 0x14: /* long string */
			fn->constants[i] = get_text(scan);
			break;
		case 0x00: /* nil, false, true */
		case 0x01:
		case 0x11:
			break;
		default:
			scan->bad = true;
		}
	}
}

static void
get_upvalues(struct scan *scan, struct function *fn)
{
	fn->upvalues_count = get_count(scan, 3);
	fn->upvalues =
	    mem_zero((fn->upvalues_count + 1) * sizeof(*fn->upvalues));
	for (size_t i = 0; i < fn->upvalues_count; i++) {
		fn->upvalues[i].in_stack = get_byte(scan);
		fn->upvalues[i].index = get_byte(scan);
		get_byte(scan); /* kind */
	}
}

/* True when upvalue `index` of `fn` is a local of the chunk itself. */
static bool
is_module_local(const struct function *fn, size_t index)
{
	while (fn->parent != NULL && index < fn->upvalues_count) {
		if (fn->upvalues[index].in_stack)
			return fn->parent->depth == 0;
		index = fn->upvalues[index].index;
		fn = fn->parent;
	}
	return false;
}

static bool
is_env(const struct function *fn, size_t index)
{
	const struct text *name;

	if (index >= fn->upvalues_count)
		return false;
	name = &fn->upvalues[index].name;
	return name->at != NULL && name->len == 4 &&
	       memcmp(name->at, "_ENV", 4) == 0;
}

static void
look_global(struct scan *scan, const struct function *fn, size_t constant,
    int line, bool write)
{
	char name[64];

	if (constant >= fn->constants_count ||
	    fn->constants[constant].at == NULL)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)fn->constants[constant].len,
	    fn->constants[constant].at);
	if (write)
		script_report_add(scan->report, scan->file, line,
		    "assignment to global '%s'; use a local", name);
	else if (!scan->known(name))
		script_report_add(scan->report, scan->file, line,
		    "undeclared global '%s'", name);
}

static void
look_upvalue(
    struct scan *scan, const struct function *fn, size_t index, int line)
{
	if (fn->depth == 0 || !is_module_local(fn, index))
		return;
	script_report_add(scan->report, scan->file, line,
	    "a function changes the module's local '%.*s': turns of different "
	    "users share it",
	    (int)fn->upvalues[index].name.len,
	    fn->upvalues[index].name.at == NULL ? ""
						: fn->upvalues[index].name.at);
}

/* `abs` are the (pc, line) pairs, in order. */
static void
look_code(struct scan *scan, const struct function *fn, const size_t (*abs)[2],
    size_t abs_count)
{
	int line = (int)fn->line_defined;
	size_t next = 0;

	for (size_t pc = 0; pc < fn->code_count && pc < fn->lines_count; pc++) {
		uint32_t word;
		unsigned a, b, c;

		memcpy(&word, fn->code + 4 * pc, sizeof(word));
		if (fn->lines[pc] != LINE_ABS)
			line += fn->lines[pc];
		else if (next < abs_count)
			line = (int)abs[next++][1];
		a = word >> 7 & 0xff;
		b = word >> 16 & 0xff;
		c = word >> 24 & 0xff;
		switch (word & 0x7f) {
		case OP_GETTABUP:
			if (is_env(fn, b))
				look_global(scan, fn, c, line, false);
			break;
		case OP_SETTABUP:
			if (is_env(fn, a))
				look_global(scan, fn, b, line, true);
			break;
		case OP_SETUPVAL:
			look_upvalue(scan, fn, b, line);
			break;
		default:
			break;
		}
	}
}

static void
get_debug(struct scan *scan, struct function *fn)
{
	size_t(*abs)[2];
	size_t count;

	fn->lines_count = get_count(scan, 1);
	fn->lines = (const int8_t *)get(scan, fn->lines_count);
	count = get_count(scan, 2);
	abs = mem_zero((count + 1) * sizeof(*abs));
	for (size_t i = 0; i < count; i++) {
		abs[i][0] = get_size(scan);
		abs[i][1] = get_size(scan);
	}
	for (size_t n = get_count(scan, 3); n > 0; n--) {
		get_text(scan);
		get_size(scan);
		get_size(scan);
	}
	for (size_t i = 0, n = get_count(scan, 1);
	     i < n && i < fn->upvalues_count; i++)
		fn->upvalues[i].name = get_text(scan);
	if (!scan->bad && fn->lines != NULL && fn->code != NULL)
		look_code(scan, fn, (const size_t(*)[2])(uintptr_t)abs, count);
	mem_free(abs);
}

static void
get_function(struct scan *scan, const struct function *parent)
{
	struct function fn = { .parent = parent,
		.depth = parent == NULL ? 0 : parent->depth + 1 };

	if (fn.depth > DEPTH_MAX)
		scan->bad = true;
	get_text(scan); /* source */
	fn.line_defined = get_size(scan);
	get_size(scan);
	get(scan, 3); /* parameters, vararg, stack */
	fn.code_count = get_count(scan, 4);
	fn.code = get(scan, 4 * fn.code_count);
	get_constants(scan, &fn);
	get_upvalues(scan, &fn);
	for (size_t n = get_count(scan, 1); n > 0 && !scan->bad; n--)
		get_function(scan, &fn);
	get_debug(scan, &fn);
	mem_free(fn.constants);
	mem_free(fn.upvalues);
}

void
script__scan(const char *file, const char *code, size_t len,
    bool (*known)(const char *name), struct script_report *report)
{
	struct scan scan = { (const uint8_t *)code, (const uint8_t *)code + len,
		false, file, report, known };
	const uint8_t *head = get(&scan, 31 + 1);

	/* "\x1bLua", 5.4, format 0, check data, sizes 4 8 8, check numbers,
	 * count of the chunk's upvalues. */
	if (head == NULL || memcmp(head, "\x1bLua\x54\0", 6) != 0 ||
	    head[12] != 4 || head[13] != 8 || head[14] != 8)
		return;
	get_function(&scan, NULL);
}
