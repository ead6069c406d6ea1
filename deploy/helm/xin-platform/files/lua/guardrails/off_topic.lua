-- SPDX-License-Identifier: Apache-2.0
--- Decline questions that a shop's assistant must not answer: advice on
--- politics, medicine and law. Patterns look for a question of that kind, not
--- for the bare word: "medical face masks" is a product, "tax" stands on bills.
local verdict = require("lib.verdict")

local set = xin.match.compile({
  {
    name = "politics",
    regex = [[(?:who|whom|which (?:party|candidate)) (?:should|would|do|will|did) (?:i|you|we) (?:vote|support)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "politics",
    regex = [[(?:your|the) (?:opinion|view|thoughts?|stance) (?:on|about|of) (?:the )?(?:president|government|election|]]
      .. [[prime minister|parliament|congress|war|abortion|immigration|brexit|politics|republicans|democrats)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "politics",
    regex = [[(?:what|who) do you think (?:of|about|is) (?:the )?(?:president|government|election|war|next president|]]
      .. [[politics|trump|biden|putin|republicans|democrats)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "politics",
    regex = [[(?:win|won|rigged|steal|stole) the (?:\w+ )?election|political party]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "medical",
    regex = [[(?:should|can|may|could) i (?:take|stop taking|mix|combine|use) (?:my |some |an? |the )?(?:\w+ )?]]
      .. [[(?:medicines?|medications?|pills?|antibiotics?|ibuprofen|paracetamol|aspirin|insulin|antidepressants?|drugs?)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "medical",
    regex = [[(?:what|which) (?:is the )?(?:right |correct |safe |best )?(?:dose|dosage|medicine|medication|drug|treatment|cure)]]
      .. [[ (?:of|for|should|can|do|is)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "medical",
    regex = [[(?:do i have|could it be|is it|diagnose|symptoms? of|treat(?:ment)? (?:for|of)|cure for)]]
      .. [[ (?:my |an? |the )?(?:cancer|diabetes|covid|flu|depression|infection|disease|rash|migraine|fever|pain|symptoms?)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "legal",
    regex = [[(?:can|should|could|may) i (?:sue|press charges|take (?:him|her|them|you) to court)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "legal",
    regex = [[(?:legal advice|is it (?:legal|illegal) (?:to|for|if)|need a lawyer|write (?:me )?a (?:will|lawsuit|legal contract))]],
    caseless = true,
    word_edges = true,
  },
  { name = "politics", regex = [[(?:به [کك][یي]|به چه [کك]س[یي]) را[یي] (?:بدهم|بدم|بده[یي]م)]] },
  { name = "politics", regex = [[نظر(?:ت|تان|تون| شما)? .{0,15}(?:رئ[یي]س ?جمهور|دولت|انتخابات|حکومت|س[یي]است)]] },
  { name = "medical", regex = [[(?:چه|[کك]دام) (?:دارو|قرص|آنت[یي] ?ب[یي]وت[یي][کك])[یي]{0,2} .{0,20}(?:بخورم|مصرف|مناسب|خوب)]] },
  { name = "medical", regex = [[(?:علائم|درمان) (?:سرطان|د[یي]ابت|[کك]رونا|آنفولانزا|افسردگ[یي]|عفونت|سردرد)]] },
  { name = "legal", regex = [[(?:ش[کك]ا[یي]ت (?:[کك]نم|ب[کك]نم)|مشاوره حقوق[یي]|و[کك][یي]ل (?:بگ[یي]رم|لازم دارم))]] },
})

---@class guardrail.off_topic : xin.Guardrail
local M = {
  api = 1,
  name = "off_topic",
  stages = { "input" },
  on_error = "allow",
  schema = {
    topics = {
      type = "array",
      items = { type = "string", enum = { "politics", "medical", "legal" } },
      default = { "politics", "medical", "legal" },
    },
  },
  examples = {
    { text = "Who should I vote for?", action = "block" },
    { text = "Can I take ibuprofen with my antibiotics?", action = "block" },
    { text = "Can I sue my landlord?", action = "block" },
    { text = "چه دارویی برای سردرد بخورم؟", action = "block" },
    { text = "Do you sell medical face masks?", action = "allow" },
    { text = "Is the tax on my invoice right?", action = "allow" },
  },
}

function M.check(message, settings)
  local declined = {}
  for _, topic in ipairs(settings.topics or M.schema.topics.default) do
    declined[topic] = true
  end
  for _, hit in ipairs(set:scan(message.text)) do
    if declined[hit.name] then
      return verdict.block("off_topic:" .. hit.name)
    end
  end
  return verdict.allow()
end

return M
