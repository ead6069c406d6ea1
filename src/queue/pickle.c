/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader: a stack machine with one small function for each opcode. It is
 * fed by anybody who can write to Redis, so every length is checked against
 * what is left, stack and memo are bounded by the input's size, and the arena
 * bounds the tree.
 */
#include "queue/pickle.h"

#include <string.h>

struct machine {
	struct arena *arena;
	const uint8_t *at, *end;
	uint8_t op;
	struct pickle_value **stack;
	size_t depth, stack_cap;
	struct pickle_value **memo;
	size_t memo_count, memo_cap;
};

/* Stands on the stack where the items of a container begin. */
static struct pickle_value mark;

static enum err_code
broken(void)
{
	return err_set(ERR_INVALID, "the pickle is cut off or damaged");
}

/* ---- input, stack, memo ---- */

static const uint8_t *
input(struct machine *m, uint64_t len)
{
	const uint8_t *at = m->at;

	if (len > (uint64_t)(m->end - m->at))
		return NULL;
	m->at += len;
	return at;
}

/* A little-endian number of `size` bytes. */
static bool
number(struct machine *m, size_t size, uint64_t *value_out)
{
	const uint8_t *bytes = input(m, size);

	*value_out = 0;
	if (bytes == NULL)
		return false;
	for (size_t i = 0; i < size; i++)
		*value_out |= (uint64_t)bytes[i] << (8 * i);
	return true;
}

static enum err_code
grow(struct machine *m, struct pickle_value ***array, size_t *cap, size_t need)
{
	size_t size = *cap > 0 ? *cap : 8;
	struct pickle_value **bigger;

	while (size < need)
		size *= 2;
	if (size == *cap)
		return OK;
	bigger = arena_zero(m->arena, size * sizeof(*bigger));
	if (bigger == NULL)
		return ERR_TOO_LARGE;
	if (*cap > 0)
		memcpy(bigger, *array, *cap * sizeof(*bigger));
	*array = bigger;
	*cap = size;
	return OK;
}

static enum err_code
push(struct machine *m, struct pickle_value *value)
{
	TRY(grow(m, &m->stack, &m->stack_cap, m->depth + 1));
	m->stack[m->depth++] = value;
	return OK;
}

static enum err_code
push_new(struct machine *m, struct pickle_value with)
{
	struct pickle_value *value = arena_alloc(m->arena, sizeof(*value));

	if (value == NULL)
		return ERR_TOO_LARGE;
	*value = with;
	return push(m, value);
}

/* The value `down` below the top, NULL when there is none. */
static struct pickle_value *
peek(const struct machine *m, size_t down)
{
	struct pickle_value *value;

	if (down >= m->depth)
		return NULL;
	value = m->stack[m->depth - 1 - down];
	return value == &mark ? NULL : value;
}

/* How many values stand above the last mark; false without one. */
static bool
above_mark(const struct machine *m, size_t *count_out)
{
	for (size_t i = m->depth; i > 0; i--)
		if (m->stack[i - 1] == &mark) {
			*count_out = m->depth - i;
			return true;
		}
	return false;
}

static enum err_code
append(struct machine *m, struct pickle_value *to, size_t count)
{
	if (to->type == PICKLE_OPAQUE)
		return OK; /* a list or dict of a class: not looked into */
	TRY(grow(m, &to->items, &to->cap, to->len + count));
	memcpy(to->items + to->len, m->stack + m->depth - count,
	    count * sizeof(*to->items));
	to->len += count;
	return OK;
}

static enum err_code
memo_set(struct machine *m, uint64_t index)
{
	struct pickle_value *value = peek(m, 0);

	/* No honest pickler numbers more objects than it wrote bytes. */
	if (value == NULL || index > PICKLE_MAX_BYTES)
		return broken();
	TRY(grow(m, &m->memo, &m->memo_cap, index + 1));
	m->memo[index] = value;
	if (index >= m->memo_count)
		m->memo_count = index + 1;
	return OK;
}

