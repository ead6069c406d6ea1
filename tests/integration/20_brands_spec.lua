-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

local ADMIN = "xin_" .. ("a"):rep(43)

describe("brands in open mode", function()
  local server
  setup(function() server = xin.new():start() end)
  teardown(function() server:stop() end)

  it("are listed without a key on loopback", function()
    local by_id = {}
    for _, brand in ipairs(server:ask("GET", "/v1/brands").json.brands) do
      by_id[brand.id] = brand
    end
    assert.equal("ltr", by_id.default.direction)
    assert.equal("rtl", by_id.beta.direction)
    assert.equal("Alpha Store", by_id.alpha.title)
    assert.equal("en", by_id.alpha.languages[1])
  end)

  it("default works without prior setup (63)", function()
    assert.equal(200, server:turn("default", "hello").status)
  end)

  it("that do not exist are 404", function()
    local answer = server:turn("nobody", "hello")
    assert.equal(404, answer.status)
    assert.equal("not_found", answer.json.error.code)
  end)

  it("do not see each other's documents and ids", function()
    local source = server:ready("alpha", "secret.md", "# Plan\n\nThe quokka moves on Friday.\n")
    local path = "/v1/brands/beta/knowledge/" .. source.id
    assert.equal(404, server:ask("GET", path).status)
    assert.equal(404, server:ask("DELETE", path).status)
    assert.equal(404, server:ask("GET", path .. "/explain").status)
    local hits = server:ask("POST", "/v1/brands/beta/search", { query = "quokka Friday" }).json.hits
    assert.equal(0, #hits)
  end)

  it("are closed to pages of other origins", function()
    local answer = server:ask("GET", "/v1/brands", nil, { host = "evil.example" })
    assert.is_true(answer.status >= 400)
  end)
end)

describe("brands with keys", function()
  local server, alpha_key
  local function with(key) return { authorization = "Bearer " .. key } end
  setup(function()
    server = xin.new():start({ XIN_AUTH = "keys", XIN_ADMIN_KEY = ADMIN })
    local made = server:ask("POST", "/v1/keys", { name = "shop", scopes = { "brand:alpha" } }, with(ADMIN))
    assert(made.status == 201, made.text)
    alpha_key = made.json.key
  end)
  teardown(function() server:stop() end)

  it("ask for a key", function()
    assert.equal(401, server:ask("GET", "/v1/brands").status)
    assert.equal(401, server:ask("GET", "/v1/brands", nil, with("xin_" .. ("z"):rep(43))).status)
    assert.equal(200, server:ask("GET", "/health").status)
    assert.equal(200, server:ask("GET", "/metrics").status)
  end)

  it("answer 404 to brand A's key with brand B's ids", function()
    local source = assert(server:ask("POST", "/v1/brands/beta/knowledge", { title = "b", content = "hello" }, with(ADMIN)))
    assert.equal(202, source.status, source.text)
    for _, brand in ipairs({ "beta", "alpha" }) do
      local path = "/v1/brands/" .. brand .. "/knowledge/" .. source.json.id
      assert.equal(404, server:ask("GET", path, nil, with(alpha_key)).status)
      assert.equal(404, server:ask("DELETE", path, nil, with(alpha_key)).status)
    end
    assert.equal(404, server:turn("beta", "hello", nil, with(alpha_key)).status)
    assert.equal(200, server:turn("alpha", "hello", nil, with(alpha_key)).status)
  end)

  it("show a key only its own brands and no administration", function()
    local brands = server:ask("GET", "/v1/brands", nil, with(alpha_key)).json.brands
    assert.equal(1, #brands)
    assert.equal("alpha", brands[1].id)
    assert.equal(403, server:ask("GET", "/v1/keys", nil, with(alpha_key)).status)
    assert.equal(403, server:ask("POST", "/v1/scripts/reload", {}, with(alpha_key)).status)
  end)

  it("refuse a revoked key", function()
    local made = server:ask("POST", "/v1/keys", { name = "gone", scopes = { "brand:beta" } }, with(ADMIN)).json
    assert.equal(200, server:turn("beta", "hello", nil, with(made.key)).status)
    assert.equal(204, server:ask("DELETE", "/v1/keys/" .. made.id, nil, with(ADMIN)).status)
    assert.equal(401, server:turn("beta", "hello", nil, with(made.key)).status)
  end)
end)
