-- SPDX-License-Identifier: Apache-2.0
--- The three verdicts of a guardrail, so that no guard spells them by hand.
local M = {}

---@return xin.Verdict
function M.allow()
  return { action = "allow" }
end

---@param reason string stable word for the ledger: "off_topic:medical"
---@return xin.Verdict
function M.block(reason)
  return { action = "block", reason = reason }
end

--- Replace each hit of a set with a mask.
---@param set xin.MatchSet
---@param text string
---@param mask string
---@param reason string
---@return xin.Verdict
function M.mask(set, text, mask, reason)
  local masked, count = set:replace(text, mask)
  if count == 0 then
    return M.allow()
  end
  return { action = "rewrite", text = masked, reason = reason }
end

return M
