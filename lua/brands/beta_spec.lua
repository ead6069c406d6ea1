-- SPDX-License-Identifier: Apache-2.0
local brand = require("brands.beta")

local function turn(text, language, messages)
  return {
    text = text, language = language, user = { id = "u" },
    conversation = { messages = messages or {} },
  }
end

describe("brand beta", function()
  it("answers in the language of the message", function()
    assert.truthy(brand.route(turn("سلام", "fa")).reply:find("سلام", 1, true))
    assert.truthy(brand.route(turn("Hello", "en")).reply:find("Good day", 1, true))
  end)
  it("keeps the language of the conversation for messages without words", function()
    local messages = { { role = "user", text = "Where is it?" }, { role = "assistant", text = "؟" } }
    local route = brand.route(turn("12345", "und", messages))
    assert.equal(brand.no_answer.en, route.no_answer)
  end)
  it("hands over on Persian words, with Arabic letters too", function()
    for _, text in ipairs({
      "می‌خواهم با یک اپراتور صحبت کنم", "لطفا به پشتیبان وصل کنید", "مي‌خواهم با کارشناس حرف بزنم",
    }) do
      assert.equal("handoff", brand.route(turn(text, "fa")).route, text)
    end
  end)
  it("names sources in Persian", function()
    local reply = brand.reply(turn("سوال", "fa"), {
      text = "پاسخ", answered = true,
      citations = { { title = "الف", number = 1 }, { title = "ب", number = 2 } },
    })
    assert.equal("پاسخ\nمنابع: [1] الف، [2] ب", reply.text)
  end)
  it("masks cards, codes and phones strictly", function()
    local settings = {}
    for _, guard in ipairs(brand.guardrails) do
      settings[guard.name] = guard.settings
    end
    assert.is_false(settings.national_id.require_context)
    assert.equal("[****]", settings.card_numbers.mask)
  end)
end)