/* ---- scalars ---- */

static enum err_code
op_ignore_1(struct machine *m) /* PROTO */
{
	return input(m, 1) != NULL ? OK : broken();
}

static enum err_code
op_frame(struct machine *m)
{
	return input(m, 8) != NULL ? OK : broken();
}

static enum err_code
op_none(struct machine *m)
{
	return push_new(m, (struct pickle_value){ .type = PICKLE_NONE });
}

static enum err_code
op_bool(struct machine *m)
{
	return push_new(m,
	    (struct pickle_value){ .type = PICKLE_BOOL, .num = m->op == 0x88 });
}

static enum err_code
op_int(struct machine *m)
{
	size_t size = m->op == 'K' ? 1 : m->op == 'M' ? 2 : 4;
	uint64_t n;

	if (!number(m, size, &n))
		return broken();
	return push_new(
	    m, (struct pickle_value){ .type = PICKLE_INT,
		   .num = size == 4 ? (int32_t)(uint32_t)n : (int64_t)n });
}

static enum err_code
op_long(struct machine *m)
{
	const uint8_t *bytes;
	uint64_t size, n;

	if (!number(m, m->op == 0x8a ? 1 : 4, &size) || size > INT32_MAX)
		return broken();
	if (size > 8) {
		if (input(m, size) == NULL)
			return broken();
		return push_new(m, (struct pickle_value){ .type = PICKLE_OPAQUE,
				       .text = "int over 64 bits",
				       .len = strlen("int over 64 bits") });
	}
	bytes = m->at;
	if (!number(m, size, &n))
		return broken();
	if (size > 0 && size < 8 && (bytes[size - 1] & 0x80) != 0)
		n |= UINT64_MAX << (8 * size);
	return push_new(
	    m, (struct pickle_value){ .type = PICKLE_INT, .num = (int64_t)n });
}

static enum err_code
op_real(struct machine *m)
{
	const uint8_t *bytes = input(m, 8);
	uint64_t bits = 0;
	double real;

	if (bytes == NULL)
		return broken();
	for (int i = 0; i < 8; i++) /* the only big-endian one */
		bits = bits << 8 | bytes[i];
	memcpy(&real, &bits, sizeof(real));
	return push_new(
	    m, (struct pickle_value){ .type = PICKLE_REAL, .real = real });
}

static enum err_code
push_run(struct machine *m, enum pickle_type type, size_t size)
{
	const uint8_t *bytes;
	uint64_t len;

	if (!number(m, size, &len) || (bytes = input(m, len)) == NULL)
		return broken();
	return push_new(m, (struct pickle_value){ .type = type,
			       .text = (const char *)bytes,
			       .len = (size_t)len });
}

static enum err_code
op_str(struct machine *m)
{
	return push_run(m, PICKLE_STR,
	    m->op == 0x8c  ? 1
	    : m->op == 'X' ? 4
			   : 8);
}

static enum err_code
op_bytes(struct machine *m)
{
	return push_run(m, PICKLE_BYTES,
	    m->op == 'C'   ? 1
	    : m->op == 'B' ? 4
			   : 8);
}

/* ---- containers ---- */

static enum err_code
op_mark(struct machine *m)
{
	return push(m, &mark);
}

static enum err_code
op_empty(struct machine *m)
{
	enum pickle_type type = m->op == ')'   ? PICKLE_TUPLE
				: m->op == ']' ? PICKLE_LIST
					       : PICKLE_DICT;

	return push_new(m, (struct pickle_value){ .type = type });
}

static enum err_code
op_tuple(struct machine *m)
{
	struct pickle_value tuple = { .type = PICKLE_TUPLE };
	bool marked = m->op == 't';
	size_t count = m->op - 0x84u; /* TUPLE1, 2, 3 */

	if (marked && !above_mark(m, &count))
		return broken();
	for (size_t i = 0; i < count; i++)
		if (peek(m, i) == NULL)
			return broken();
	TRY(append(m, &tuple, count));
	m->depth -= count + (marked ? 1 : 0);
	return push_new(m, tuple);
}

