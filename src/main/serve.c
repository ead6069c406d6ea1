/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services: `xin serve` runs all three, `xin gateway`, `xin orchestrator`
 * and `xin worker` one each. Open what they stand on, start them, wait for a
 * signal, stop everything in reverse order. Main's thread runs no loop: it
 * waits for signals.
 */
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/task.h"
#include "binding/binding.h"
#include "domain/auth.h"
#include "domain/feed.h"
#include "domain/knowledge_watch.h"
#include "domain/scripts.h"
#include "domain/service_api.h"
#include "domain/vitals.h"
#include "domain/trace_content.h"
#include "fiber/loop.h"
#include "gateway/gateway.h"
#include "main/back_ends.h"
#include "main/command.h"
#include "main/figures.h"
#include "net/url.h"
#include "orchestrator/orchestrator.h"
#include "script/script.h"
#include "store/store.h"
#include "telemetry/telemetry.h"
#include "text/match.h"
#include "worker/worker.h"

static struct {
	struct product product;
	struct http_server *orchestrator, *gateway;
	struct http_server *gateway_exporter, *worker_exporter;
	bool loops, scripts, worker, watch;
} house;

/* ---- start ---- */

static bool
is_loopback(const char *listen)
{
	char host[256];
	int port;

	if (url_host_port(listen, host, sizeof(host), &port) != OK)
		return false;
	return str_starts(host, "127.") || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

static const char *
listen_of(enum config setting, const char *fallback)
{
	const char *listen = config_str(setting);

	return listen[0] != '\0' ? listen : fallback;
}

enum err_code
command_log(void)
{
	const char *format = config_str(CFG_LOG_FORMAT);
	enum log_level level;

	if (!log_level_parse(config_str(CFG_LOG_LEVEL), &level))
		return err_set(ERR_CONFIG,
		    "XIN_LOG_LEVEL is \"%s\"; known are debug, info, warning, "
		    "error",
		    config_str(CFG_LOG_LEVEL));
	if (strcmp(format, "json") != 0 && strcmp(format, "pretty") != 0 &&
	    strcmp(format, "auto") != 0)
		return err_set(ERR_CONFIG,
		    "XIN_LOG_FORMAT is \"%s\"; known are json, pretty, auto",
		    format);
	log_setup(STDOUT_FILENO, level,
	    strcmp(format, "pretty") == 0 ||
		(strcmp(format, "auto") == 0 && isatty(STDOUT_FILENO)));
	log_limit((unsigned)config_int(CFG_LOG_REPEATS));
	log_start();
	return OK;
}

static enum err_code
setup_metrics(void)
{
	const char *setting = config_str(CFG_METRICS);

	if (strcmp(setting, "off") == 0)
		metric_switch_off();
	else if (strcmp(setting, "on") != 0)
		return err_set(ERR_CONFIG,
		    "XIN_METRICS is \"%s\"; known are on, off", setting);
	return OK;
}

/* Files: as many as the system lets us; each connection is one. */
static void
raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* The webhooks' secret must be one of ours where others can connect. */
static enum err_code
check_webhook_secret(const char *listen)
{
	if (is_loopback(listen) || config_is_set(CFG_WEBHOOK_SECRET) ||
	    strcmp(config_str(CFG_AUTH), "open") == 0)
		return OK;
	return err_set(ERR_CONFIG,
	    "%s is not loopback and GATEWAY_WEBHOOK_SECRET is the default: set "
	    "it, or say XIN_AUTH=open",
	    listen);
}

/* Open access: nobody asked for keys and only this machine can connect. */
static enum err_code
decide_access(const char *orchestrator, const char *gateway)
{
	const char *auth = config_str(CFG_AUTH);
	bool near = is_loopback(orchestrator);
	int64_t keys;

	if (auth[0] != '\0' && strcmp(auth, "keys") != 0 &&
	    strcmp(auth, "open") != 0)
		return err_set(ERR_CONFIG, "XIN_AUTH must be keys or open");
	TRY(auth_seed(&house.product));
	TRY(store_key_count(house.product.store, &keys));
	if (strcmp(auth, "open") == 0) {
		log_warn("auth.open",
		    kv_str("reason", "XIN_AUTH=open: everybody who can connect "
				     "may do everything"));
		house.product.open_access = true;
		return OK;
	}
	house.product.open_access = auth[0] == '\0' && near && keys == 0;
	if (!near && keys == 0)
		return err_set(ERR_CONFIG,
		    "%s is not loopback and there is no API key: set "
		    "XIN_ADMIN_KEY, or say XIN_AUTH=open",
		    orchestrator);
	return gateway != NULL ? check_webhook_secret(gateway) : OK;
}

struct listens {
	const char *orchestrator, *gateway; /* NULL = not of this process */
};

static enum err_code
decide_on_loop(void *arg)
{
	const struct listens *listens = arg;

	return decide_access(listens->orchestrator, listens->gateway);
}

static enum err_code
open_gateway_exporter(struct product *product)
{
	return service_exporter_open(product, SERVICE_GATEWAY,
	    config_str(CFG_GATEWAY_METRICS_HOST),
	    (int)config_int(CFG_GATEWAY_METRICS_PORT), &house.gateway_exporter);
}

static enum err_code
open_orchestrator(const char *listen)
{
	TRY(orchestrator_open(&house.product, listen, &house.orchestrator));
	TRY(knowledge_watch_start(&house.product));
	house.watch = true;
	return OK;
}

static enum err_code
open_worker(void)
{
	TRY(worker_start(&house.product));
	house.worker = true;
	return service_exporter_open(&house.product, SERVICE_WORKER,
	    config_str(CFG_INGEST_METRICS_HOST),
	    (int)config_int(CFG_INGEST_METRICS_PORT), &house.worker_exporter);
}

static enum err_code
open_pattern_cache(void)
{
	char *path = mem_printf("%s/patterns", config_str(CFG_DATA_DIR));
	enum err_code rc = back_ends_folder();

	if (rc == OK)
		rc = match_cache_open(path);
	mem_free(path);
	return rc;
}

static enum err_code
start_common(void)
{
	TRY(trace_content_check());
	raise_files();
	TRY(match_platform_check());
	TRY(open_pattern_cache());
	TRY(loops_start((unsigned)config_int(CFG_LOOPS)));
	house.loops = true;
	figures_show();
	script_setup(binding_open);
	return OK;
}

static void
say_ready(void)
{
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/",
	    http_server_port(house.orchestrator));
	log_info("console.ready", kv_str("url", url));
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n  Xin is ready: %s\n\n", url);
}

