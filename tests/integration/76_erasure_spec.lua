-- SPDX-License-Identifier: Apache-2.0
--- Erasure, retention and the audit: what is gone is gone from the file too.
local xin = require("xin")

local ADMIN = { authorization = "Bearer xin_" .. ("a"):rep(43) }
local MARK = "zebra4711"

describe("erasure", function()
  local server
  setup(function() server = xin.new():start({ XIN_ADMIN_KEY = ADMIN.authorization:sub(8) }) end)
  teardown(function() server:stop() end)

  local function say(brand, user, text)
    local answer = server:turn(brand, text, { user = { id = user } }, ADMIN)
    assert.equal(200, answer.status, answer.text)
    return answer.json
  end

  local function status(brand, path)
    return server:ask("GET", "/v1/brands/" .. brand .. path, nil, ADMIN).status
  end

  local function restart(between)
    server:signal("TERM")
    xin.wait("the process to end", 20, function() return not server:running() end)
    if between then between() end
    server:start({ XIN_ADMIN_KEY = ADMIN.authorization:sub(8) })
  end

  it("takes a conversation with its turns", function()
    local turn = say("alpha", "ann", "hello")
    local path = "/conversations/" .. turn.conversation_id
    assert.equal(204, server:ask("DELETE", "/v1/brands/alpha" .. path, nil, ADMIN).status)
    assert.equal(404, status("alpha", path))
    assert.equal(404, status("alpha", path .. "/messages"))
    assert.equal(404, status("alpha", "/turns/" .. turn.id))
    assert.equal(404, status("alpha", "/turns/" .. turn.id .. "/capsule"))
    assert.equal(404, server:ask("DELETE", "/v1/brands/alpha" .. path, nil, ADMIN).status)
  end)

  it("takes all of a user, of that brand alone, and may be repeated", function()
    local mine, other = say("alpha", "bob@x.example", "hello"), say("beta", "bob@x.example", "hello")
    local path = "/v1/brands/alpha/users/bob%40x.example"
    assert.equal(1, server:ask("DELETE", path, nil, ADMIN).json.conversations)
    assert.equal(0, server:ask("DELETE", path, nil, ADMIN).json.conversations)
    assert.equal(404, status("alpha", "/conversations/" .. mine.conversation_id))
    assert.equal(200, status("beta", "/conversations/" .. other.conversation_id))
  end)

  it("is in the audit, which an admin alone reads and which names no user", function()
    local page = server:ask("GET", "/v1/audit?limit=2", nil, ADMIN)
    assert.equal(2, #page.json.items)
    assert.equal("user.erase", page.json.items[1].action)
    assert.is_truthy(page.json.next_cursor)
    assert.is_nil(page.text:find("bob@x.example", 1, true))
    local older = server:ask("GET", "/v1/audit?cursor=" .. page.json.next_cursor, nil, ADMIN).json
    assert.equal("conversation.erase", older.items[1].action)
    local key = server:ask("POST", "/v1/keys", { name = "a", scopes = { "brand:alpha" } }, ADMIN).json.key
    assert.equal(403, server:ask("GET", "/v1/audit", nil, { authorization = "Bearer " .. key }).status)
  end)

  it("needs the brand's own scope", function()
    local turn = say("alpha", "cid", "hello")
    local key = server:ask("POST", "/v1/keys", { name = "t", scopes = { "turns:alpha" } }, ADMIN).json.key
    local path = "/v1/brands/alpha/conversations/" .. turn.conversation_id
    assert.equal(404, server:ask("DELETE", path, nil, { authorization = "Bearer " .. key }).status)
    assert.equal(200, server:ask("GET", path, nil, ADMIN).status)
  end)

  it("leaves no word of it in the database file", function()
    say("alpha", "dan", MARK)
    assert.equal(1, server:ask("DELETE", "/v1/brands/alpha/users/dan", nil, ADMIN).json.conversations)
    say("alpha", "eve", "kept" .. MARK:reverse())
    restart(function()
      local stored = xin.read(server.home .. "/data/xin.db")
      assert.is_truthy(stored:find(MARK:reverse(), 1, true))
      assert.is_nil(stored:find(MARK, 1, true))
    end)
  end)

  it("of a revoked first key lasts over restarts, and the service is up", function()
    local second = server:ask("POST", "/v1/keys", { name = "b", scopes = { "admin" } }, ADMIN).json.key
    local keys = server:ask("GET", "/v1/keys", nil, ADMIN).json.items
    for _, key in ipairs(keys) do
      if key.name == "XIN_ADMIN_KEY" then
        assert.equal(204, server:ask("DELETE", "/v1/keys/" .. key.id, nil,
          { authorization = "Bearer " .. second }).status)
      end
    end
    restart()
    assert.equal(401, server:ask("GET", "/v1/keys", nil, ADMIN).status)
    assert.equal(200, server:ask("GET", "/v1/keys", nil, { authorization = "Bearer " .. second }).status)
  end)
end)
