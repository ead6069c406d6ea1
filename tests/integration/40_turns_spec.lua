-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("turns", function()
  local server
  setup(function()
    server = xin.new():start()
    server:ready("default", "returns.md", "# Returns\n\nYou can return a jacket within 30 days of delivery.\n")
  end)
  teardown(function() server:stop() end)

  it("answer from documents and cite them", function()
    local turn = server:turn("default", "Within how many days can I return a jacket?").json
    assert.matches("30 days", turn.reply)
    assert.is_true(turn.answered)
    assert.matches("30 days", turn.citations[1].text)
    assert.matches("^tn_", turn.id)
    assert.equal("done", turn.outcome)
  end)

  it("say so when the documents hold no answer", function()
    local turn = server:turn("default", "Who painted the ceiling of the opera?").json
    assert.is_false(turn.answered)
    assert.equal(0, #turn.citations)
  end)

  it("carry request id, generation and overhead in their headers", function()
    local answer = server:turn("default", "hello", nil, { ["x-request-id"] = "turn-77" })
    assert.equal("turn-77", answer.headers["x-request-id"])
    assert.equal(answer.json.generation, answer.headers["xin-generation"])
    assert.is_number(tonumber(answer.headers["xin-overhead-ms"]))
  end)

  it("stream their events in order with exactly one end", function()
    local answer = server:turn("default", "Within how many days can I return a jacket?", { stream = true })
    assert.matches("text/event%-stream", answer.headers["content-type"])
    local names = {}
    for name in answer.text:gmatch("event: ?([%w.]+)") do names[#names + 1] = name end
    assert.equal("turn.started", names[1])
    assert.equal("done", names[#names])
    local ends = 0
    for _, name in ipairs(names) do
      if name == "done" or name == "blocked" or name == "error" then ends = ends + 1 end
    end
    assert.equal(1, ends)
    assert.matches("event: ?delta", answer.text)
    assert.matches("event: ?guard", answer.text)
  end)

  it("go on behind Last-Event-ID, by the same POST or by their events", function()
    local question, key = "Within how many days can I return a jacket?", { ["idempotency-key"] = "stream-once" }
    local whole = server:turn("default", question, { stream = true }, key).text
    local id = whole:match('"id":"(tn_%w+)"')
    local last = whole:match(".*\nid: ?(%d+)\n")
    local path = "/v1/brands/default/turns/" .. id .. "/events"
    local function from_third(text) return text:sub((text:find("id: ?3\n"))) end
    for _, answer in ipairs({
      server:turn("default", question, { stream = true },
        { ["idempotency-key"] = "stream-once", ["last-event-id"] = "2" }),
      server:ask("GET", path, nil, { ["last-event-id"] = "2" }),
    }) do
      assert.equal(200, answer.status)
      assert.matches("^[^\n]*3\n", answer.text:match("id: ?[^\n]*\n"))
      assert.equal(from_third(whole), from_third(answer.text))
    end
    assert.equal("", (server:ask("GET", path, nil, { ["last-event-id"] = last }).text:gsub("%s", "")))
    assert.equal(400, server:ask("GET", path, nil, { ["last-event-id"] = "x" }).status)
    assert.equal(404, server:ask("GET", "/v1/brands/alpha/turns/" .. id .. "/events").status)
  end)

  it("have their answer as one event when their events are kept no more", function()
    local turn = server:turn("default", "hello").json
    local events = server:ask("GET", "/v1/brands/default/turns/" .. turn.id .. "/events").text
    assert.matches("event: ?done", events)
    assert.equal(turn.reply, xin.json.decode(events:match("data: ?([^\n]*)")).reply)
  end)

  it("join the user's open conversation and keep its messages", function()
    local first = server:turn("default", "hello", { user = { id = "joiner" } }).json
    local second = server:turn("default", "thanks", { user = { id = "joiner" } }).json
    assert.equal(first.conversation_id, second.conversation_id)
    local path = "/v1/brands/default/conversations/" .. first.conversation_id
    assert.equal(4, #server:ask("GET", path .. "/messages").json.items)
    assert.equal("closed", server:ask("POST", path .. "/reset", {}).json.status)
    local third = server:turn("default", "hello", { user = { id = "joiner" } }).json
    assert.is_not.equal(first.conversation_id, third.conversation_id)
  end)

  it("take feedback and show their capsule", function()
    local turn = server:turn("default", "hello").json
    local path = "/v1/brands/default/turns/" .. turn.id
    assert.equal(204, server:ask("POST", path .. "/feedback", { rating = "up" }).status)
    assert.equal(400, server:ask("POST", path .. "/feedback", { rating = "meh" }).status)
    assert.equal(turn.id, server:ask("GET", path .. "/capsule").json.id)
    assert.equal(404, server:ask("POST", "/v1/brands/alpha/turns/" .. turn.id .. "/feedback", { rating = "up" }).status)
  end)

  it("repeat the first answer for an Idempotency-Key and refuse another body", function()
    local key = { ["idempotency-key"] = "once" }
    local first = server:turn("default", "hello", nil, key).json
    assert.equal(first.id, server:turn("default", "hello", nil, key).json.id)
    assert.equal(422, server:turn("default", "thanks", nil, key).status)
  end)

  it("name the field that is wrong", function()
    local answer = server:ask("POST", "/v1/brands/default/turns", { massage = "x" })
    assert.equal(400, answer.status)
    assert.equal("invalid_request", answer.json.error.code)
  end)
end)
