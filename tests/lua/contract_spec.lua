-- SPDX-License-Identifier: Apache-2.0
--- What the host checks of every module at load, held against the shipped ones.
local GUARDRAILS = {
  "card_numbers", "email_addresses", "national_id", "off_topic", "phone_numbers",
  "prompt_injection",
}

local function defaults(schema)
  local settings = {}
  for name, field in pairs(schema or {}) do
    settings[name] = field.default
  end
  return settings
end

describe("every guardrail", function()
  for _, name in ipairs(GUARDRAILS) do
    local guard = require("guardrails." .. name)

    it(name .. " declares what the contract asks for", function()
      assert.equal(1, guard.api)
      assert.equal(name, guard.name)
      assert.is_true(#guard.stages > 0)
      assert.is_true(guard.on_error == "block" or guard.on_error == "allow")
      assert.is_true(#guard.examples >= 2)
    end)

    for i, example in ipairs(guard.examples) do
      it(name .. " does what its example " .. i .. " says", function()
        local message = { text = example.text, stage = example.stage or guard.stages[1], brand = "x", language = "en" }
        assert.equal(example.action, guard.check(message, defaults(guard.schema)).action)
      end)
    end
  end
end)

describe("every brand", function()
  for _, name in ipairs({ "default", "alpha", "beta" }) do
    local brand = require("brands." .. name)

    it(name .. " names guardrails, pipeline and channels that exist", function()
      assert.equal(name, brand.name)
      for _, guard in ipairs(brand.guardrails) do
        assert.equal(guard.name, require("guardrails." .. guard.name).name)
      end
      assert.equal(brand.pipeline, require("pipelines." .. brand.pipeline).name)
      for _, channel in ipairs(brand.channels) do
        assert.equal(channel, require("channels." .. channel).name)
      end
      assert.truthy(brand.fallback)
      assert.truthy(brand.no_answer)
    end)
  end
end)

describe("the standard pipeline", function()
  it("names steps that exist", function()
    for _, step in ipairs(require("pipelines.standard").steps) do
      assert.equal(step, require("pipelines.steps." .. step).name)
    end
  end)
end)
