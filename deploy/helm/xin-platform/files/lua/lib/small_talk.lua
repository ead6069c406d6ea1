-- SPDX-License-Identifier: Apache-2.0
--- Messages that need no knowledge: greetings, thanks, farewells. Each pattern
--- spans the whole message, so "hi, where is my order?" is a question.
local M = {}

local set = xin.match.compile({
  {
    name = "greeting",
    regex = [[^\W*(?:hi+|hello+|hey+|howdy|yo|greetings|good (?:morning|afternoon|evening|day))]]
      .. [[(?: (?:there|all|again|team|everyone|bot))?\W*$]],
    caseless = true,
  },
  {
    name = "greeting",
    regex = [[^\W*(?:hi|hello|hey)?[ ,!]*(?:how are you|how'?s it going|what'?s up)]]
      .. [[(?: doing)?(?: today)?\W*$]],
    caseless = true,
  },
  {
    name = "thanks",
    regex = [[^\W*(?:(?:ok(?:ay)?|great|perfect|cool|awesome)[ ,!.]*)?]]
      .. [[(?:thanks?(?: you)?|thank u|thx|cheers|much appreciated)]]
      .. [[(?: (?:so much|very much|a lot|again|a bunch))?\W*$]],
    caseless = true,
  },
  {
    name = "farewell",
    regex = [[^\W*(?:ok(?:ay)?[ ,]*)?(?:bye+(?:[ -]?bye)?|good ?bye|see (?:you|ya)(?: later)?]]
      .. [[|take care|have a (?:nice|good|great) (?:day|one|evening|weekend))\W*$]],
    caseless = true,
  },
  {
    name = "greeting",
    regex = [[^[\s!.,؟?،*]*(?:سلام|درود|وقت بخ[یي]ر|روز بخ[یي]ر|صبح بخ[یي]ر|عصر بخ[یي]ر|شب بخ[یي]ر)]]
      .. [[(?:[\s،!]*(?:عل[یي][کك]م|عرض شد|خوب[یي]|خوب هست[یي]د|چطور[یي]|وقت بخ[یي]ر|روز بخ[یي]ر))*[\s!.,؟?،*]*$]],
  },
  {
    name = "thanks",
    regex = [[^[\s!.,،*]*(?:خ[یي]ل[یي] )?(?:ممنونم?|متش[کك]رم?|مرس[یي]|سپاس(?:گزارم)?|تش[کك]ر|دست(?:ت|تون|تان) درد ن[کك]نه)]]
      .. [[(?: از شما| از (?:لطف|راهنما[یي][یي]) ?(?:تون|تان|شما))?[\s!.,،*]*$]],
  },
  {
    name = "farewell",
    regex = [[^[\s!.,،*]*(?:خداحافظ|خدا نگهدار|خدانگهدار|فعلا|به ام[یي]د د[یي]دار|روز خوب[یي] داشته باش[یي]د)[\s!.,،*]*$]],
  },
})

--- "greeting", "thanks", "farewell", or nil when the message asks for something.
---@param text string
---@return string?
function M.kind(text)
  if xin.text.length(text) > 60 then
    return nil
  end
  local hit = set:scan(text)[1]
  return hit and hit.name
end

return M
