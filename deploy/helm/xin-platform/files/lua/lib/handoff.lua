-- SPDX-License-Identifier: Apache-2.0
--- Does the user ask for a person?
local M = {}

local set = xin.match.compile({
  {
    name = "handoff",
    regex = [[(?:talk|speak|chat|connect|transfer|put me|pass me|get me|need|want)(?: me)?]]
      .. [[(?: through)?(?: to| with)?(?: an?| the| some| your| another)?(?: real| live| actual)?]]
      .. [[ (?:human|person|agent|operator|representative|rep|advisor|someone real|manager|supervisor)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "handoff",
    regex = [[(?:human|live|real) (?:agent|person|support|operator|being)|customer (?:service|support) (?:agent|rep|representative)]],
    caseless = true,
    word_edges = true,
  },
  {
    name = "handoff",
    regex = [[^\W*(?:human|agent|operator|representative)(?: please)?\W*$]],
    caseless = true,
  },
  {
    name = "handoff",
    regex = [[(?:اپراتور|پشت[یي]بان(?: انسان[یي])?|[کك]ارشناس(?: واقع[یي]| شما)?|[یي][کك] ?(?:انسان|آدم|نفر)(?: واقع[یي])?)]]
      .. [[.{0,20}(?:صحبت|حرف|وصل|گفت ?و ?گو|تماس)]],
    word_edges = true,
  },
  {
    name = "handoff",
    regex = [[(?:صحبت|حرف زدن|گفت ?و ?گو|تماس) با (?:[یي][کك] )?(?:اپراتور|پشت[یي]بان|[کك]ارشناس|انسان|آدم|مسئول)]],
    word_edges = true,
  },
  {
    name = "handoff",
    regex = [[(?:وصلم [کك]ن(?:[یي]د)?|وصل [کك]ن[یي]د) به|^[\s!.]*(?:اپراتور|پشت[یي]بان)[\s!.]*$]],
  },
})

---@param text string
---@return boolean
function M.asked(text)
  return set:any(text)
end

return M
