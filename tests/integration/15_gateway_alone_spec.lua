-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("a gateway alone", function()
  local server, gateway
  setup(function()
    server = xin.new():start()
    gateway = xin.new()
    gateway.command = "gateway"
    gateway:spawn({ XIN_ORCHESTRATOR_URL = "http://127.0.0.1:" .. server.ports.orchestrator })
    gateway.ports.gateway = xin.wait("the gateway's port", 20, function()
      local first = gateway:events("http.listening")[1]
      return first and first.port
    end)
  end)
  teardown(function()
    gateway:stop()
    server:stop()
  end)

  local function say(id, headers)
    return gateway:webhook({ brand = "alpha", message_id = id, user = { id = "u1" }, text = "hello" }, headers)
  end

  it("asks the orchestrator over HTTP, and one id joins both logs (39)", function()
    local answer = say("g1", { ["x-request-id"] = "chain-of-two" })
    assert.equal(200, answer.status, answer.text)
    assert.matches("looking for today", answer.json.reply.text)
    assert.is_false(answer.json.duplicate)
    for _, process in ipairs({ server, gateway }) do
      xin.wait("the id in both logs", 10, function()
        for _, line in ipairs(process:events("http.request")) do
          if line.correlation_id == "chain-of-two" then return true end
        end
      end)
    end
  end)

  it("gives a duplicate the first answer", function()
    local first, second = say("g2"), say("g2")
    assert.is_true(second.json.duplicate)
    assert.equal(first.json.turn_id, second.json.turn_id)
  end)

  it("is ready by itself, and says so when the orchestrator is away", function()
    local health = assert(xin.request(gateway.ports.gateway, "GET", "/health"))
    assert.equal(200, health.status)
    server:kill()
    local answer = say("g3")
    assert.equal(503, answer.status, answer.text)
    assert.is_true(answer.json.error.retryable)
    server:start()
  end)
end)