static enum err_code
add_items(struct machine *m, enum pickle_type type, size_t count, size_t below)
{
	struct pickle_value *to;

	for (size_t i = 0; i < count; i++)
		if (peek(m, i) == NULL)
			return broken();
	to = peek(m, count + below);
	if (to == NULL || (to->type != type && to->type != PICKLE_OPAQUE) ||
	    (type == PICKLE_DICT && count % 2 != 0))
		return broken();
	TRY(append(m, to, count));
	m->depth -= count + below;
	return OK;
}

static enum err_code
op_append(struct machine *m)
{
	return m->op == 'a' ? add_items(m, PICKLE_LIST, 1, 0)
			    : add_items(m, PICKLE_DICT, 2, 0);
}

static enum err_code
op_appends(struct machine *m)
{
	size_t count;

	if (!above_mark(m, &count))
		return broken();
	return add_items(m, m->op == 'e' ? PICKLE_LIST : PICKLE_DICT, count, 1);
}

/* ---- memo ---- */

static enum err_code
op_memoize(struct machine *m)
{
	return memo_set(m, m->memo_count);
}

static enum err_code
op_put(struct machine *m)
{
	uint64_t index;

	if (!number(m, m->op == 'q' ? 1 : 4, &index))
		return broken();
	return memo_set(m, index);
}

static enum err_code
op_get(struct machine *m)
{
	uint64_t index;

	if (!number(m, m->op == 'h' ? 1 : 4, &index) ||
	    index >= m->memo_count || m->memo[index] == NULL)
		return broken();
	return push(m, m->memo[index]);
}

/* ---- classes and calls: remembered by name, never looked up ---- */

static enum err_code
push_opaque(struct machine *m, const char *module, size_t module_len,
    const char *name, size_t name_len)
{
	char *text = arena_alloc(m->arena, module_len + name_len + 2);

	if (text == NULL)
		return ERR_TOO_LARGE;
	memcpy(text, module, module_len);
	text[module_len] = '.';
	memcpy(text + module_len + 1, name, name_len);
	text[module_len + 1 + name_len] = '\0';
	return push_new(m, (struct pickle_value){ .type = PICKLE_OPAQUE,
			       .text = text,
			       .len = module_len + 1 + name_len });
}

static bool
line(struct machine *m, const char **text_out, size_t *len_out)
{
	const uint8_t *end = memchr(m->at, '\n', (size_t)(m->end - m->at));

	if (end == NULL)
		return false;
	*text_out = (const char *)m->at;
	*len_out = (size_t)(end - m->at);
	m->at = end + 1;
	return true;
}

static enum err_code
op_global(struct machine *m)
{
	const char *module, *name;
	size_t module_len, name_len;

	if (!line(m, &module, &module_len) || !line(m, &name, &name_len))
		return broken();
	return push_opaque(m, module, module_len, name, name_len);
}

static enum err_code
op_stack_global(struct machine *m)
{
	const struct pickle_value *name = peek(m, 0), *module = peek(m, 1);

	if (name == NULL || module == NULL || name->type != PICKLE_STR ||
	    module->type != PICKLE_STR)
		return broken();
	m->depth -= 2;
	return push_opaque(m, module->text, module->len, name->text, name->len);
}

/* REDUCE, NEWOBJ, NEWOBJ_EX: what would be called stands below its arguments;
 * BUILD: the object stands below its state. The lowest one stays, opaque. */
static enum err_code
op_call(struct machine *m)
{
	size_t above = m->op == 0x92 ? 2 : 1;
	struct pickle_value *callee = peek(m, above);

	for (size_t i = 0; i < above; i++)
		if (peek(m, i) == NULL)
			return broken();
	if (callee == NULL || callee->type != PICKLE_OPAQUE)
		return broken();
	m->depth -= above + 1;
	return push_new(m, *callee);
}

