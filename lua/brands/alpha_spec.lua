-- SPDX-License-Identifier: Apache-2.0
local brand = require("brands.alpha")

local function turn(text, name)
  return {
    text = text, language = "en", user = { id = "u", name = name }, conversation = { messages = {} },
  }
end

describe("brand alpha", function()
  it("greets by name", function()
    assert.equal("Hi Sara! What are you looking for today?", brand.route(turn("hey", "Sara")).reply)
  end)
  it("hands over in plain words", function()
    for _, text in ipairs({
      "talk to a human", "can I speak with an agent please", "I need a real person", "agent",
    }) do
      assert.equal("handoff", brand.route(turn(text)).route, text)
    end
  end)
  it("leaves agents that are products alone", function()
    assert.equal("answer", brand.route(turn("Which cleaning agents do you sell?")).route)
  end)
  it("lists its sources below an answer", function()
    local reply = brand.reply(turn("q"), {
      text = "In 30 days [1].", answered = true, citations = { { title = "Returns", number = 1 } },
    })
    assert.equal("In 30 days [1].\n[1] Returns", reply.text)
  end)
  it("leaves an answer without sources as it is", function()
    assert.is_nil(brand.reply(turn("q"), { text = "?", answered = false, citations = {} }))
  end)
end)
