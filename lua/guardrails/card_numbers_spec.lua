-- SPDX-License-Identifier: Apache-2.0
local guard = require("guardrails.card_numbers")

local function masked(text)
  local verdict = guard.check({ text = text, stage = "input" }, { mask = "[card]" })
  return verdict.text, verdict
end

describe("card_numbers", function()
  it("masks grouped and plain numbers, each once", function()
    assert.equal("a [card] b [card]", (masked("a 4111-1111-1111-1111 b 5500005555555559")))
  end)
  it("masks Persian digits", function()
    assert.equal("کارت [card] است", (masked("کارت ۶۰۳۷-۹۹۱۲-۳۴۵۶-۷۸۹۳ است")))
  end)
  it("leaves numbers whose check digit is wrong", function()
    assert.equal("allow", select(2, masked("6037991234567894")).action)
  end)
  it("leaves a card number inside a longer number", function()
    assert.equal("allow", select(2, masked("94111111111111111000")).action)
  end)
  it("uses the mask of the settings", function()
    local verdict = guard.check({ text = "4111111111111111" }, { mask = "****" })
    assert.equal("****", verdict.text)
  end)
end)
