-- SPDX-License-Identifier: Apache-2.0
--- Which language to answer in, and sentences that exist in several.
local M = {}

local function has(list, item)
  for _, each in ipairs(list) do
    if each == item then
      return true
    end
  end
  return false
end

--- The message's language when the brand speaks it; else the one that the user
--- wrote in last; else the brand's first.
---@param turn xin.Turn
---@param languages string[]
---@return string
function M.pick(turn, languages)
  if has(languages, turn.language) then
    return turn.language
  end
  local messages = turn.conversation and turn.conversation.messages or {}
  for i = #messages, 1, -1 do
    if messages[i].role == "user" then
      local language = xin.text.language(messages[i].text)
      if has(languages, language) then
        return language
      end
    end
  end
  return languages[1] --[[@as string]] -- a brand has one: the contract
end

--- One of a table of sentences by language.
---@param sentences table<string, string>
---@param language string
---@return string
function M.say(sentences, language)
  return sentences[language] or sentences.en
end

return M
