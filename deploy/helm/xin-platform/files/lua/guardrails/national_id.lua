-- SPDX-License-Identifier: Apache-2.0
--- Replace Iranian national codes (check digit verified) and US social security
--- numbers. One in eleven random ten-digit numbers has a right check digit, so
--- a plain one counts only when the message speaks of such a code, unless
--- require_context is switched off.
local verdict = require("lib.verdict")

local context = xin.match.compile({
  { name = "context", regex = [=[(?:[کك]د|شماره|ش) ?مل[یي]|شناسنامه|[کك]ارت مل[یي]]=] },
  { name = "context", regex = [[national (?:id|code|number)|melli|identity (?:number|card)|id number]],
    caseless = true },
})

local codes = xin.match.compile({
  { name = "ir", regex = [[\d{10}]], check = "ir_national_id", word_edges = true },
  { name = "ir", regex = [[\d{3}[ \-]\d{6}[ \-]\d]], check = "ir_national_id", word_edges = true },
  { name = "us", regex = [[(?:00[1-9]|0[1-9]\d|[1-57-8]\d{2}|6[0-57-9]\d|66[0-57-9])-(?:0[1-9]|[1-9]\d)-\d{4}]],
    word_edges = true },
})

local shaped = xin.match.compile({
  { name = "ir", regex = [[\d{3}-\d{6}-\d]], check = "ir_national_id", word_edges = true },
  { name = "us", regex = [[(?:00[1-9]|0[1-9]\d|[1-57-8]\d{2}|6[0-57-9]\d|66[0-57-9])-(?:0[1-9]|[1-9]\d)-\d{4}]],
    word_edges = true },
})

---@class guardrail.national_id : xin.Guardrail
local M = {
  api = 1,
  name = "national_id",
  stages = { "input", "output", "document" },
  on_error = "block",
  schema = {
    mask = { type = "string", default = "[national id]", max_length = 32 },
    require_context = { type = "boolean", default = true },
  },
  examples = {
    { text = "کد ملی من ۰۰۱۲۳۴۵۶۷۹ است", action = "rewrite" },
    { text = "my SSN is 536-22-8726", action = "rewrite" },
    { text = "order 0012345679 please", action = "allow" },
    { text = "کد ملی من 0012345678 است", action = "allow" },
  },
}

function M.check(message, settings)
  local set = shaped
  if settings.require_context == false or context:any(message.text) then
    set = codes
  end
  return verdict.mask(set, message.text, settings.mask or "[national id]", "national_id")
end

return M
