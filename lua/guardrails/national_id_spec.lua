-- SPDX-License-Identifier: Apache-2.0
local guard = require("guardrails.national_id")

describe("national_id", function()
  it("needs a word of context for plain digits", function()
    local settings = { mask = "#", require_context = true }
    assert.equal("allow", guard.check({ text = "0012345679" }, settings).action)
    assert.equal("کد ملی #", guard.check({ text = "کد ملی 0012345679" }, settings).text)
  end)
  it("masks without context when the brand says so", function()
    local settings = { mask = "#", require_context = false }
    assert.equal("#", guard.check({ text = "۰۰۱۲۳۴۵۶۷۹" }, settings).text)
  end)
  it("leaves ten digits that are no code", function()
    local settings = { mask = "#", require_context = false }
    assert.equal("allow", guard.check({ text = "1111111111 0012345678" }, settings).action)
  end)
end)
