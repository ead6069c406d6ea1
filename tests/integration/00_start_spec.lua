-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("start", function()
  local server
  setup(function() server = xin.new():start() end)
  teardown(function() server:stop() end)

  it("is ready on every port and says so at /health (102)", function()
    for name, port in pairs(server.ports) do
      local answer = assert(xin.request(port, "GET", "/health"))
      assert.equal(200, answer.status, name)
      assert.equal("ok", answer.json.status, name)
      assert.equal(200, assert(xin.request(port, "GET", "/health/live")).status, name)
    end
    assert.is_not_nil(server.ports.gateway_metrics)
    assert.is_not_nil(server.ports.worker_metrics)
  end)

  it("writes one JSON object a line with event, level and timestamp (35)", function()
    local events = server:events()
    assert.is_true(#events > 5)
    for _, event in ipairs(events) do
      assert.is_string(event.event)
      assert.is_string(event.level)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d", event.timestamp)
    end
  end)

  it("refuses a second process on the same data folder in words", function()
    local second = setmetatable({ home = server.home, starts = 90, ports = {} }, getmetatable(server))
    second:spawn()
    xin.wait("the second to end", 20, function() return not second:running() end)
    assert.equal(200, server:ask("GET", "/health").status)
    assert.is_not_nil(second:events("process.failed")[1])
  end)

  it("names a wrong port value and does not start (25)", function()
    for _, name in ipairs({ "GATEWAY_METRICS_PORT", "INGEST_METRICS_PORT" }) do
      local wrong = xin.new()
      wrong:spawn({ [name] = "99999" })
      xin.wait("it to end", 20, function() return not wrong:running() end)
      local said = (xin.read(wrong.log_path) or "") .. (xin.read(wrong.log_path .. ".err") or "")
      assert.matches(name, said, 1, true)
      wrong:stop()
    end
  end)

  it("names the nearest setting when one is unknown", function()
    local wrong = xin.new()
    wrong:spawn({ XIN_DATA_DIRR = "x" })
    xin.wait("it to end", 20, function() return not wrong:running() end)
    local said = (xin.read(wrong.log_path) or "") .. (xin.read(wrong.log_path .. ".err") or "")
    assert.matches("XIN_DATA_DIR", said, 1, true)
    wrong:stop()
  end)

  it("serves the console under its policy and the description as JSON", function()
    local page = server:ask("GET", "/")
    assert.equal(200, page.status)
    assert.matches("default%-src 'none'", page.headers["content-security-policy"])
    assert.equal("3.1.0", server:ask("GET", "/openapi.json").json.openapi)
    assert.equal(200, server:ask("GET", "/docs").status)
    assert.equal(404, server:ask("GET", "/console/none.js").status)
  end)

  it("ends cleanly at SIGTERM and keeps its data over kill -9", function()
    local other = xin.new():start()
    local source = other:ready("default", "kept.md", "# Kept\n\nThe walrus sleeps on ice.\n")
    other:kill()
    other:start()
    assert.equal("ready", other:ask("GET", source.links.self).json.status)
    other:signal("TERM")
    xin.wait("the process to end", 20, function() return not other:running() end)
    assert.is_not_nil(other:events("process.stopped")[1])
    other:stop()
  end)
end)
