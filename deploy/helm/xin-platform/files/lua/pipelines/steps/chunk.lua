-- SPDX-License-Identifier: Apache-2.0
--- Cut the blocks into chunks along headings, paragraphs and sentences.
---@class step.chunk : xin.Step
local M = {
  api = 1,
  name = "chunk",
  schema = { max_chars = { type = "integer", default = 1200, min = 100, max = 8000 } },
}

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document, settings)
  local max_chars = settings and settings.max_chars or 1200
  local chunks, err = xin.text.chunks(xin.document.blocks(), { max_chars = max_chars })
  if not chunks then
    return nil, err
  end
  xin.document.set_chunks(chunks)
  return document
end

return M
