-- SPDX-License-Identifier: Apache-2.0
--- Patterns of prompt injection, by what the writer tries: override earlier
--- instructions, take on a role, get at the prompt, dictate the answer. English
--- first, the same few tricks in other languages. Tuned for few false alarms:
--- each needs the verb and its object, never a word alone.
local M = {}

local function english(name, regex)
  return { name = name, regex = regex, caseless = true, word_edges = true }
end

local function plain(name, regex)
  return { name = name, regex = regex, caseless = true }
end

-- "ignore all of the previous", words of slack before the noun. Slack is a loop
-- to the end of the sentence, never a count: counted repeats make the compiled
-- automaton a hundred times bigger.
local VERB = [[(?:ignor(?:e|es|ing)|disregard(?:ing)?|forget(?:ting)?|drop|skip|discard|overrid(?:e|ing)|bypass(?:ing)?|neglect|overlook)]]
local OLD = [[(?:all|any|every|everything|previous|prior|preceding|above|earlier|existing|former|initial|original|provided|given|system|safety|your|these|those)]]
local NOUN = [[(?:instructions?|prompts?|directions|rules|commands|orders|tasks?|assignments?|guidelines|directives|]]
  .. [[restrictions|constraints|filters|programming|training|context|conversation|information|documents?|articles?|artikels?|inputs?|content policy)]]

