-- SPDX-License-Identifier: Apache-2.0
--- Beta: Persian first, English for who writes English. Formal, and strict on
--- personal data: national codes are masked even when nothing announces them.
local handoff = require("lib.handoff")
local language = require("lib.language")
local small_talk = require("lib.small_talk")

---@type table<string, table<string, string>>
local REPLIES = {
  greeting = {
    fa = "سلام و درود. چگونه می‌توانم خدمتتان باشم؟",
    en = "Good day. How may I be of service?",
  },
  thanks = {
    fa = "خواهش می‌کنم. در خدمت شما هستم.",
    en = "You are most welcome.",
  },
  farewell = {
    fa = "با آرزوی روزی خوش برای شما. خدانگهدار.",
    en = "Thank you for contacting us. Goodbye.",
  },
  handoff = {
    fa = "درخواست شما ثبت شد. همکاران ما به‌زودی با شما گفت‌وگو خواهند کرد.",
    en = "Your request has been noted. A colleague will be with you shortly.",
  },
  sources = { fa = "منابع: ", en = "Sources: " },
}

local PROMPTS = {
  fa = "شما دستیار رسمی شرکت بتا هستید. تنها بر پایهٔ متن‌های داده‌شده، به فارسی رسمی و کوتاه پاسخ دهید "
    .. "و شمارهٔ متن را به شکل [1] بیاورید. اگر پاسخ در متن‌ها نیست، همین را بگویید.",
  en = "You are the formal assistant of Beta. Answer in formal English, briefly, from the passages "
    .. "alone, and cite them as [1], [2]. Say so when they do not hold the answer.",
}

---@class brand.beta : xin.Brand
local M = {
  api = 1,
  name = "beta",
  title = "بتا",
  languages = { "fa", "en" },
  direction = "rtl",
  channels = { "webchat" },
  guardrails = {
    { name = "prompt_injection" },
    { name = "off_topic", settings = { topics = { "politics" } } },
    { name = "card_numbers", settings = { mask = "[****]" } },
    { name = "national_id", settings = { mask = "[****]", require_context = false } },
    { name = "email_addresses", settings = { mask = "[****]" } },
    { name = "phone_numbers", settings = { mask = "[****]" } },
  },
  pipeline = "standard",
  retrieval = { top_k = 8 },
  fallback = {
    fa = "با پوزش، در حال حاضر امکان پاسخ‌گویی نیست. لطفاً اندکی بعد دوباره تلاش کنید.",
    en = "We apologise: an answer is not possible at the moment. Please try again shortly.",
  },
  no_answer = {
    fa = "متأسفانه پاسخی برای این پرسش در اسناد ما یافت نشد.",
    en = "We regret that our documents hold no answer to this question.",
  },
  blocked = {
    fa = "با پوزش، امکان رسیدگی به این درخواست وجود ندارد.",
    en = "We are unable to assist with this request.",
  },
}

-- Loaded with the brand, when a generation is prepared: their pattern sets are
-- compiled then, not on the time of the first message.
for _, guard in ipairs(M.guardrails) do
  require("guardrails." .. guard.name)
end

---@param turn xin.Turn
---@return xin.Route
function M.route(turn)
  local lang = language.pick(turn, M.languages)
  if handoff.asked(turn.text) then
    return { route = "handoff", reply = language.say(REPLIES.handoff, lang) }
  end
  local kind = small_talk.kind(turn.text)
  if kind then
    return { route = "reply", reply = language.say(REPLIES[kind], lang) }
  end
  return {
    route = "answer",
    prompt = language.say(PROMPTS, lang),
    no_answer = language.say(M.no_answer, lang),
  }
end

---@param turn xin.Turn
---@param answer xin.Answer
---@return { text: string }?
function M.reply(turn, answer)
  if not answer.answered or #answer.citations == 0 then
    return nil
  end
  local lang = language.pick(turn, M.languages)
  local titles = {}
  for i, citation in ipairs(answer.citations) do
    titles[i] = "[" .. math.tointeger(citation.number) .. "] " .. citation.title
  end
  local between = lang == "fa" and "، " or ", "
  return {
    text = answer.text .. "\n" .. language.say(REPLIES.sources, lang) .. table.concat(titles, between),
  }
end

return M
