-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")
local model_server = require("model_server")

local KEY = "sk-test"
local QUESTION = "Within how many days can I return a jacket?"
local FALLBACK = "Sorry, something went wrong on our side. Please try again in a moment."
local NO_ANSWER = "I could not find an answer to that in our documents."

local ASKING = [[
local M = {
  api = 1, name = "asking", title = "Asking", languages = { "en" }, channels = { "webchat" },
  guardrails = { { name = "card_numbers" } }, pipeline = "standard",
  fallback = "fallback", no_answer = "none",
}
function M.route(turn)
  if turn.text:find("several models", 1, true) then
    return { route = "answer", model = { "other", "test-model" } }
  end
  if turn.text:find("other model", 1, true) then
    return { route = "answer", model = "other" }
  end
  return { route = "answer", max_tokens = 50, temperature = 0.25 }
end
function M.reply(turn, answer)
  if answer.answered then
    return nil
  end
  local said, err = xin.model.chat({
    messages = { { role = "system", content = "small talk" }, { role = "user", content = turn.text } },
    max_tokens = 40,
  })
  return { text = said and said.text .. " / " .. said.finish_reason or "failed: " .. err.code }
end
return M
]]

local function start(server, models, settings)
  local all = { XIN_MODEL_URL = models.url, XIN_MODEL_KEY = KEY, XIN_MODEL_NAME = "test-model",
    XIN_MODEL_IDLE_MS = "400", XIN_MODEL_MS = "6000", XIN_MODEL_CURRENCY = "EUR",
    XIN_MODEL_PRICES = "test-model=0.15/0.60,other=1/2" }
  for name, value in pairs(settings or {}) do
    all[name] = value
  end
  return server:start(all)
end

