-- SPDX-License-Identifier: Apache-2.0
--- Every route of the OpenAPI document, called with one brand's key and another
--- brand's name or ids: what is not yours does not exist.
local xin = require("xin")

-- The smallest valid body of each route that has one.
local BODIES = {
  search = { query = "refund" },
  createTurn = { message = "hello" },
  rateTurn = { rating = "up" },
  tryScripts = { message = "hello" },
}

describe("a brand's key", function()
  local server, document, key, ids
  setup(function()
    server = xin.new():start({ XIN_ADMIN_KEY = "xin_" .. ("a"):rep(43) })
    local admin = { authorization = "Bearer xin_" .. ("a"):rep(43) }
    key = { authorization = "Bearer "
      .. server:ask("POST", "/v1/keys", { name = "alpha", scopes = { "brand:alpha" } }, admin).json.key }
    document = server:ask("GET", "/openapi.json").json
    local source = server:ask("POST", "/v1/brands/beta/knowledge?wait=20",
      { content = "# Beta\n\nOurs alone.", title = "ours.md" }, admin)
    assert(source.status < 300, source.text)
    local turn = server:turn("beta", "hello", nil, admin).json
    ids = { knowledge = source.json.id, turns = turn.id, conversations = turn.conversation_id }
    for kind, id in pairs(ids) do
      local path = ("/v1/brands/beta/%s/%s"):format(kind, id)
      assert(server:ask("GET", path, nil, admin).status == 200, path .. " must be there for the admin")
    end
  end)
  teardown(function() server:stop() end)

  local function call(path, method, operation)
    local body = BODIES[operation.operationId]
    local content = operation.requestBody and operation.requestBody.content
    if content and content["multipart/form-data"] then
      body = { content = "mine?", title = "mine.md" }
    elseif content and not body then
      body = {}
    end
    return server:ask(method:upper(), path, body or (method ~= "get" and method ~= "delete" and {} or nil), key)
  end

  local function each(check)
    local called = 0
    for template, methods in pairs(document.paths) do
      for method, operation in pairs(methods) do
        if template:find("{brand_id}", 1, true) and type(operation) == "table" and operation.operationId then
          called = called + (check(template, method, operation) or 0)
        end
      end
    end
    return called
  end

  it("finds nothing under another brand's name", function()
    local called = each(function(template, method, operation)
      local kind = template:match("{brand_id}/(%w+)")
      local path = template:gsub("{brand_id}", "beta"):gsub("{id}", ids[kind] or "none")
      local answer = call(path, method, operation)
      assert.equal(404, answer.status, method .. " " .. path .. ": " .. answer.text)
      return 1
    end)
    assert.is_true(called > 20)
  end)

  it("finds nothing by another brand's ids under its own name", function()
    local called = each(function(template, method, operation)
      if not template:find("{id}", 1, true) then
        return 0
      end
      local kind = template:match("{brand_id}/(%w+)")
      if kind == "users" then
        return 0 -- named by the brand itself, not by a row: see 76_erasure_spec
      end
      local path = template:gsub("{brand_id}", "alpha"):gsub("{id}", ids[kind] or error(template))
      local answer = call(path, method, operation)
      assert.equal(404, answer.status, method .. " " .. path .. ": " .. answer.text)
      return 1
    end)
    assert.is_true(called > 12)
  end)

  it("may not use what belongs to administrators", function()
    for template, methods in pairs(document.paths) do
      if template:find("^/v1/keys") or template:find("^/v1/scripts/") or template:find("^/v1/queue") then
        for method, operation in pairs(methods) do
          local path = template:gsub("{id}", "ky_1")
          assert.equal(403, call(path, method, operation).status, method .. " " .. path)
        end
      end
    end
  end)

  it("leaves the other brand as it was", function()
    local admin = { authorization = "Bearer xin_" .. ("a"):rep(43) }
    local source = server:ask("GET", "/v1/brands/beta/knowledge/" .. ids.knowledge, nil, admin).json
    assert.equal("ready", source.status)
    assert.equal(1, source.version)
    local list = server:ask("GET", "/v1/brands", nil, key).json.brands
    assert.equal(1, #list)
    assert.equal("alpha", list[1].id)
  end)
end)