static enum err_code
op_set(struct machine *m)
{
	size_t count;

	if (m->op == 0x90) { /* ADDITEMS */
		if (!above_mark(m, &count))
			return broken();
		return add_items(m, PICKLE_OPAQUE, count, 1);
	}
	if (m->op == 0x91) { /* FROZENSET */
		if (!above_mark(m, &count))
			return broken();
		m->depth -= count + 1;
	}
	return push_new(
	    m, (struct pickle_value){
		   .type = PICKLE_OPAQUE, .text = "set", .len = 3 });
}

static enum err_code
op_bytearray(struct machine *m)
{
	struct pickle_value *top;

	TRY(push_run(m, PICKLE_OPAQUE, 8));
	top = peek(m, 0);
	if (top == NULL)
		return broken();
	top->text = "bytearray";
	top->len = strlen("bytearray");
	return OK;
}

static enum err_code (*const ops[256])(struct machine *m) = {
	[0x80] = op_ignore_1, /* PROTO */
	[0x95] = op_frame,
	['('] = op_mark,
	['N'] = op_none,
	[0x88] = op_bool,
	[0x89] = op_bool,
	['K'] = op_int,
	['M'] = op_int,
	['J'] = op_int,
	[0x8a] = op_long,
	[0x8b] = op_long,
	['G'] = op_real,
	[0x8c] = op_str,
	['X'] = op_str,
	[0x8d] = op_str,
	['C'] = op_bytes,
	['B'] = op_bytes,
	[0x8e] = op_bytes,
	[')'] = op_empty,
	[']'] = op_empty,
	['}'] = op_empty,
	[0x85] = op_tuple,
	[0x86] = op_tuple,
	[0x87] = op_tuple,
	['t'] = op_tuple,
	['a'] = op_append,
	['s'] = op_append,
	['e'] = op_appends,
	['u'] = op_appends,
	[0x94] = op_memoize,
	['q'] = op_put,
	['r'] = op_put,
	['h'] = op_get,
	['j'] = op_get,
	['c'] = op_global,
	[0x93] = op_stack_global,
	['R'] = op_call,
	[0x81] = op_call,
	[0x92] = op_call,
	['b'] = op_call,
	[0x8f] = op_set,
	[0x90] = op_set,
	[0x91] = op_set,
	[0x96] = op_bytearray,
};

enum err_code
pickle_read(struct arena *arena, const void *data, size_t len,
    const struct pickle_value **value_out)
{
	struct machine m = { .arena = arena, .at = data };

	if (len > PICKLE_MAX_BYTES)
		return err_set(ERR_TOO_LARGE, "the pickle is over %zu bytes",
		    PICKLE_MAX_BYTES);
	m.end = m.at + len;
	if (len < 2 || m.at[0] != 0x80)
		return err_set(ERR_INVALID, "no pickle of protocol 2 or later");
	while (m.at < m.end) {
		m.op = *m.at++;
		if (m.op == '.') {
			if (m.depth != 1 || peek(&m, 0) == NULL)
				return broken();
			*value_out = m.stack[0];
			return OK;
		}
		if (ops[m.op] == NULL)
			return err_set(ERR_INVALID,
			    "the pickle uses opcode 0x%02x, which plain "
			    "values do not need",
			    m.op);
		TRY(ops[m.op](&m));
	}
	return broken();
}

/* ---- asking the tree ---- */

bool
pickle_is_text(const struct pickle_value *value, const char *text)
{
	return value != NULL && value->type == PICKLE_STR &&
	       value->len == strlen(text) &&
	       memcmp(value->text, text, value->len) == 0;
}

/* The last of equal keys counts, as in Python. */
const struct pickle_value *
pickle_get(const struct pickle_value *dict, const char *key)
{
	if (dict == NULL || dict->type != PICKLE_DICT)
		return NULL;
	for (size_t i = dict->len; i >= 2; i -= 2)
		if (pickle_is_text(dict->items[i - 2], key))
			return dict->items[i - 1];
	return NULL;
}
