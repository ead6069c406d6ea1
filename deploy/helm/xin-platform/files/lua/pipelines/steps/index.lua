-- SPDX-License-Identifier: Apache-2.0
--- Put the chunks into the index, aside: the host switches the version live
--- when all steps are through.
---@class step.index : xin.Step
local M = { api = 1, name = "index" }

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document)
  local count, err = xin.search.put(xin.document.chunks())
  if not count then
    return nil, err
  end
  return document
end

return M
