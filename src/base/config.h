/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_CONFIG_H
#define XIN_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Settings: one table (config.def) gives the names, defaults, bounds and the
 * sentences of `--help`. Read once at start from the environment and from
 * `.env` in the working folder (the environment wins); constant afterwards, so
 * every thread reads without a lock.
 */

enum config_type { CONFIG_STR, CONFIG_INT, CONFIG_SECRET };

enum config {
#define CONFIG(sym, type, name, fallback, min, max, help) sym,
#include "base/config.def"
#undef CONFIG
	CONFIG_COUNT
};

/* Load everything; ERR_CONFIG names the setting and says what to do. Unknown
 * XIN_* names are refused with the nearest known one; shapes that Kubernetes
 * service links leave behind are ignored with one WARN each. */
enum err_code config_load(const char *env_file);

/* Empty strings count as unset: "" is returned for an unset setting. */
const char *config_str(enum config setting);
int64_t config_int(enum config setting);
bool config_is_set(enum config setting);
/* GATEWAY_WEBHOOK_SECRET_<BRAND>: upper case, "-" as "_"; NULL when unset. */
const char *config_brand_secret(const char *brand_id);

/* For commands and tests, before threads start. */
void config_override(enum config setting, const char *value);
/* The table as text for `xin help settings`. */
void config_describe(struct buf *out);
const char *config_name(enum config setting);
/* All ceilings with their values, as a JSON object, for /v1/limits. */
void config_limits_json(struct buf *out);

#endif