static enum err_code
start_scripts(struct product *product)
{
	house.scripts = true;
	return scripts_start(product);
}

static enum err_code
start_serve(void)
{
	struct listens listens = {
		listen_of(CFG_ORCHESTRATOR_LISTEN, "127.0.0.1:8000"),
		listen_of(CFG_GATEWAY_LISTEN, "127.0.0.1:8080"),
	};
	int applied, version;

	TRY(start_common());
	TRY(back_ends_migrate(&applied, &version));
	TRY(back_ends_open(&house.product));
	for (int s = SERVICE_GATEWAY; s < SERVICE_COUNT; s++)
		TRY(telemetry_init_tracing((enum service)s));
	TRY(loop_call(loop_at(0), decide_on_loop, &listens));
	TRY(start_scripts(&house.product));
	TRY(open_orchestrator(listens.orchestrator));
	TRY(gateway_open(&house.product, listens.gateway, orchestrator_routes,
	    orchestrator_before, &house.gateway));
	TRY(open_gateway_exporter(&house.product));
	TRY(open_worker());
	TRY(vitals_start(&house.product, SERVICE_COUNT));
	say_ready();
	return OK;
}

static enum err_code
start_gateway(void)
{
	const char *listen = listen_of(CFG_GATEWAY_LISTEN, "0.0.0.0:8080");

	if (config_str(CFG_ORCHESTRATOR_URL)[0] == '\0')
		return err_set(ERR_CONFIG,
		    "set XIN_ORCHESTRATOR_URL: `xin gateway` asks it");
	TRY(check_webhook_secret(listen));
	TRY(start_common());
	service_process_owner(SERVICE_GATEWAY);
	TRY(telemetry_init_tracing(SERVICE_GATEWAY));
	TRY(start_scripts(NULL));
	TRY(gateway_open(NULL, listen, NULL, NULL, &house.gateway));
	TRY(open_gateway_exporter(NULL));
	return vitals_start(NULL, SERVICE_GATEWAY);
}

static enum err_code
start_orchestrator(void)
{
	struct listens listens = {
		listen_of(CFG_ORCHESTRATOR_LISTEN, "0.0.0.0:8000"),
		NULL,
	};

	TRY(back_ends_shared("orchestrator"));
	TRY(start_common());
	TRY(back_ends_open(&house.product));
	TRY(telemetry_init_tracing(SERVICE_ORCHESTRATOR));
	TRY(loop_call(loop_at(0), decide_on_loop, &listens));
	TRY(start_scripts(&house.product));
	TRY(open_orchestrator(listens.orchestrator));
	TRY(vitals_start(&house.product, SERVICE_ORCHESTRATOR));
	say_ready();
	return OK;
}