M.override = {
  english("override", VERB .. [[(?: \w+)* ]] .. OLD .. [[(?: \w+)* ]] .. NOUN),
  english("override", [[(?:forget|ignore|disregard)(?: about)? (?:everything|anything|all)(?: of)?(?: the)?]]
    .. [[(?:[,.!]| (?:above|before|previous|prior|that|you|we|i|and|said|else|but|now|this))]]),
  english("override", [[(?:ignore|disregard) (?:the |what is |what's )?(?:above|aforementioned|preceding|previous)]]
    .. [[(?: (?:and|text|paragraphs?|lines?|sentences?|statements?))?]]),
  english("override", [[(?:leave|remove|erase|delete|clear)(?: \w+)* (?:previous|prior|earlier) ]]
    .. [[(?:information|instructions|tasks|context|prompts?)]]),
  english("override", [[(?:new|following|further|next) (?:task|instruction|order)s? (?:now )?(?:follow|are followed|begin|start)]]),
  english("override", [[(?:focus|concentrate|continue|start|begin)(?: \w+){0,2} (?:on|with) (?:your|the|a) new (?:task|instructions?|role)]]),
  english("override", [[(?:now|come on)[^.!?\n]* help (?:me )?with (?:another|the following|a (?:new|different)) task]]),
  english("override", [[(?:stop|end|cancel) everything]]),
  english("override", VERB .. [[ (?:all |any )?(?:the |of the )?(?:articles?|documents?|instructions|prompts?|guidelines|rules)]]),
  english("override", [[(?:change|replace|update|modify) your (?:\w+ )?(?:instructions|rules|guidelines|prompt)]]),
  english("override", [[attention ?[-:!,] ?stop]]),
  english("override", [[(?:despite|regardless of|contrary to|in spite of) (?:what(?:ever)? you(?:'ve| have| were| are)? (?:been )?told|your (?:instructions|rules|guidelines)|(?:the |any )?(?:previous|prior) instructions)]]),
  english("override", [[(?:do not|don'?t|don'nt|never) (?:answer|look|use|follow|obey|read|consider)(?: \w+)* ]]
    .. [[(?:documents?|articles?|context|instructions|rules|guidelines)(?: provided| given)?]]),
  english("override", [[do not answer (?:this|the|that|my) question]]),
  english("override", [[by your own knowledge]]),
  plain("override", [[<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>|\[/?inst\]|<</?sys>>|\[(?:system|admin)\] ?(?:message|override|prompt)?:]]),
  plain("override", [[(?:vergiss|vergessen sie|vergesst|ignoriere?n?|missachte) [^.!?\n]*]]
    .. [[(?:alles|davor|vorherige|bisherige|obige|vorangehende|anweisung|angaben|auftr|befehle|kontext|dokument)]]),
  plain("override", [[(?:obigen|vorherigen|bisherigen) (?:\w+ )?ignorieren|(?:neue|weitere) (?:anweisungen|aufgaben)]]
    .. [[|(?:abweichend|entgegen) [^.!?\n]*(?:instruktion|anweisung)|achtung ?- ?stop]]),
  plain("override", [[(?:deine|ihre|diese) neue aufgabe|vorherigen informationen hinter sich|mit einer (?:neuen|weiteren) aufgabe]]
    .. [[|aufgaben aus dem kopf|hilf mir (?:nun|jetzt) mit folgender aufgabe|bei einer weiteren aufgabe]]),
  plain("override", [[(?:olvid(?:a|e|o|ar)|ignor(?:a|e|ar)|descarta) [^.!?\n]*(?:instrucci|tod[oa]s? |anterior|reglas|contexto)]]),
  plain("override", [[(?:oublie[rz]?|ignore[rz]?) [^.!?\n]*(?:instructions|consignes|tout ce|pr[ée]c[ée]dent|r[èe]gles)]]),
  plain("override", [[(?:dimentica|ignora|esque[çc]a|ignore) [^.!?\n]*(?:istruzioni|tutto|instru[çc])|zaboravi sve]]),
  plain("override", [[(?:забудь|игнорируй|игнорируйте|забудьте) [^.!?\n]*(?:инструкц|все|всё|предыдущ|правила)]]),
  plain("override", [[(?:忽略|无视|忘记)[^.!?。，\n]*(?:指令|指示|提示|规则|内容)]]),
  plain("override", [[(?:تجاهل|انس[ىي]?) [^.!?\n]*(?:التعليمات|السابق|الأوامر|القواعد)]]),
  plain("override", [[(?:دستور|راهنما[یي]|قوان[یي]ن|آموزش|پ[یي]ام)(?:ات|ها|[یي])?[^.!?\n]*(?:ناد[یي]ده|فراموش [کك]ن|[کك]نار بگذار|توجه ن[کك]ن)]]),
  plain("override", [[(?:ناد[یي]ده بگ[یي]ر|فراموش [کك]ن)[^.!?\n]*(?:دستور|قوان[یي]ن|هر ?چ[یي]|همه|قبل[یي])]]),
}

M.reveal = {
  english("reveal", [[(?:show|print|reveal|display|repeat|output|tell|give|list|write|leak|copy|share|say|translate)(?: \w+)*]]
    .. [[ (?:prompts?|prompt[ -]?texts?|system (?:prompt|message|instructions?))]]),
  english("reveal", [[(?:full|entire|whole|complete|system|initial|secret|hidden|original) prompt(?: ?texts?)?]]),
  english("reveal", [[(?:what|which) (?:are|were|is|was) your (?:\w+ )?(?:prompt|instructions?|directives?|system message|rules)]]),
  english("reveal", [[(?:tell|show|give|repeat|reveal|list|print)(?: me)? (?:what are )?your (?:initial |original |secret |hidden |exact |full )?(?:instructions|directives|rules|guidelines)]]),
  english("reveal", [[what (?:was|is|were|did)(?: \w+)* (?:at the (?:beginning|start|top) of|above|in) (?:this|the|your) (?:prompt|conversation|chat)]]),
  english("reveal", [[what is written above|(?:what|which) (?:are|is|were|was) the (?:\w+ )?(?:sentences?|words?|text|lines?) (?:above|before) |information in the prompt|(?:text|words|sentences?|lines?) (?:above|before) this (?:line|sentence|message|one)]]),
  english("reveal", [[how (?:was|were) your prompts?]]),
  plain("reveal", [[prompt[ -]?texte?|(?:zeige?|nenne?|gib)(?: \w+)* (?:system ?prompt|prompt|anweisungen)|was sind deine (?:anweisungen|instruktionen)]]),
  plain("reveal", [[(?:پرامپت|دستور(?:العمل)?(?:ها)?[یي]? (?:س[یي]ستم|اول[یي]ه|مخف[یي]))[^.!?\n]*(?:بگو|نشان|بنو[یي]س|چ[یي]ست|ب[یي]ان)]]),
}

M.role = {
  english("role", [[(?:i want|i need|i would like|i'd like) you to (?:act|behave|pretend|play the role|play a role|respond|reply|simulate|imagine|roleplay|role-play)]]),
  english("role", [[(?:you (?:will|are going to|must|should|have to|shall)|please|now|can you|could you|and|to)(?: now)? (?:act|behave|respond|answer) (?:as(?: if)?|like) (?:you|an?|the|if|my|'|"|[a-z]+ would)]]),
  plain("role", [[^\W*(?:act|behave) (?:as|like) (?:an?|the|if|my) ]]),
  english("role", [[(?:from now on|starting now|henceforth),? (?:you|i want you|known|act|always)]]),
  english("role", [[(?:pretend|imagine|assume)(?: that)? (?:to be|you(?:'re| are| were| can| have no)|as if)]]),
  english("role", [[pretend to be]]),
  english("role", [[(?:okay|ok|now|and|but)?[,.]? ?you are now(?: an?| the| in| known| my| [a-z]+[,.])]]),
  plain("role", [[(?:^\W*|[.!?] )(?:now )?you are (?:the |an? )?\w+(?: \w+)?[,.]? ?(?:what|how|who|why|the devout)]]),
  english("role", [[(?:play|take on|assume|immerse yourself into|take over) the role]]),
  english("role", [[do anything now|(?:developer|dan|god|debug|admin|sudo|jailbreak) mode|jailbroken|jailbreak]]),
  english("role", [[(?:no|without(?: any)?|free from(?: all| any)?|broken free of) (?:\w+ ){0,3}(?:filters?|restrictions|limitations|censorship|confines)]]),
  english("role", [[(?:break|fall(?:ing)? out of|stay in|remain in|out of) (?:the |their |your )?(?:character|roles?|figure)]]),
  english("role", [[(?:absorbed in|fully in) (?:your|their) roles?|evil ai|in (?:that|this|a) (?:theoretical|hypothetical) scenario]]),
  english("role", [[(?:answer|respond|reply|write|speak)(?: \w+)* in the (?:style|manner|voice) of an? ]]),
  english("role", [[as an? (?:\w+ ){0,2}(?:racist|nazi|terrorist|hacker|radical)]]),
  plain("role", [[(?:ich m[öo]chte|ich will),? dass (?:sie|du) (?:als|wie) |(?:fungiere|agiere|handle) als ]]),
  plain("role", [[stell(?:e|en sie)? dir vor,? du bist|(?:jetzt|nun|von nun an|ab jetzt) bist du |tu so,? als|in deiner rolle|aus (?:der|ihrer) (?:rolle|figur)|in ihren rollen]]),
  plain("role", [[(?:^\W*|[.!?] )du bist (?:keine? )?\w+(?: \w+)?[,.] ]]),
  plain("role", [[im stil[e]? (?:eine[srn]?|von) ]]),
  plain("role", [[(?:وانمود|تظاهر) [کك]ن|از ا[یي]ن (?:به بعد|پس) تو |نقش .{1,20} (?:را )?باز[یي] [کك]ن]]),
}

M.dictate = {
  english("dictate", [[(?:just|only|simply|instead|and|then)(?: \w+)? (?:say|print|output|write|answer|reply|respond|repeat|state|tell me)(?: with| the| that| only)?[ :]{0,2}["'“”‘’«]\w+]]),
  english("dictate", [[(?:do you hate|say|print|write|state|tell me|include|output|answer)(?: \w+)* (?:you|i|we) (?:hate|despise|will kill)]]),
  plain("dictate", [[^\W*state that |(?:^|[.!?:,] ?)(?:say|print|output) ["'(“]|(?:^| )print ?\(|execute the following (?:command|code)]]),
  plain("dictate", [[(?:^|[.!?:] ?)(?:just |only )?(?:say|answer|print) (?:only )?(?:yes|no|yay)\W*$|print yay]]),
  english("dictate", [[repeat after me|abandon all your|you are role-?playing|additional instructions?|every time you (?:get|are asked) a question]]),
  plain("dictate", [[(?:stop|instruction|command) ?[:\-] ?(?:write|say|print|answer|blame|output|repeat)]]),
  english("dictate", [[(?:generate|write|create|output) (?:an? |some )?(?:c\+\+|python|sql|java|bash)(?: code)?]]),
  english("dictate", [[(?:i|we) command you|you (?:only )?(?:have to|must|are only allowed to) (?:just )?(?:say|answer|reply|respond|output)]]),
  english("dictate", [[(?:blame|hate|kill) (?:china|all \w+|humans|\w+ humans)|untrue headline|offensive (?:rhyme|joke|poem)]]),
  english("dictate", [=[(?:document )?context:? ?["{]]=]),
  english("dictate", [[(?:make something up|use hate speech|haha pwned|exploit(?:ing)? ai)]]),
  plain("dictate", [[(?:sag|sage|schreibe|antworte) (?:nur |mir )?(?:tot|ja|nein)(?:[ .!]|$)|unwahre [üu]berschrift|hass(?:e|t) (?:die|trump)]]),
  plain("dictate", [[(?:^|[^a-z])(?:[a-z] ){10}]]),
  plain("dictate", [[(?:فقط|تنها) (?:بگو|بنو[یي]س|جواب بده)]]),
}

-- Compiling grows faster than the number of patterns: small sets load in a
-- fraction of the time of one big set, at some cost for each scan.
local PATTERNS_IN_SET = 8

local function compile(patterns)
  local sets = {}
  for from = 1, #patterns, PATTERNS_IN_SET do
    local to = math.min(from + PATTERNS_IN_SET - 1, #patterns)
    sets[#sets + 1] = xin.match.compile(table.move(patterns, from, to, 1, {}))
  end
  return sets
end

---@type table<string, xin.MatchSet[]>
M.sets = {
  override = compile(M.override),
  reveal = compile(M.reveal),
  role = compile(M.role),
  dictate = compile(M.dictate),
}

--- The first kind, in the order given, that the text shows; nil when none.
---@param text string
---@param kinds string[]
---@return string?
function M.find(text, kinds)
  for _, kind in ipairs(kinds) do
    for _, set in ipairs(M.sets[kind]) do
      if set:any(text) then
        return kind
      end
    end
  end
  return nil
end

--- The text without the sentences that show one of the kinds, the rest as it
--- was; nil when nothing is left, or what is left still shows one (an order
--- that runs over several sentences).
---@param text string
---@param kinds string[]
---@return string?
function M.without(text, kinds)
  local kept, from = {}, 1
  for _, sentence in ipairs(xin.text.sentences(text)) do
    local _, last = text:find(sentence, from, true)
    if not last then
      return nil
    end
    if not M.find(sentence, kinds) then
      kept[#kept + 1] = text:sub(from, last)
    end
    from = last + 1
  end
  local rest = table.concat(kept)
  if not rest:find("%S") or M.find(rest, kinds) then
    return nil
  end
  return rest
end

return M
