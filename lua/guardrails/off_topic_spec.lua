-- SPDX-License-Identifier: Apache-2.0
local guard = require("guardrails.off_topic")

describe("off_topic", function()
  it("names the topic in the reason", function()
    local verdict = guard.check({ text = "Can I sue you?" }, {})
    assert.equal("off_topic:legal", verdict.reason)
  end)
  it("declines only the topics of the settings", function()
    local verdict = guard.check({ text = "Can I sue you?" }, { topics = { "politics" } })
    assert.equal("allow", verdict.action)
  end)
  it("leaves shop questions that only sound like one", function()
    for _, text in ipairs({
      "Do you sell first aid kits?", "Who won the raffle?", "Is delivery on election day possible?",
      "Where are the terms and legal notices?",
    }) do
      assert.equal("allow", guard.check({ text = text }, {}).action, text)
    end
  end)
end)
