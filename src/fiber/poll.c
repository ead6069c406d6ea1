/* SPDX-License-Identifier: Apache-2.0 */
/* Readiness of descriptors (uv_poll) without uv's header for those above. */
#include <string.h>

#include "fiber/internal.h"

struct loop_poll {
	uv_poll_t handle;
	loop_fn ready;
	void *arg;
	int events;
};

static void
on_ready(uv_poll_t *handle, int status, int events)
{
	struct loop_poll *poll = handle->data;

	(void)status; /* the read or write that follows says what is wrong */
	(void)events;
	poll->ready(poll->arg);
}

enum err_code
loop_poll_open(int fd, loop_fn ready, void *arg, struct loop_poll **poll_out)
{
	struct loop_poll *poll = mem_zero(sizeof(*poll));
	int rc;

	must(loop_self() != NULL);
	rc = uv_poll_init(loop_uv(loop_self()), &poll->handle, fd);
	if (rc != 0) {
		mem_free(poll);
		return err_set(ERR_IO, "cannot poll descriptor %d: %s", fd,
		    uv_strerror(rc));
	}
	poll->handle.data = poll;
	poll->ready = ready;
	poll->arg = arg;
	*poll_out = poll;
	return OK;
}

void
loop_poll_set(struct loop_poll *poll, int events)
{
	int flags = 0;

	if (poll->events == events)
		return;
	poll->events = events;
	if (events & LOOP_READABLE)
		flags |= UV_READABLE;
	if (events & LOOP_WRITABLE)
		flags |= UV_WRITABLE;
	if (flags == 0)
		uv_poll_stop(&poll->handle);
	else
		uv_poll_start(&poll->handle, flags, on_ready);
}

void
loop_poll_background(struct loop_poll *poll, bool background)
{
	if (background)
		uv_unref((uv_handle_t *)&poll->handle);
	else
		uv_ref((uv_handle_t *)&poll->handle);
}

static void
on_close(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
loop_poll_close(struct loop_poll *poll)
{
	if (poll == NULL)
		return;
	uv_poll_stop(&poll->handle);
	uv_close((uv_handle_t *)&poll->handle, on_close);
}
