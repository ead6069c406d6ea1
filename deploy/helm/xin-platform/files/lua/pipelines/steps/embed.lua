-- SPDX-License-Identifier: Apache-2.0
--- Embeddings, where an embedding model is configured; without one the search
--- is lexical and there is nothing to do.
---@class step.embed : xin.Step
local M = { api = 1, name = "embed" }

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document)
  local count, err = xin.embed.chunks(xin.document.chunks())
  if not count then
    return nil, err
  end
  return document
end

return M
