-- SPDX-License-Identifier: Apache-2.0
--- GET /v1/events and xin tail: what happens, as it happens, and nothing of the
--- texts.
local xin = require("xin")

local ADMIN = "xin_" .. ("a"):rep(43)

describe("the live view", function()
  local server, admin, key
  setup(function()
    server = xin.new():start({ XIN_ADMIN_KEY = ADMIN, XIN_AUTH = "keys" })
    admin = { authorization = "Bearer " .. ADMIN }
    key = { authorization = "Bearer "
      .. server:ask("POST", "/v1/keys", { name = "alpha", scopes = { "brand:alpha" } }, admin).json.key }
  end)
  teardown(function() server:stop() end)

  --- `xin tail` beside the server; returns a function that waits for a word of it
  --- (and does `again` meanwhile), ends it and gives its lines; then one that
  --- waits for a complaint of it.
  local function tail(words, with_key)
    local path = server.home .. "/tail." .. math.random(1e9)
    local pid = xin.shell(("XIN_URL=http://127.0.0.1:%d XIN_KEY=%s '%s' tail %s >'%s' 2>'%s.err' & echo $!")
      :format(server.ports.orchestrator, with_key or ADMIN, xin.binary, words, path, path))
    xin.sleep(0.5 * xin.patience)
    local function complains()
      return xin.wait("a complaint of xin tail", 10, function()
        return (xin.read(path .. ".err") or ""):match("xin:.+")
      end)
    end
    return function(wanted, again)
      xin.wait(wanted, 10, function()
        if again then again() end
        return (xin.read(path) or ""):find(wanted, 1, true)
      end)
      xin.shell("kill " .. pid .. " 2>/dev/null; true")
      return xin.read(path) or "", xin.read(path .. ".err") or ""
    end, complains
  end

  it("shows turns, guards and documents, and no text of them", function()
    local finish = tail("--json")
    server:turn("alpha", "my secretword card is 4111 1111 1111 1111", nil, admin)
    server:ask("POST", "/v1/brands/alpha/knowledge?wait=20",
      { title = "events.md", content = "# Events\n\nhiddenword in a document." }, admin)
    local said = finish("document.ready")
    assert.matches('"event":"turn.done"', said, 1, true)
    assert.matches('"event":"guard.acted"', said, 1, true)
    assert.matches('"event":"document.step"', said, 1, true)
    assert.matches('"brand_id":"alpha"', said, 1, true)
    assert.is_nil(said:find("secretword", 1, true))
    assert.is_nil(said:find("4111", 1, true))
    assert.is_nil(said:find("hiddenword", 1, true))
    assert.is_nil(said:find("http.request", 1, true))
    for line in said:gmatch("[^\n]+") do
      assert.is_table(xin.json.decode(line))
    end
  end)

  it("shows one kind, one brand, in words for people", function()
    local finish = tail("--brand beta --kind turn")
    server:turn("alpha", "hello", nil, admin)
    server:turn("beta", "hello", nil, admin)
    local said = finish("turn.done")
    assert.matches("beta", said, 1, true)
    assert.is_nil(said:find("alpha", 1, true))
    assert.is_nil(said:find("guard", 1, true))
  end)

  it("gives a brand's key its own brand alone", function()
    assert.equal(403, server:ask("GET", "/v1/events", nil, key).status)
    assert.equal(404, server:ask("GET", "/v1/events?brand=beta", nil, key).status)
    assert.equal(404, server:ask("GET", "/v1/events?brand=nobody", nil, admin).status)
    assert.equal(401, server:ask("GET", "/v1/events").status)
    local _, complains = tail("", key.authorization:match("%S+$"))
    complains()
  end)

  it("tells a new script generation", function()
    local finish = tail("--kind scripts")
    server:script("lib/events_note.lua", "return { note = 1 }\n")
    server:ask("POST", "/v1/scripts/reload", {}, admin)
    assert.matches("scripts.activated", finish("scripts.activated"), 1, true)
  end)

  it("goes on after the service was away", function()
    local finish = tail("")
    server:kill()
    server:start({ XIN_ADMIN_KEY = ADMIN, XIN_AUTH = "keys",
      XIN_ORCHESTRATOR_LISTEN = "127.0.0.1:" .. server.ports.orchestrator })
    local said, complaint = finish("turn.done", function()
      server:turn("alpha", "hello", nil, admin)
      xin.sleep(0.3)
    end)
    assert.matches("turn.done", said, 1, true)
    assert.matches("trying again", complaint, 1, true)
  end)
end)
