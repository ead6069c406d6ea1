-- SPDX-License-Identifier: Apache-2.0
--- Tidy the blocks (control characters, white space, words cut at line ends,
--- lines repeated on every page) and note the language.
---@class step.clean : xin.Step
local M = { api = 1, name = "clean" }

local SAMPLE_CHARACTERS = 4000

-- Enough text to tell the language by.
local function sample(blocks)
  local parts, length = {}, 0
  for i = 1, #blocks do
    if length >= SAMPLE_CHARACTERS then
      break
    end
    local text = xin.text.sub(blocks[i].text, 1, SAMPLE_CHARACTERS)
    parts[#parts + 1] = text
    length = length + xin.text.length(text)
  end
  return table.concat(parts, "\n")
end

---@param document xin.Document
---@return xin.Document?, xin.Error?
function M.run(document)
  local blocks, err = xin.text.clean(xin.document.blocks())
  if not blocks then
    return nil, err
  end
  if #blocks == 0 then
    return nil, { code = "invalid_request", reason = "the document has no text" }
  end
  xin.document.set_blocks(blocks)
  document.language = xin.text.language(sample(blocks))
  return document
end

return M
