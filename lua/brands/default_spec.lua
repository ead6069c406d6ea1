-- SPDX-License-Identifier: Apache-2.0
local brand = require("brands.default")

local function route(text)
  return brand.route({ text = text, language = "en", user = { id = "u" }, conversation = { messages = {} } })
end

describe("brand default", function()
  it("answers questions from documents", function()
    assert.equal("answer", route("How long is the warranty?").route)
  end)
  it("greets without asking the model", function()
    assert.equal("reply", route("Hello!").route)
    assert.truthy(route("Hello!").reply)
  end)
  it("hands over to a person", function()
    assert.equal("handoff", route("I want to talk to a human").route)
  end)
  it("takes a greeting with a question for a question", function()
    assert.equal("answer", route("Hi, where is my parcel?").route)
  end)
end)
