-- SPDX-License-Identifier: Apache-2.0
--- Alpha: an English retail shop. Brisk: short answers, sources at the end, and
--- nothing outside the shop's business.
local handoff = require("lib.handoff")
local small_talk = require("lib.small_talk")

local REPLIES = {
  greeting = "Hi! What are you looking for today?",
  thanks = "Any time!",
  farewell = "Bye, and happy shopping!",
}

---@class brand.alpha : xin.Brand
local M = {
  api = 1,
  name = "alpha",
  title = "Alpha Store",
  languages = { "en" },
  channels = { "webchat" },
  guardrails = {
    { name = "prompt_injection" },
    { name = "off_topic", settings = { topics = { "politics", "medical", "legal" } } },
    { name = "card_numbers" },
    { name = "email_addresses" },
    { name = "phone_numbers", shadow = true },
  },
  pipeline = "standard",
  retrieval = { top_k = 6 },
  fallback = "Oops, that did not work. Give us a minute and try again.",
  no_answer = "Not sure about that one. Want me to get a colleague? Just say \"talk to a human\".",
  blocked = "That's outside what we can help with here. Ask me about our products, orders or returns.",
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
    return { route = "handoff", reply = "Sure, getting a colleague for you now." }
  end
  local kind = small_talk.kind(turn.text)
  if kind then
    local name = turn.user and turn.user.name
    if kind == "greeting" and type(name) == "string" and #name > 0 and #name <= 40 then
      return { route = "reply", reply = "Hi " .. name .. "! What are you looking for today?" }
    end
    return { route = "reply", reply = REPLIES[kind] }
  end
  return {
    route = "answer",
    prompt = "You work for Alpha Store. Answer in at most three short sentences, friendly and "
      .. "direct, from the passages alone. Cite passages as [1], [2].",
  }
end

--- Sources in one line below the answer: "[1] Returns  [2] Delivery".
---@param answer xin.Answer
---@return { text: string }?
function M.reply(_, answer)
  if not answer.answered or #answer.citations == 0 then
    return nil
  end
  local sources = {}
  for i, citation in ipairs(answer.citations) do
    sources[i] = "[" .. math.tointeger(citation.number) .. "] " .. citation.title
  end
  return { text = answer.text .. "\n" .. table.concat(sources, "  ") }
end

return M
