-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("telemetry", function()
  local server
  setup(function() server = xin.new():start() end)
  teardown(function() server:stop() end)

  local function exposition(port)
    local answer = assert(xin.request(port, "GET", "/metrics"))
    assert.equal(200, answer.status)
    assert.matches("text/plain", answer.headers["content-type"])
    return answer.text
  end

  it("is exposed on every service and exporter port (18, 20, 21, 23)", function()
    for name, port in pairs(server.ports) do
      assert.matches("# TYPE ", exposition(port), 1, true, name)
    end
  end)

  it("has the latency histogram by templated route (27, 28)", function()
    server:turn("default", "hello")
    server:turn("alpha", "hello")
    local text = exposition(server.ports.orchestrator)
    assert.matches("http_request_latency_seconds_bucket", text, 1, true)
    assert.matches('route="/v1/brands/{brand_id}/turns"', text, 1, true)
    assert.is_nil(text:find("v1/brands/alpha", 1, true))
    assert.matches("http_request_latency_seconds_sum", text, 1, true)
    assert.matches("http_request_latency_seconds_count", text, 1, true)
  end)

  it("counts requests by class of status (29)", function()
    server:turn("nobody", "hello")
    local text = exposition(server.ports.orchestrator)
    assert.matches('http_requests_total{[^\n]*status_code="2xx"', text)
    assert.matches('http_requests_total{[^\n]*status_code="4xx"', text)
  end)

  it("is a well formed exposition (30)", function()
    for name, port in pairs(server.ports) do
      local typed = {}
      for line in exposition(port):gmatch("[^\n]+") do
        local family = line:match("^# TYPE (%S+)")
        if family then
          assert.is_nil(typed[family], name .. ": a family twice: " .. family)
          typed[family] = true
        elseif line:sub(1, 1) ~= "#" then
          local metric, value = line:match("^([%a_:][%w_:]*)%b{} (%S+)$")
          if not metric then metric, value = line:match("^([%a_:][%w_:]*) (%S+)$") end
          assert.is_truthy(metric, name .. ": " .. line)
          assert.is_truthy(tonumber(value) or value:match("^[+-]?Inf$") or value == "NaN", line)
          local base = metric:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
          assert.is_true(typed[metric] or typed[base], "no TYPE for " .. metric)
        end
      end
    end
  end)

  it("keeps the caller's X-Request-ID on 2xx and 4xx, and makes one otherwise (37, 38)", function()
    for i, path in ipairs({ "/health", "/v1/brands", "/nothing", "/v1/brands/nobody/knowledge" }) do
      local answer = server:ask("GET", path, nil, { ["x-request-id"] = "mine-" .. i })
      assert.equal("mine-" .. i, answer.headers["x-request-id"], path)
      local fresh = server:ask("GET", path)
      assert.is_true(#fresh.headers["x-request-id"] > 7, path)
    end
  end)

  it("carries one id from the webhook through the gateway to the orchestrator (36, 39)", function()
    server:webhook({ brand = "default", message_id = "t1", user = { id = "u" }, text = "hello" },
      { ["x-request-id"] = "chain-1" })
    local services = xin.wait("both services' lines", 5, function()
      local seen = {}
      for _, event in ipairs(server:events()) do
        if event.correlation_id == "chain-1" then seen[event.service] = true end
      end
      return seen["xin-channel-gateway"] and seen["xin-orchestrator"] and seen
    end)
    assert.is_true(services["xin-orchestrator"])
  end)

  it("carries the upload's id to the worker (39)", function()
    local source = assert(server:ask("POST", "/v1/brands/default/knowledge?wait=20",
      { title = "chain", content = "# Chain\n\nA lynx walks." }, { ["x-request-id"] = "chain-2" })).json
    assert.equal("chain-2", source.correlation_id)
    xin.wait("the worker's lines", 10, function()
      for _, event in ipairs(server:events()) do
        if event.correlation_id == "chain-2" and event.service == "xin-ingestion-worker" then return true end
      end
    end)
  end)

  it("says once for each service that tracing is off (6, 7)", function()
    local seen = {}
    for _, event in ipairs(server:events("tracing disabled; operating without OTLP exporter")) do
      seen[event.service] = (seen[event.service] or 0) + 1
    end
    assert.same({ ["xin-channel-gateway"] = 1, ["xin-orchestrator"] = 1, ["xin-ingestion-worker"] = 1 }, seen)
    assert.equal("warning", server:events("distributed tracing disabled; no OTLP endpoint configured")[1].level)
  end)

  it("goes on without an exporter whose port is taken (22, 24, 26)", function()
    local second = xin.new():start({
      GATEWAY_METRICS_PORT = tostring(server.ports.gateway_metrics),
      INGEST_METRICS_PORT = tostring(server.ports.worker_metrics),
    })
    assert.equal(2, #second:events("metrics exporter disabled; port in use"))
    assert.equal(200, second:turn("default", "hello").status)
    assert.equal(200, assert(xin.request(server.ports.gateway_metrics, "GET", "/metrics")).status)
    second:stop()
  end)
end)
