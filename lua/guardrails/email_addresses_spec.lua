-- SPDX-License-Identifier: Apache-2.0
local guard = require("guardrails.email_addresses")

describe("email_addresses", function()
  it("masks the address and leaves the full stop", function()
    local verdict = guard.check({ text = "Mail jane@example.com." }, { mask = "[email]" })
    assert.equal("Mail [email].", verdict.text)
  end)
  it("masks several addresses", function()
    local verdict = guard.check({ text = "a.b@x.io, C+d@mail.x.io" }, { mask = "E" })
    assert.equal("E, E", verdict.text)
  end)
end)
