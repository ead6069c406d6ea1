-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

local function message(id, text, brand)
  return { brand = brand or "default", message_id = id, user = { id = "u1" }, text = text or "hello" }
end

describe("gateway", function()
  local server
  setup(function() server = xin.new():start() end)
  teardown(function() server:stop() end)

  it("answers a signed message with the right brand's script", function()
    local default = server:webhook(message("m1", "hello"))
    local alpha = server:webhook(message("m2", "hello", "alpha"))
    assert.equal(200, default.status, default.text)
    assert.equal(200, alpha.status, alpha.text)
    assert.matches("Ask me anything", default.json.reply.text)
    assert.matches("looking for today", alpha.json.reply.text)
    assert.is_string(alpha.json.turn_id)
    assert.is_string(alpha.json.conversation_id)
    assert.equal("m2", alpha.json.message_id)
  end)

  it("takes the brand from the path as well", function()
    local body = xin.json.encode({ message_id = "p1", user = { id = "u1" }, text = "hello" })
    local answer = assert(xin.request(server.ports.gateway, "POST", "/webchat/alpha/webhook", body,
      { ["content-type"] = "application/json", ["x-signature"] = xin.sign("dev-web", body) }))
    assert.equal(200, answer.status, answer.text)
    assert.matches("looking for today", answer.json.reply.text)
  end)

  it("refuses a wrong, a missing and a stale signature with 401", function()
    assert.equal(401, server:webhook(message("w1"), nil, "wrong").status)
    assert.equal(401, server:webhook(message("w2"), { ["x-signature"] = "" }).status)
    assert.equal(401, server:webhook(message("w3"), { ["x-signature"] = "sha256=00" }).status)
    local body = xin.json.encode(message("w4"))
    local bare = assert(xin.request(server.ports.gateway, "POST", "/webchat/webhook", body,
      { ["content-type"] = "application/json" }))
    assert.equal(401, bare.status)
    assert.equal("unauthorized", bare.json.error.code)
    local old = tostring(os.time() - 3600)
    assert.equal(401, server:webhook(body,
      { ["x-signature"] = xin.sign("dev-web", old .. "." .. body), ["x-xin-timestamp"] = old }).status)
  end)

  it("refuses a body that changed after it was signed", function()
    local signed = xin.json.encode(message("c1", "ten"))
    local sent = signed:gsub("ten", "two")
    assert.equal(401, server:webhook(sent, { ["x-signature"] = xin.sign("dev-web", signed) }).status)
  end)

  it("accepts the timestamped form", function()
    local body, now = xin.json.encode(message("t1")), tostring(os.time())
    assert.equal(200, server:webhook(body,
      { ["x-signature"] = xin.sign("dev-web", now .. "." .. body), ["x-xin-timestamp"] = now }).status)
  end)

  it("gives a duplicate the first answer", function()
    local first = server:webhook(message("d1"))
    local second = server:webhook(message("d1"))
    assert.is_false(first.json.duplicate)
    assert.is_true(second.json.duplicate)
    assert.equal(first.json.turn_id, second.json.turn_id)
    assert.equal(first.json.reply.text, second.json.reply.text)
  end)

  it("gives a duplicate the first answer while the first still runs", function()
    local body = xin.json.encode(message("d2"))
    local command = ("curl -s -w '\\n' --noproxy '*' -X POST http://127.0.0.1:%d/webchat/webhook -H 'Content-Type: application/json'"
      .. " -H 'X-Signature: %s' -d '%s'"):format(server.ports.gateway, xin.sign("dev-web", body), body)
    local text = xin.shell(("for i in 1 2 3 4 5 6; do %s & done; wait"):format(command))
    local turns, firsts, count = {}, 0, 0
    -- The six write into one pipe: their lines may run into each other.
    for turn in text:gmatch('"turn_id":"([%w_]+)"') do
      turns[turn] = true
      count = count + 1
    end
    for _ in text:gmatch('"duplicate":false') do firsts = firsts + 1 end
    assert.equal(6, count, text)
    assert.equal(1, firsts, text)
    local different = 0
    for _ in pairs(turns) do different = different + 1 end
    assert.equal(1, different, text)
  end)

  it("says what is wrong with a signed body, and with which id", function()
    local answer = server:webhook({ brand = "default", user = { id = "u" }, text = "x" })
    assert.equal(400, answer.status)
    assert.matches("message_id", answer.json.error.message)
    assert.equal(answer.headers["x-request-id"], answer.json.error.request_id)
    assert.equal(404, server:webhook(message("n1", "x", "nobody")).status)
  end)
end)

describe("gateway while secrets rotate", function()
  it("accepts both secrets and no third", function()
    local server = xin.new():start({ GATEWAY_WEBHOOK_SECRET = "new-one,old-one" })
    assert.equal(200, server:webhook(message("r1"), nil, "new-one").status)
    assert.equal(200, server:webhook(message("r2"), nil, "old-one").status)
    assert.equal(401, server:webhook(message("r3"), nil, "dev-web").status)
    server:stop()
  end)
end)
