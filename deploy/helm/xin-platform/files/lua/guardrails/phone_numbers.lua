-- SPDX-License-Identifier: Apache-2.0
--- Replace telephone numbers: international (E.164), Iranian mobile and land
--- lines, North American. Digits of all scripts. A number without prefix,
--- separators or area code is left alone: it is more often an order.
local verdict = require("lib.verdict")

local function phone(regex)
  return { name = "phone", regex = regex, word_edges = true }
end

local set = xin.match.compile({
  phone([[\+[1-9](?:[ .()\-]{0,2}\d){7,14}]]),
  phone([[00[1-9](?:[ .()\-]{0,2}\d){8,14}]]),
  phone([[(?:98|0)[ \-]?9\d{2}[ \-]?\d{3}[ \-]?\d{2}[ \-]?\d{2}]]),
  phone([[0[1-8]\d[ \-]?[1-9]\d{3}[ \-]?\d{4}]]),
  phone([[(?:1[ .\-])?\([2-9]\d{2}\)[ \-]?\d{3}[ .\-]?\d{4}(?: ?x ?\d{1,5})?]]),
  phone([[(?:1[ .\-])?[2-9]\d{2}[.\-]\d{3}[.\-]\d{4}(?: ?x ?\d{1,5})?]]),
  phone([[[2-9]\d{2} \d{3}[ \-]\d{4}]]),
  -- other countries' national form: trunk 0 or area code in brackets, groups
  phone([[0[1-9](?:[ .\-]\d{2}){4}]]),
  phone([[0\d{2,4}[ \-]\d{3,4}[ \-]?\d{3,4}]]),
  phone([[0\d{2,3} \d{2,3} \d{2} \d{2}]]),
  phone([[\(0?\d{2,4}\) ?\d{3,4}[ \-]\d{3,4}]]),
})

---@class guardrail.phone_numbers : xin.Guardrail
local M = {
  api = 1,
  name = "phone_numbers",
  stages = { "input", "output" },
  on_error = "block",
  schema = { mask = { type = "string", default = "[phone]", max_length = 32 } },
  examples = {
    { text = "call +44 20 7946 0958 today", action = "rewrite" },
    { text = "شماره من ۰۹۱۲۳۴۵۶۷۸۹ است", action = "rewrite" },
    { text = "ring (212) 555-0187", action = "rewrite" },
    { text = "order 20231102 for 3 items", action = "allow" },
    { text = "from 10:30 to 12:45 on 2024-05-06", action = "allow" },
  },
}

function M.check(message, settings)
  return verdict.mask(set, message.text, settings.mask or "[phone]", "phone_number")
end

return M
