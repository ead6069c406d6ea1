-- SPDX-License-Identifier: Apache-2.0
--- Embeddings end to end: the real binary and a scripted embedding service, over
--- the embedded search and over a stand-in for Qdrant.
local xin = require("xin")
local child = require("child")
local model_server = require("model_server")

local QUESTION = "Within how many days can I return a jacket?"

local function settings(models, qdrant, more)
  local all = { XIN_EMBEDDINGS_URL = models.url, XIN_EMBEDDINGS_KEY = "sk-test",
    XIN_EMBEDDINGS_NAME = "test-embeddings", XIN_SEARCH_URL = qdrant and qdrant.url or "" }
  for name, value in pairs(more or {}) do
    all[name] = value
  end
  return all
end

for _, back_end in ipairs({ "embedded", "Qdrant" }) do
  describe("embeddings, " .. back_end .. " search:", function()
    local server, models, qdrant
    setup(function()
      models = model_server.start("--dimensions 48")
      if not models then return end
      qdrant = back_end == "Qdrant" and child.start("qdrant_double.py") or nil
      server = xin.new():start(settings(models, qdrant))
      server:ready("default", "returns.md", "# Returns\n\nYou can return a jacket within 30 days of delivery.\n")
      server:ready("default", "hours.md", "# Hours\n\nThe shop opens at nine and closes at six.\n")
    end)
    teardown(function()
      if not models then return end
      server:stop()
      models:stop()
      if qdrant then qdrant:stop() end
    end)

    local function its(name, run)
      it(name, function()
        if not models then return pending("python3 cannot be had") end
        models:script()
        run()
      end)
    end

    local function search(query, mode)
      return server:ask("POST", "/v1/brands/default/search", { query = query, mode = mode, top_k = 5 }).json
    end

    its("tell at start how long their vectors are", function()
      local ready = server:events("embeddings.ready")
      assert.equal(48, ready[1].dimensions)
      assert.equal("test-embeddings", ready[1].model)
    end)

    its("find by meaning what words do not find", function()
      assert.equal(0, #search("zebra", "keyword").hits)
      local found = search("zebra jackets returned", "vector")
      assert.equal("vector", found.mode)
      assert.matches("return a jacket", found.hits[1].text)
      assert.is_true(#search("zebra", "hybrid").hits > 0)
      assert.equal("hybrid", search("zebra").mode)
    end)

    its("of a question are asked once", function()
      search("an unusual question about jackets")
      search("an unusual question about jackets")
      assert.equal(1, #models:calls())
      assert.same({ "an unusual question about jackets" }, models:calls()[1].body.input)
    end)

    its("that fail leave a search by words, and the turn says so", function()
      models:script({ "status:400" }, { stay = true })
      local found = search("return my jacket soon")
      assert.same({ "keyword", true }, { found.mode, found.degraded })
      assert.matches("jacket", found.hits[1].text)
      local answer = server:turn("default", QUESTION, { stream = true }).text
      local retrieval = xin.json.decode(answer:match("event: retrieval\nid: %d+\ndata: ([^\n]*)\n"))
      assert.same({ "keyword", true }, { retrieval.mode, retrieval.degraded })
      local turn = xin.json.decode(answer:match("event: done\nid: %d+\ndata: ([^\n]*)\n"))
      assert.matches("30 days", turn.reply)
      local capsule = server:ask("GET", "/v1/brands/default/turns/" .. turn.id .. "/capsule").json
      assert.same({ mode = "keyword", degraded = true, error_code = "upstream_failed" }, capsule.retrieval)
      assert.equal(502, server:ask("POST", "/v1/brands/default/search", { query = "zebu", mode = "vector" }).status)
      assert.is_nil(xin.read(server.log_path):find("sk-test", 1, true))
    end)

    its("are used by turns again when they come back", function()
      local turn = server:turn("default", QUESTION).json
      local capsule = server:ask("GET", "/v1/brands/default/turns/" .. turn.id .. "/capsule").json
      assert.same({ mode = "hybrid", degraded = false }, capsule.retrieval)
    end)

    its("of a document that cannot be had fail its step with a reason, and a retry heals it", function()
      models:script({ "dimensions:7" }, { stay = true })
      local source = server:upload("default", "late.md", "# Late\n\nLate parcels are refunded.\n").json
      local seen = xin.wait("the embed step to fail", 20, function()
        local now = server:ask("GET", source.links.self).json
        for _, step in ipairs(now.steps or {}) do
          if step.name == "embed" and step.state == "failed" then return step end
        end
      end)
      assert.matches("7 numbers, 48 were expected", seen.error)
      models:script()
      xin.wait("the document to be ready", 30, function()
        return server:ask("GET", source.links.self).json.status == "ready"
      end)
      assert.matches("Late parcels", search("late parcels", "vector").hits[1].text)
    end)

    its("are counted", function()
      local text = server:ask("GET", "/metrics").text
      assert.matches('xin_embeddings_total{outcome="made"', text)
      assert.matches('xin_embeddings_total{outcome="cached"', text)
    end)
  end)
end

describe("embeddings with wrong settings", function()
  local models
  setup(function() models = model_server.start("--dimensions 48") end)
  teardown(function() if models then models:stop() end end)

  local function refused(more, says)
    local server = xin.new():spawn(settings(models, nil, more))
    xin.wait("the process to end", 20, function() return not server:running() end)
    local failed = server:events("process.failed")
    assert.equal("config", failed[1].error_code)
    assert.matches(says, failed[1].error)
    server:sound()
    xin.shell("rm -rf '" .. server.home .. "'")
  end

  it("keep the process from starting, in words", function()
    if not models then return pending("python3 cannot be had") end
    refused({ XIN_EMBEDDINGS_DIMENSIONS = "64" }, "is 64, but model .* vectors of 48")
    refused({ XIN_EMBEDDINGS_KEY = "sk-wrong" }, "check XIN_EMBEDDINGS_KEY")
    refused({ XIN_EMBEDDINGS_NAME = "other" }, "does not know model \"other\"")
  end)
end)
