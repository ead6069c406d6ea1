-- SPDX-License-Identifier: Apache-2.0
local small_talk = require("lib.small_talk")

describe("small_talk", function()
  local cases = {
    ["Hi there!"] = "greeting", ["good morning"] = "greeting", ["سلام"] = "greeting",
    ["سلام، خوبی؟"] = "greeting", ["Thanks a lot!"] = "thanks", ["خیلی ممنونم"] = "thanks",
    ["bye"] = "farewell", ["خداحافظ"] = "farewell",
  }
  for text, kind in pairs(cases) do
    it("takes '" .. text .. "' for " .. kind, function()
      assert.equal(kind, small_talk.kind(text))
    end)
  end
  it("sees nothing in questions", function()
    for _, text in ipairs({ "hi, do you ship to Oslo?", "سلام قیمت این محصول چند است؟", "thanks card price?" }) do
      assert.is_nil(small_talk.kind(text), text)
    end
  end)
end)
