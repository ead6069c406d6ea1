-- SPDX-License-Identifier: Apache-2.0
--- Replace payment card numbers in either direction of a conversation, and in
--- documents before they are indexed. Digits of all scripts; Luhn is checked.
local verdict = require("lib.verdict")

-- Shapes by length and first digits, so that order numbers and timestamps pass.
local function card(regex)
  return { name = "card", regex = regex, check = "luhn", word_edges = true }
end

local set = xin.match.compile({
  card([[[2-6]\d{15}]]),
  card([[3[47]\d{13}]]),
  card([[3[0689]\d{12}]]),
  card([[4\d{12}]]),
  card([[6\d{17,18}]]),
  card([[4\d{18}]]),
  card([[(?:2131|1800)\d{11}]]),
  card([[[2-6]\d{3}[ .\-]{1,2}\d{4}[ .\-]{1,2}\d{4}[ .\-]{1,2}\d{4}]]),
  card([[3[47]\d{2}[ .\-]{1,2}\d{6}[ .\-]{1,2}\d{5}]]),
  card([[3[0689]\d{2}[ .\-]{1,2}\d{6}[ .\-]{1,2}\d{4}]]),
})

---@class guardrail.card_numbers : xin.Guardrail
local M = {
  api = 1,
  name = "card_numbers",
  stages = { "input", "output", "document" },
  on_error = "block",
  schema = { mask = { type = "string", default = "[card]", max_length = 32 } },
  examples = {
    { text = "pay 4111 1111 1111 1111 now", action = "rewrite" },
    { text = "amex 378282246310005", action = "rewrite" },
    { text = "شماره کارت ۶۰۳۷۹۹۱۲۳۴۵۶۷۸۹۳ است", action = "rewrite" },
    { text = "order 4111 1111 1111 1112", action = "allow" },
    { text = "at 1700000000000 ms", action = "allow" },
  },
}

function M.check(message, settings)
  return verdict.mask(set, message.text, settings.mask or "[card]", "card_number")
end

return M
