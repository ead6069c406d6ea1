-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

-- `xin scripts wait` against two processes that see folders of their own, as
-- two pods see a ConfigMap at different times.
describe("xin scripts wait", function()
  local server, gateway, first
  setup(function()
    server = xin.new():start()
    gateway = xin.new()
    gateway.command = "gateway"
    gateway:spawn({ XIN_ORCHESTRATOR_URL = "http://127.0.0.1:" .. server.ports.orchestrator })
    gateway.ports.gateway = xin.wait("the gateway's port", 20, function()
      local event = gateway:events("http.listening")[1]
      return event and math.floor(event.port)
    end)
    first = server:ask("GET", "/v1/scripts").json.active.hash
  end)
  teardown(function()
    gateway:stop()
    server:stop()
  end)

  local function url(port) return "http://127.0.0.1:" .. port end

  local function wait(arguments)
    local text = xin.shell(("cd '%s' && env -i PATH=\"$PATH\" XIN_URL=%s timeout 60 '%s' scripts wait %s 2>&1; echo $?"):format(
      server.home, url(server.ports.orchestrator), xin.binary, arguments))
    local said, code = text:match("^(.-)\n?(%d+)$")
    return tonumber(code), said
  end

  local function both() return url(server.ports.orchestrator) .. " " .. url(gateway.ports.gateway) end

  local function comment(process, text)
    local path = "brands/alpha.lua"
    process:script(path, xin.read(process.home .. "/lua/" .. path) .. "\n-- " .. text .. "\n")
  end

  it("is content with what is active, by hash and by its beginning", function()
    local code, said = wait("--hash " .. first)
    assert.equal(0, code, said)
    assert.matches("^generation " .. first:sub(1, 12) .. " is active", said)
    code, said = wait(("--hash %s %s"):format(first:sub(1, 8), both()))
    assert.equal(0, code, said)
    assert.matches("is active on 2 replicas", said)
    assert.equal(0, (wait(("--hash %s %s"):format(first, both()))))
  end)

  it("waits for the last replica, and names it when it is late", function()
    comment(server, "new")
    local code, said = wait(("--since %s --timeout 20 %s"):format(first, url(server.ports.orchestrator)))
    assert.equal(0, code, said)
    local second = server:ask("GET", "/v1/scripts").json.active.hash
    assert.are_not.equal(first, second)
    code, said = wait(("--hash %s --timeout 1 %s"):format(second, both()))
    assert.equal(1, code, said)
    assert.matches("not so after 1 s: " .. url(gateway.ports.gateway) .. "/metrics runs " .. first:sub(1, 12), said, 1, true)
    comment(gateway, "new")
    code, said = wait(("--hash %s --timeout 20 %s"):format(second, both()))
    assert.equal(0, code, said)
    code, said = wait(("--since %s --timeout 1 %s"):format(second, both()))
    assert.equal(1, code, said)
  end)

  it("ends at once when the generation was refused, and says why", function()
    server:script("brands/alpha.lua", "return {")
    xin.wait("the refusal", 10, function()
      return server:ask("GET", "/v1/scripts").json.last_attempt.result == "rejected"
    end)
    local refused = server:ask("GET", "/v1/scripts").json.last_attempt.hash
    local code, said = wait("--timeout 30 --hash " .. refused)
    assert.equal(1, code)
    assert.matches("brands/alpha.lua", said, 1, true)
    assert.matches("was rejected", said)
    code, said = wait(("--timeout 1 --hash %s %s"):format(refused, url(server.ports.orchestrator)))
    assert.equal(1, code)
    assert.matches("and refused what it was last given", said)
  end)

  it("says what cannot be reached or resolved, and never waits for ever", function()
    local code, said = wait("--timeout 1 --hash abcdef http://127.0.0.1:1")
    assert.equal(1, code)
    assert.matches("not so after 1 s: http://127.0.0.1:1/metrics", said, 1, true)
    code, said = wait("--timeout 1 --hash abcdef http://no-such-host.invalid:80")
    assert.equal(1, code)
    assert.matches("no-such-host.invalid", said, 1, true)
  end)

  it("refuses wrong usage", function()
    for _, arguments in ipairs({ "", "--hash abc", "--hash abcdef --since abcdef", "--hash abcdef --timeout soon" }) do
      local code, said = wait(arguments)
      assert.equal(2, code, said)
      assert.matches("usage: xin scripts wait", said)
    end
    local code, said = wait("--hash abcdef https://127.0.0.1:1")
    assert.equal(1, code)
    assert.matches("is no http://host:port of a service", said, 1, true)
  end)
end)
