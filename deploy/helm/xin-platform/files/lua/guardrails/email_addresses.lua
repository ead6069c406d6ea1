-- SPDX-License-Identifier: Apache-2.0
--- Replace e-mail addresses.
local verdict = require("lib.verdict")

local set = xin.match.compile({
  {
    name = "email",
    regex = [[[a-z0-9_](?:[a-z0-9._%+'\-]*[a-z0-9_+\-])?@[a-z0-9][a-z0-9\-]*(?:\.[a-z0-9\-]+)*\.[a-z]{2,24}]],
    caseless = true,
    word_edges = true,
  },
})

---@class guardrail.email_addresses : xin.Guardrail
local M = {
  api = 1,
  name = "email_addresses",
  stages = { "input", "output" },
  on_error = "block",
  schema = { mask = { type = "string", default = "[email]", max_length = 32 } },
  examples = {
    { text = "write to Jane.Doe+shop@mail.example.co.uk.", action = "rewrite" },
    { text = "ایمیل من sara@example.com است", action = "rewrite" },
    { text = "we meet @ noon, see you@there", action = "allow" },
  },
}

function M.check(message, settings)
  return verdict.mask(set, message.text, settings.mask or "[email]", "email_address")
end

return M
