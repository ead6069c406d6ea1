/* SPDX-License-Identifier: Apache-2.0 */
/* Watching a folder for changes with inotify (uv_fs_event). */
#include "fiber/internal.h"

struct watch {
	uv_fs_event_t handle;
	loop_fn changed;
	void *arg;
};

static void
on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
	struct watch *watch = handle->data;

	(void)name;
	(void)events;
	(void)status; /* an error may hide a change: let the caller look */
	watch->changed(watch->arg);
}

static void
on_close(uv_handle_t *handle)
{
	mem_free(handle->data);
}

enum err_code
watch_open(
    const char *folder, loop_fn changed, void *arg, struct watch **watch_out)
{
	struct watch *watch = mem_zero(sizeof(*watch));
	int rc;

	must(loop_self() != NULL);
	watch->changed = changed;
	watch->arg = arg;
	uv_fs_event_init(loop_uv(loop_self()), &watch->handle);
	watch->handle.data = watch;
	rc = uv_fs_event_start(&watch->handle, on_event, folder, 0);
	if (rc != 0) {
		uv_close((uv_handle_t *)&watch->handle, on_close);
		return err_set(rc == UV_ENOENT ? ERR_NOT_FOUND : ERR_IO,
		    "cannot watch %s: %s", folder, uv_strerror(rc));
	}
	/* A watch is no work to wait for when the loop drains. */
	uv_unref((uv_handle_t *)&watch->handle);
	*watch_out = watch;
	return OK;
}

void
watch_close(struct watch *watch)
{
	if (watch == NULL)
		return;
	watch->changed = NULL;
	uv_fs_event_stop(&watch->handle);
	uv_close((uv_handle_t *)&watch->handle, on_close);
}