local function events(text)
  local found = {}
  for name, data in text:gmatch("event: ([%w.]+)\nid: %d+\ndata: ([^\n]*)\n") do
    found[#found + 1] = { name = name, data = xin.json.decode(data) }
  end
  return found
end

describe("a model service", function()
  local server, models
  setup(function()
    models = model_server.start()
    if not models then return end
    server = xin.new()
    xin.write(server.home .. "/lua/brands/asking.lua", ASKING)
    start(server, models)
    for _, brand in ipairs({ "default", "asking", "alpha" }) do
      server:ready(brand, "returns.md", "# Returns\n\nYou can return a jacket within 30 days of delivery.\n")
    end
  end)
  teardown(function()
    if not models then return end
    server:stop()
    models:stop()
  end)

  local function its(name, run)
    it(name, function()
      if not models then
        pending("python3 cannot be had")
        return
      end
      models:script()
      run()
    end)
  end

  its("answers from the passages, with marks, citations and its own token counts", function()
    local turn = server:turn("default", QUESTION).json
    assert.matches("within 30 days of delivery%. %[1%]$", turn.reply)
    assert.is_true(turn.answered)
    assert.equal(1, #turn.citations)
    assert.matches("30 days", turn.citations[1].text)
    local body = models:calls()[1].body
    assert.equal("test-model", body.model)
    assert.matches("Cite passages", body.messages[1].content)
    assert.matches("%[1%] ", body.messages[#body.messages].content)
    assert.is_true(turn.usage.prompt_tokens > 50)
    assert.is_true(turn.usage.upstream_ms > 0)
    local capsule = server:ask("GET", "/v1/brands/default/turns/" .. turn.id .. "/capsule").json
    assert.equal("test-model", capsule.model)
    assert.same({ mode = "keyword", degraded = false }, capsule.retrieval)
  end)

  its("is shown by its metrics", function()
    server:turn("default", QUESTION)
    local text = server:ask("GET", "/metrics").text
    assert.matches('xin_model_calls_total{model="test%-model",outcome="ok"', text)
    assert.matches('xin_model_tokens_total{model="test%-model",kind="completion"', text)
    assert.matches("xin_model_first_token_seconds_count", text)
    -- what the tokens cost at the prices given below, to a billionth
    local function of(name, kind)
      return tonumber(text:match(name .. '{[^}]*kind="' .. kind .. '"[^}]*} ([%d.e+-]+)'))
    end
    assert.matches('xin_model_cost_total{brand="default",model="test%-model",kind="prompt",currency="EUR"', text)
    for kind, price in pairs({ prompt = 0.15, completion = 0.6 }) do
      local cost = of("xin_model_cost_total", kind)
      assert.is_true(cost > 0)
      assert.is_true(math.abs(cost - of("xin_model_tokens_total", kind) * price / 1e6) < 1e-8, kind)
    end
  end)

  its("is not counted as overhead of ours", function()
    for _, fault in ipairs({ "slow:300", "stall:1" }) do
      models:script({ fault })
      local answer = server:turn("default", QUESTION)
      assert.is_true(answer.json.usage.upstream_ms >= 300, fault)
      assert.is_true(tonumber(answer.headers["xin-overhead-ms"]) < 300, fault)
    end
  end)

  its("remembers what was said", function()
    local user = { user = { id = "remembers" } }
    server:turn("default", "hello", user)
    server:turn("default", QUESTION, user)
    local messages = models:calls()[1].body.messages
    assert.same({ "system", "user", "assistant", "user" },
      { messages[1].role, messages[2].role, messages[3].role, messages[4].role })
    assert.equal("hello", messages[2].content)
  end)

  its("says the brand's no_answer when it does not know", function()
    models:script({}, { reply = "NO_ANSWER" })
    local turn = server:turn("default", QUESTION .. " Really?").json
    assert.equal(NO_ANSWER, turn.reply)
    assert.is_false(turn.answered)
    assert.equal(0, #turn.citations)
  end)

  its("is not believed when no passage backs it", function()
    models:script({}, { reply = "Elephants migrate over mountains each spring." })
    assert.equal(NO_ANSWER, server:turn("default", QUESTION).json.reply)
  end)

  its("streams nothing that a guard has not passed", function()
    models:script({ "dribble" }, { reply = "You can return a jacket within 30 days, card 4111 1111 1111 1111 [1]" })
    local answer = server:turn("default", QUESTION, { stream = true })
    assert.is_nil(answer.text:find("4111", 1, true))
    local seen, delta = {}, ""
    for _, event in ipairs(events(answer.text)) do
      seen[#seen + 1] = event.name
      if event.name == "delta" then
        delta = delta .. event.data.text
        assert.truthy(table.concat(seen, " "):find("retrieval guard", 1, true))
      end
    end
    assert.equal("done", seen[#seen])
    assert.matches("30 days, card %[card%] %[1%]", delta)
  end)

  its("gives way to the brand's fallback when it fails, on every way of failing", function()
    for _, fault in ipairs({ "cut", "early", "badjson", "badsse", "midstream", "huge", "stall:1", "filter",
      "refusal", "status:400", "error:400:context_length_exceeded", "error:429:insufficient_quota" }) do
      models:script({ fault })
      local turn = server:turn("default", QUESTION)
      assert.equal(200, turn.status, fault)
      assert.equal(FALLBACK, turn.json.reply, fault)
      assert.equal("error", turn.json.outcome)
      assert.equal(0, #turn.json.citations)
      assert.equal(1, #models:calls(), fault)
    end
  end)

  its("ends a failed stream with one event and no text of the model", function()
    models:script({ "cut" })
    local answer = server:turn("default", QUESTION, { stream = true })
    assert.is_nil(answer.text:find("You can", 1, true))
    local last, ends = nil, 0
    for _, event in ipairs(events(answer.text)) do
      last = event.name
      if last == "done" or last == "error" or last == "blocked" then ends = ends + 1 end
    end
    assert.equal(1, ends)
  end)

  its("is tried again before its first token", function()
    models:script({ "status:503", "limited:0.1", "reset" })
    assert.matches("30 days", server:turn("default", QUESTION).json.reply)
    assert.equal(4, #models:calls())
    -- A kept connection that is reset at once is tried again by the HTTP client itself.
    assert.is_true(#server:events("model.retried") >= 2)
  end)

  its("takes the brand's own model, tokens and temperature", function()
    server:turn("asking", QUESTION)
    local body = models:calls()[1].body
    assert.same({ 50, 0.25 }, { body.max_tokens, body.temperature })
    assert.equal("fallback", server:turn("asking", "other model: " .. QUESTION).json.reply)
    local failed = server:events("turn.failed")
    assert.matches('does not know model ', failed[#failed].error, 1, true)
  end)

  its("gives way to the next that the brand names", function()
    local turn = server:turn("asking", "several models: " .. QUESTION).json
    assert.matches("30 days", turn.reply)
    assert.same({ "other", "test-model" }, { models:calls()[1].body.model, models:calls()[2].body.model })
  end)

  its("is asked by scripts with xin.model.chat", function()
    local turn = server:turn("asking", "zebra quagga").json
    assert.equal("echo: zebra quagga / stop", turn.reply)
    assert.equal("small talk", models:calls()[1].body.messages[1].content)
    models:script({ "status:400" })
    assert.equal("failed: upstream_failed", server:turn("asking", "zebra okapi").json.reply)
    models:script({}, { reply = "card 4111 1111 1111 1111" })
    assert.equal("card [card] / stop", server:turn("asking", "zebra gnu").json.reply)
  end)

  its("is left when the turn is cancelled, and its answer thrown away", function()
    models:script({ "endless" })
    local file = os.tmpname()
    xin.write(file .. ".json", xin.json.encode({ message = QUESTION, user = { id = "leaver" }, stream = true }))
    xin.shell(("curl -sN -H 'content-type: application/json' -d @%s.json http://127.0.0.1:%d"
      .. "/v1/brands/default/turns >%s 2>/dev/null & echo"):format(file, server.ports.orchestrator, file))
    local id = xin.wait("the turn to begin", 5, function()
      return #models:calls() > 0 and (xin.read(file) or ""):match('"id":"(tn_%w+)"')
    end)
    local began = xin.now()
    assert.is_true(server:ask("POST", "/v1/brands/default/turns/" .. id .. "/cancel", {}).status < 300)
    local text = xin.wait("the stream to end", 5, function()
      local so_far = xin.read(file)
      return so_far:find("event: error", 1, true) and so_far
    end)
    assert.is_true(xin.now() - began < 2 * xin.patience)
    assert.is_nil(text:find("event: delta", 1, true))
    assert.is_nil(text:find(" more", 1, true))
    os.remove(file)
    os.remove(file .. ".json")
  end)

  its("leaves no secret and no text of people in the log", function()
    models:script({ "status:400" })
    server:turn("default", QUESTION .. " wombat")
    local log = xin.read(server.log_path)
    for _, secret in ipairs({ KEY, "wombat", "secret words", "30 days", "Authorization" }) do
      assert.is_nil(log:find(secret, 1, true), secret)
    end
    local failed = server:events("turn.failed")
    assert.matches("provider answered 400", failed[#failed].error)
  end)

  its("refuses searches by meaning where no vectors are searched", function()
    local path = "/v1/brands/default/search"
    local answer = server:ask("POST", path, { query = "jacket", mode = "vector" })
    assert.equal(400, answer.status)
    assert.matches("XIN_EMBEDDINGS_URL", answer.json.error.message)
    assert.equal(400, server:ask("POST", path, { query = "jacket", mode = "psychic" }).status)
    answer = server:ask("POST", path, { query = "jacket" }).json
    assert.same({ "keyword", false }, { answer.mode, answer.degraded })
  end)
end)

describe("a model service with wrong settings", function()
  local models
  setup(function() models = model_server.start() end)
  teardown(function() if models then models:stop() end end)

  it("says which key is wrong, and not what it is", function()
    if not models then return pending("python3 cannot be had") end
    local server = start(xin.new(), models, { XIN_MODEL_KEY = "sk-very-wrong" })
    server:ready("default", "returns.md", "# Returns\n\nYou can return a jacket within 30 days of delivery.\n")
    local turn = server:turn("default", QUESTION)
    assert.equal(FALLBACK, turn.json.reply)
    local failed = xin.wait("the line of the turn", 5, function() return server:events("turn.failed")[1] end)
    assert.matches("check XIN_MODEL_KEY", failed.error)
    assert.is_nil(xin.read(server.log_path):find("sk-very-wrong", 1, true))
    server:stop()
  end)

  it("keeps the process from starting where it cannot work", function()
    if not models then return pending("python3 cannot be had") end
    for says, settings in pairs({
      ["XIN_MODEL_NAME"] = { XIN_MODEL_URL = models.url },
      ["XIN_MODEL_KEY"] = { XIN_MODEL_URL = "http://user:pass@host/v1", XIN_MODEL_NAME = "m" },
      ["OpenAI"] = { XIN_MODEL_URL = "host/v1", XIN_MODEL_NAME = "m" },
    }) do
      local server = xin.new():spawn(settings)
      xin.wait("the process to end", 20, function() return not server:running() end)
      local failed = server:events("process.failed")
      assert.equal("config", failed[1].error_code)
      assert.matches(says, failed[1].error)
      server:sound()
      xin.shell("rm -rf '" .. server.home .. "'")
    end
  end)
end)
