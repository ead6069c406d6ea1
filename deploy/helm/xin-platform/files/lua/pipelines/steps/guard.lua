-- SPDX-License-Identifier: Apache-2.0
--- The brand's guardrails of stage "document" over every chunk: masked text is
--- indexed masked, a blocked chunk is left out.
---@class step.guard : xin.Step
local M = { api = 1, name = "guard" }

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document)
  local chunks, outcome = xin.guard.chunks(xin.document.chunks())
  if not chunks then
    return nil, outcome
  end
  if outcome.dropped > 0 then
    xin.log.warn("chunks_left_out", outcome)
  end
  xin.document.set_chunks(chunks)
  return document
end

return M
