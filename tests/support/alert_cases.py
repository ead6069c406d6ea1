# SPDX-License-Identifier: Apache-2.0
"""Series that make each alert fire and then fall silent. Written out as
`promtool test rules` wants it by tests/integration/rules_test.py, into
deploy/prometheus/tests/alerts.yml."""
REQ = 'http_requests_total{{service="s",method="GET",route="/x",status_code="{}"}}'
OTHERS = [('up{job="xin-orchestrator",service="xin-orchestrator",instance="o"}', "1x3000"),
          ('up{job="xin-channel-gateway",service="xin-channel-gateway",instance="g"}', "1x3000"),
          ('up{job="xin-ingestion-worker",service="xin-ingestion-worker",instance="w"}', "1x3000")]


def flow(name, *parts):
    """Counter: (rate a minute, minutes) each; as promtool's notation."""
    value, out = 0, []
    for rate, minutes in parts:
        out.append(f"{value}+{rate}x{minutes}")
        value += rate * (minutes + 1)
    return (name, " ".join(out))


def gauge(name, bad, good=0, at=40):
    return (name, f"{bad}x{at} {good}x600")


# name: (series, minute at which it fires, minute at which it is silent)
CASES = {
    "XinTargetDown": ([('up{job="xin-orchestrator",service="s",instance="i"}', "0x20 1x100")], 10, 40),
    "XinTargetAbsent": ([(OTHERS[0][0], "_x20 1x100"), *OTHERS[1:]], 15, 40),
    "XinErrorRate": ([flow(REQ.format("5xx"), (10, 30), (0, 600)),
                      flow(REQ.format("2xx"), (90, 630))], 20, 60),
    "XinLatency": ([flow('http_request_latency_seconds_bucket{service="s",route="/x",le="5.0"}',
                         (0, 40), (60, 600)),
                    flow('http_request_latency_seconds_bucket{service="s",route="/x",le="10.0"}',
                         (60, 640)),
                    flow('http_request_latency_seconds_bucket{service="s",route="/x",le="+Inf"}',
                         (60, 640))], 30, 80),
    "XinErrorBudgetFastBurn": ([flow(REQ.format("5xx"), (10, 70), (0, 600)),
                                flow(REQ.format("2xx"), (90, 670))], 60, 100),
    "XinErrorBudgetSlowBurn": ([flow(REQ.format("5xx"), (5, 400), (0, 600)),
                                flow(REQ.format("2xx"), (95, 1000))], 390, 460),
    "XinDependencyDown": ([gauge('xin_dependency_up{service="s",name="store"}', 0, 1)], 10, 60),
    "XinIngestionStuck": ([gauge("xin_sources_still_seconds", 1000)], 20, 60),
    "XinIngestionBacklog": ([gauge("xin_queue_oldest_wait_seconds", 400),
                             gauge('xin_queue_depth{state="waiting"}', 9)], 30, 60),
    "XinIngestionFailing": ([flow('xin_ingested_total{brand="b",outcome="failed"}', (2, 40), (0, 600)),
                             flow('xin_ingested_total{brand="b",outcome="ready"}', (2, 640))], 30, 80),
    "XinQueueUnread": ([gauge("xin_queue_unread", 1)], 10, 60),
    "XinDeadJobs": ([flow('xin_queue_jobs_total{outcome="dead"}', (0, 5), (1, 30), (0, 600))], 30, 80),
    "XinGuardSpike": ([flow('xin_guard_verdicts_total{brand="b",guard="g",stage="input",action="block"}',
                            (1, 120), (60, 15), (1, 600))], 132, 300),
    "XinTracingDropping": ([flow('xin_tracing_spans_total{service="s",outcome="dropped"}',
                                 (5, 30), (0, 600))], 20, 60),
    "XinTracingFailing": ([flow('xin_tracing_exports_total{service="s",outcome="failed"}',
                                (5, 30), (0, 600)),
                           flow('xin_tracing_exports_total{service="s",outcome="sent"}',
                                (0, 30), (5, 600))], 20, 60),
    "XinScriptReloadFailed": ([gauge('xin_script_last_reload_successful{service="s"}', 0, 1)], 10, 60),
    "XinGenerationSplit": ([('xin_script_generation_info{instance="a",generation="1"}', "1x600"),
                            ('xin_script_generation_info{instance="b",generation="2"}',
                             "1x40 _x560")], 20, 80),
    "XinScriptsKilled": ([flow('xin_script_invocations_total{brand="b",hook="h",outcome="killed"}',
                               (5, 30), (0, 600))], 20, 60),
    "XinLoopHeld": ([flow('xin_loop_held_total{service="s"}', (10, 30), (0, 600))], 20, 60),
    "XinRateLimitOpen": ([flow("xin_rate_limit_open_total", (10, 30), (0, 600))], 20, 60),
    "XinFileDescriptors": ([gauge('process_open_fds{service="s"}', 90, 10),
                            ('process_max_fds{service="s"}', "100x640")], 30, 80),
}


# An outage of 40 minutes: documents wait by design, so the two are silent; and
# told when they still stand after it. A back end that comes and goes is no
# excuse: the same series beside one that is up every other minute.
STILL = [gauge("xin_sources_still_seconds", 1000, at=90)]
WAITING = [gauge("xin_queue_oldest_wait_seconds", 400, at=90),
           gauge('xin_queue_depth{state="waiting"}', 9, at=90)]
AWAY = ('xin_dependency_up{service="s",name="objects"}', "0x40 1x600")
FLAPS = ('xin_dependency_up{service="s",name="objects"}', " ".join(["0 1"] * 300))
OTHER = ('xin_dependency_up{service="s",name="orchestrator"}', "0x600")
OUTAGES = [("XinIngestionStuck", [*STILL, AWAY], ((35, False), (60, True), (120, False))),
           ("XinIngestionStuck", [*STILL, FLAPS], ((35, True), (120, False))),
           ("XinIngestionStuck", [*STILL, OTHER], ((35, True), (120, False))),
           ("XinIngestionBacklog", [*WAITING, AWAY], ((35, False), (70, True), (120, False)))]


# Every alert names its service (checklist 106), these their route too.
BY_ROUTE = {"XinErrorRate", "XinLatency"}


def written():
    """The file: each case asks for the alert by name, present and absent."""
    out = ["# SPDX-License-Identifier: Apache-2.0",
           "# Written from tests/support/alert_cases.py; every alert fires and falls silent.",
           "rule_files: [../rules.yml, ../alerts.yml]", "evaluation_interval: 1m", "tests:"]
    cases = [(name, series, ((fires, True), (silent, False)))
             for name, (series, fires, silent) in CASES.items()]
    for name, series, moments in cases + OUTAGES:
        carries = 'service!=""' + (', route!=""' if name in BY_ROUTE else "")
        out += [f"  - name: {name}", "    interval: 1m", "    input_series:"]
        for text, values in series:
            out += [f"      - series: '{text}'", f"        values: '{values}'"]
        out += ["    promql_expr_test:"]
        for minute, fires in moments:
            out += [f"      - expr: 'count(ALERTS{{alertname=\"{name}\", alertstate=\"firing\", {carries}}}) > 0'",
                    f"        eval_time: {minute}m"]
            out += ["        exp_samples: [{labels: '{}', value: 1}]" if fires
                    else "        exp_samples: []"]
    return "\n".join(out) + "\n"
