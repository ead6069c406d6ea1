-- SPDX-License-Identifier: Apache-2.0
--- The plain helpful brand: answers from its documents and says so when they
--- do not hold the answer.
local handoff = require("lib.handoff")
local small_talk = require("lib.small_talk")

local REPLIES = {
  greeting = "Hello! Ask me anything about our products and documents.",
  thanks = "You are welcome.",
  farewell = "Goodbye!",
}

---@class brand.default : xin.Brand
local M = {
  api = 1,
  name = "default",
  title = "Xin",
  languages = { "en" },
  channels = { "webchat" },
  guardrails = {
    { name = "prompt_injection" },
    { name = "card_numbers" },
    { name = "email_addresses", shadow = true },
  },
  pipeline = "standard",
  retrieval = { top_k = 8 },
  fallback = "Sorry, something went wrong on our side. Please try again in a moment.",
  no_answer = "I could not find an answer to that in our documents.",
  blocked = "I can't help with that request.",
}

-- Loaded with the brand, when a generation is prepared: their pattern sets are
-- compiled then, not on the time of the first message.
for _, guard in ipairs(M.guardrails) do
  require("guardrails." .. guard.name)
end

---@param turn xin.Turn
---@return xin.Route
function M.route(turn)
  if handoff.asked(turn.text) then
    return { route = "handoff", reply = "I am passing you on to a colleague." }
  end
  local kind = small_talk.kind(turn.text)
  if kind then
    return { route = "reply", reply = REPLIES[kind] }
  end
  return {
    route = "answer",
    prompt = "Answer the question from the passages alone, briefly and politely, "
      .. "in the language of the question. Cite passages as [1], [2]. "
      .. "Say so when the passages do not hold the answer.",
  }
end

return M
