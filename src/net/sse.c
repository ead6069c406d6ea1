/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events: lines are collected up to their end (CR, LF or both),
 * fields are gathered, an empty line hands the event over. Whole lines are
 * looked at, so that no cut between two pieces can be seen.
 */
#include "net/sse.h"

#include <string.h>

#include "base/str.h"

void
sse_init(struct sse *sse, size_t max, sse_event_fn event, void *arg)
{
	*sse = (struct sse){ .event = event, .arg = arg, .max = max };
	buf_init(&sse->line, max);
	buf_init(&sse->data, max);
	sse->first_line = true;
}

void
sse_clear(struct sse *sse)
{
	buf_clear(&sse->line);
	buf_clear(&sse->data);
	sse->name[0] = '\0';
	sse->has_data = sse->after_cr = false;
	sse->first_line = true;
}

void
sse_done(struct sse *sse)
{
	buf_done(&sse->line);
	buf_done(&sse->data);
}

static enum err_code
dispatch(struct sse *sse)
{
	enum err_code rc = OK;

	if (sse->has_data)
		rc = sse->event(sse->arg,
		    sse->name[0] != '\0' ? sse->name : "message",
		    buf_str(&sse->data), sse->data.len);
	buf_clear(&sse->data);
	sse->name[0] = '\0';
	sse->has_data = false;
	return rc;
}

static void
take_field(struct sse *sse, const char *name, size_t name_len,
    const char *value, size_t len)
{
	if (name_len == 4 && memcmp(name, "data", 4) == 0) {
		if (sse->has_data)
			buf_addc(&sse->data, '\n');
		buf_add(&sse->data, value, len);
		sse->has_data = true;
	} else if (name_len == 5 && memcmp(name, "event", 5) == 0) {
		str_copy_n(sse->name, sizeof(sse->name), value, len);
	} /* id, retry and what nobody knows: not for us */
}

static enum err_code
end_line(struct sse *sse)
{
	const char *line = buf_str(&sse->line), *colon;
	size_t len = sse->line.len, name;

	if (sse->first_line && len >= 3 &&
	    memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
		line += 3;
		len -= 3;
	}
	sse->first_line = false;
	if (len == 0) {
		buf_clear(&sse->line);
		return dispatch(sse);
	}
	colon = memchr(line, ':', len);
	name = colon != NULL ? (size_t)(colon - line) : len;
	if (name > 0) { /* else a comment */
		size_t value = name < len ? name + 1 : len;

		if (value < len && line[value] == ' ')
			value++;
		take_field(sse, line, name, line + value, len - value);
	}
	buf_clear(&sse->line);
	return OK;
}

enum err_code
sse_feed(struct sse *sse, const char *data, size_t len)
{
	while (len > 0) {
		size_t n = 0;

		if (sse->after_cr && data[0] == '\n') {
			sse->after_cr = false;
			data++;
			len--;
			continue;
		}
		sse->after_cr = false;
		while (n < len && data[n] != '\n' && data[n] != '\r')
			n++;
		buf_add(&sse->line, data, n);
		if (n < len && !sse->line.full) {
			sse->after_cr = data[n] == '\r';
			TRY(end_line(sse));
			n++;
		}
		if (sse->line.full || sse->data.full)
			return err_set(ERR_TOO_LARGE,
			    "one event of the stream is over %zu bytes",
			    sse->max);
		data += n;
		len -= n;
	}
	return OK;
}
