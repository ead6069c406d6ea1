-- SPDX-License-Identifier: Apache-2.0
--- Read the upload into blocks. A title that came with the upload wins over the
--- one inside the document.
---@class step.extract : xin.Step
local M = { api = 1, name = "extract" }

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document)
  local blocks, title = xin.extract.blocks()
  if not blocks then
    return nil, title
  end
  xin.document.set_blocks(blocks)
  if document.title == "" and title then
    document.title = title
  end
  return document
end

return M
