/* SPDX-License-Identifier: Apache-2.0 */
/* The running task of each thread, and arithmetic with deadlines. */
#include "base/task.h"

#include "base/clock.h"

#define TASK_MEMORY_BYTES ((size_t)256 << 20)

static _Thread_local struct task *current;

const char *
service_name(enum service service)
{
	static const char *const names[SERVICE_COUNT] = {
		[SERVICE_NONE] = "xin",
		[SERVICE_GATEWAY] = "xin-channel-gateway",
		[SERVICE_ORCHESTRATOR] = "xin-orchestrator",
		[SERVICE_WORKER] = "xin-ingestion-worker",
	};

	return (unsigned)service < SERVICE_COUNT ? names[service] : "xin";
}

void
task_init(struct task *task, enum service service)
{
	memset(task, 0, sizeof(*task));
	arena_init(&task->arena, TASK_MEMORY_BYTES);
	task->service = service;
}

void
task_done(struct task *task)
{
	if (current == task)
		current = NULL;
	arena_done(&task->arena);
}

void
task_inherit(struct task *task, const struct task *like)
{
	task->service = like->service;
	memcpy(task->request_id, like->request_id, sizeof(task->request_id));
	memcpy(task->brand_id, like->brand_id, sizeof(task->brand_id));
	memcpy(task->generation, like->generation, sizeof(task->generation));
	memcpy(task->trace_id, like->trace_id, sizeof(task->trace_id));
	memcpy(task->span_id, like->span_id, sizeof(task->span_id));
	task->trace_flags = like->trace_flags;
	task->span = NULL;
	task->tracestate = NULL;
	task->baggage = NULL;
	if (like->tracestate != NULL)
		task->tracestate = arena_strdup(&task->arena, like->tracestate);
	if (like->baggage != NULL)
		task->baggage = arena_strdup(&task->arena, like->baggage);
}

/* Not inlined: a fiber's thread-local must be read again after a switch. */
__attribute__((noinline)) struct task *
task_self(void)
{
	return current;
}

__attribute__((noinline)) void
task_enter(struct task *task)
{
	current = task;
}

uint64_t
deadline_left_ms(uint64_t deadline_ms)
{
	uint64_t now;

	if (deadline_ms == 0)
		return UINT64_MAX;
	now = clock_mono_ms();
	return deadline_ms > now ? deadline_ms - now : 0;
}

uint64_t
deadline_in_ms(uint64_t ms)
{
	return clock_mono_ms() + ms;
}

uint64_t
deadline_min(uint64_t a, uint64_t b)
{
	if (a == 0 || b == 0)
		return a == 0 ? b : a;
	return a < b ? a : b;
}