static enum err_code
start_worker(void)
{
	TRY(back_ends_shared("worker"));
	TRY(start_common());
	service_process_owner(SERVICE_WORKER);
	TRY(back_ends_open(&house.product));
	TRY(telemetry_init_tracing(SERVICE_WORKER));
	TRY(start_scripts(&house.product));
	TRY(open_worker());
	return vitals_start(&house.product, SERVICE_WORKER);
}

/* ---- stop ---- */

static void
close_server(struct http_server *server, uint64_t drain_ms)
{
	if (server == NULL)
		return;
	http_server_close(server, drain_ms);
	http_server_free(server);
}

/* The last spans get a second even when the drain has used its time up. */
static uint64_t
flush_ms(uint64_t until)
{
	uint64_t left = deadline_left_ms(until);

	return left < 1000 ? 1000 : left > 5000 ? 5000 : left;
}

/* Balancers learn from /health, or from who sent the signal, that this replica
 * leaves, and need a while for it: serve on until then, or until a second
 * signal. Jobs come from the queue: no balancer has to learn anything. */
static void
leave(const sigset_t *signals)
{
	struct http_server *servers[] = { house.gateway, house.orchestrator };
	int64_t ms = config_int(CFG_DRAIN_DELAY_MS);
	struct timespec delay = { ms / 1000, ms % 1000 * 1000000 };
	bool serving = false;

	service_drain();
	for (size_t i = 0; i < 2; i++) {
		if (servers[i] == NULL)
			continue;
		http_server_leave(servers[i]);
		serving = true;
	}
	if (serving && ms > 0)
		sigtimedwait(signals, NULL, &delay);
}

static void
stop(void)
{
	uint64_t until = deadline_in_ms((uint64_t)config_int(CFG_DRAIN_MS));

	service_drain();
	feed_close();
	close_server(house.gateway, deadline_left_ms(until));
	close_server(house.orchestrator, deadline_left_ms(until));
	if (house.watch)
		knowledge_watch_stop();
	if (house.worker)
		worker_stop(deadline_left_ms(until));
	close_server(house.gateway_exporter, 0);
	close_server(house.worker_exporter, 0);
	vitals_stop();
	if (house.scripts) {
		scripts_stop();
		script_teardown();
	}
	if (house.loops)
		loops_stop(deadline_left_ms(until));
	telemetry_stop(flush_ms(until));
	back_ends_close(&house.product);
}

static void
wait_for_signal(const sigset_t *signals)
{
	bool accepted;
	int signal;

	while (sigwait(signals, &signal) == 0) {
		if (signal != SIGHUP) {
			log_info("process.stopping", kv_int("signal", signal));
			return;
		}
		if (scripts_reload(&accepted) != OK)
			log_warn("scripts.reload_failed",
			    kv_str("error", err_message()));
	}
}

static int
run(const char *name, enum service service, enum err_code (*start)(void))
{
	sigset_t signals;
	enum err_code rc;

	/* Before any thread, so that all inherit it: main's sigwait gets them.
	 */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	log_owner(service);
	rc = config_load(".env");
	if (rc == OK)
		rc = command_log();
	if (rc == OK)
		rc = setup_metrics();
	if (rc == OK) {
		log_info("process.started", kv_str("command", name),
		    kv_str("version", XIN_VERSION), kv_int("pid", getpid()));
		rc = start();
	}
	if (rc == OK) {
		wait_for_signal(&signals);
		leave(&signals);
	} else {
		log_error("process.failed", kv_str("error_code", err_name(rc)),
		    kv_str("error", err_message()));
	}
	stop();
	if (rc == OK)
		log_info("process.stopped");
	log_stop(COMMAND_LOG_MS);
	return rc == OK ? 0 : 1;
}

static int
no_words(int argc, char **argv)
{
	if (argc == 0)
		return 0;
	fprintf(stderr, "xin: unexpected \"%s\"\n", argv[0]);
	return 2;
}

int
command_serve(int argc, char **argv)
{
	return no_words(argc, argv) ?: run("serve", SERVICE_NONE, start_serve);
}

int
command_gateway(int argc, char **argv)
{
	return no_words(argc, argv)
		   ?: run("gateway", SERVICE_GATEWAY, start_gateway);
}

int
command_orchestrator(int argc, char **argv)
{
	return no_words(argc, argv)
		   ?: run("orchestrator", SERVICE_ORCHESTRATOR,
			  start_orchestrator);
}

int
command_worker(int argc, char **argv)
{
	return no_words(argc, argv)
		   ?: run("worker", SERVICE_WORKER, start_worker);
}
