-- SPDX-License-Identifier: Apache-2.0
local guard = require("guardrails.phone_numbers")

local function action(text)
  return guard.check({ text = text }, { mask = "[phone]" }).action
end

describe("phone_numbers", function()
  for _, text in ipairs({
    "+98 912 345 6789", "0098 912 345 6789", "0912-345-6789", "۰۹۱۲ ۳۴۵ ۶۷ ۸۹", "021-88776655",
    "+1 (415) 867-5309", "415-867-5309", "415.867.5309",
  }) do
    it("masks " .. text, function()
      assert.equal("[phone]", guard.check({ text = text }, { mask = "[phone]" }).text)
    end)
  end
  it("leaves prices, dates, sizes and order numbers", function()
    for _, text in ipairs({ "1,200,000 toman", "2024-05-06", "192.168.10.20", "order 4420391" }) do
      assert.equal("allow", action(text), text)
    end
  end)
end)
