-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("the playground", function()
  local server
  setup(function() server = xin.new():start() end)
  teardown(function() server:stop() end)

  local function try(body)
    return assert(server:ask("POST", "/v1/brands/default/playground", body, nil, 60))
  end

  local function route_to(words)
    local text = xin.read(server.home .. "/lua/brands/default.lua")
    local edited, count = text:gsub("function M.route%(turn%)",
      "function M.route(turn)\n  if turn.text == 'ping' then return { route = 'reply', reply = '" .. words .. "' } end", 1)
    assert.equal(1, count)
    return edited
  end

  it("sends a message through an edited script and stores nothing", function()
    local answer = try({ message = "ping", files = { ["brands/default.lua"] = route_to("pong") } })
    assert.equal(200, answer.status, answer.text)
    assert.is_true(answer.json.ok)
    assert.equal("pong", answer.json.turn.reply)
    local names = {}
    for _, step in ipairs(answer.json.steps) do names[step.step] = true end
    assert.is_true(names.route and names.guard and names.done)
    assert.are_not.equal("pong", server:turn("default", "ping").json.reply)
    local talks = server:ask("GET", "/v1/brands/default/conversations?user_id=playground").json.items
    assert.equal(0, #talks)
  end)

  it("says where an edit is wrong", function()
    local answer = try({ message = "ping", files = { ["brands/default.lua"] = "return {\n  nonsense(\n" } })
    assert.equal(200, answer.status, answer.text)
    assert.is_false(answer.json.ok)
    assert.equal("brands/default.lua", answer.json.errors[1].file)
    assert.is_nil(answer.json.turn)
  end)

  it("shows what one guardrail makes of a text", function()
    local answer = try({ guard = "card_numbers", text = "pay 4111 1111 1111 1111 now" })
    assert.equal("rewrite", answer.json.steps[1].action)
    assert.is_nil(answer.json.text:find("4111"))
  end)

  it("refuses names outside the scripts, and half a request", function()
    assert.equal(400, try({ message = "x", files = { ["../etc/passwd"] = "" } }).status)
    assert.equal(400, try({}).status)
    assert.equal(400, try({ guard = "card_numbers" }).status)
  end)
end)
