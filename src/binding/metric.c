/* SPDX-License-Identifier: Apache-2.0 */
/* xin.metric: counters of what a conversation came to, under names from a
 * fixed list: a label made from script data would be a flood of series. */
#include "base/metric.h"

#include "base/str.h"
#include "binding/internal.h"

static const char *const names[] = { "answer", "greeting", "small_talk",
	"handoff", "off_topic", "no_answer", "clarification", "feedback",
	"goal_reached", "goal_missed", NULL };

static int
metric_count_(lua_State *lua)
{
	const char *name = names[luaL_checkoption(lua, 1, NULL, names)];
	struct script_session *session = script_running(lua);

	if (session != NULL)
		metric_count(METRIC_SCRIPT_EVENTS,
		    LABELS(script_session_brand(session), name), 1);
	return 0;
}

static const struct binding_function functions[] = {
	{ "count", metric_count_, IN_HOOKS, "name xin.MetricName", NULL,
	    "Count one in xin_script_events_total under this name and the "
	    "brand." },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const struct binding_module binding__metric = { "metric", "Counters.",
	functions, false };
