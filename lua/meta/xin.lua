---@meta
-- Generated from the binding table (src/binding); do not edit.
-- xin.* is what scripts may call; the classes are what hooks get and give.

---@class xin.Error
---@field code string a code of the error table: "not_found" ...
---@field reason string a sentence

---@class xin.Turn
---@field text string the message
---@field language string "fa", "en" ..., "und"
---@field channel string
---@field brand string
---@field user { id: string, name: string? }
---@field conversation { id: string, messages: { role: string, text: string }[] }
---@field context table what the caller of the API sent along

---@class xin.Route
---@field route "answer"|"handoff"|"reply"
---@field reply string? what to say, for handoff and reply
---@field query string? what to search for instead of the message
---@field prompt string? the system prompt
---@field model string|string[]? one, or several that are asked in order until one answers
---@field max_tokens integer?
---@field temperature number?
---@field top_k integer?
---@field no_answer string?
---@field confidence_floor number? 0 to 1

---@class xin.Answer
---@field text string
---@field answered boolean
---@field citations { title: string, number: integer }[]
---@field confidence number

---@class xin.Brand
---@field api 1
---@field name string
---@field title string
---@field languages string[]
---@field channels string[]
---@field direction? "ltr"|"rtl"
---@field guardrails { name: string, settings: table?, shadow: boolean? }[] in order of running
---@field pipeline string
---@field retrieval? { top_k: integer?, confidence_floor: number? }
---@field fallback string|table<string, string> said when a script fails
---@field no_answer string|table<string, string>
---@field blocked? string|table<string, string>
---@field route fun(turn: xin.Turn): xin.Route
---@field reply? fun(turn: xin.Turn, answer: xin.Answer): { text: string }?

---@class xin.Message
---@field text string
---@field stage "input"|"output"|"document"
---@field brand string
---@field language string
---@field user_id string

---@class xin.Verdict
---@field action "allow"|"rewrite"|"block"
---@field text string? for rewrite
---@field reason string?

---@class xin.Guardrail
---@field api 1
---@field name string
---@field stages ("input"|"output"|"document")[]
---@field on_error "block"|"allow"
---@field schema? table<string, table> settings and their defaults
---@field examples? { text: string, action: string, settings: table? }[] run at load
---@field check fun(message: xin.Message, settings: table): xin.Verdict?

---@class xin.Pipeline
---@field api 1
---@field name string
---@field steps string[]

---@class xin.Document
---@field id string
---@field brand string
---@field version integer
---@field title string
---@field content_type string
---@field filename string
---@field language string
---@field metadata table

---@class xin.Step
---@field api 1
---@field name string
---@field schema? table<string, table>
---@field run fun(document: xin.Document, settings: table): xin.Document?, xin.Error?

---@class xin.ChannelRequest
---@field body any decoded JSON
---@field headers table<string, string>
---@field path_brand string?
---@field channel string

---@class xin.ChannelMessage
---@field id string
---@field text string
---@field user { id: string, name: string? }
---@field conversation_id string?
---@field locale string?
---@field attachments table[]

---@class xin.ChannelReply
---@field message_id string
---@field turn_id string
---@field conversation_id string
---@field text string
---@field citations table[]
---@field duplicate boolean

---@class xin.Channel
---@field api 1
---@field name string
---@field parse fun(request: xin.ChannelRequest): { messages: xin.ChannelMessage[], brand: string? }?, xin.Error?
---@field render fun(reply: xin.ChannelReply): { status: integer, body: table }

---@class xin.Block
---@field type "heading"|"paragraph"|"list"|"table"|"code"|"quote"
---@field level integer? of a heading
---@field page integer? of a PDF or a slide, from 1
---@field text string

---@class xin.Chunk
---@field text string
---@field start integer characters before it in the document
---@field end integer
---@field heading string "Install > Linux"
---@field page integer? where it begins

--- A list that stays native: #list, list[i], ipairs(list).
---@class xin.Blocks: { [integer]: xin.Block }
---@operator len: integer

--- A list that stays native: #list, list[i], ipairs(list).
---@class xin.Chunks: { [integer]: xin.Chunk }
---@operator len: integer

---@class xin.Pattern
---@field name string
---@field regex string
---@field check? "luhn"|"iban"|"ir_national_id"
---@field caseless? boolean
---@field word_edges? boolean no letter or digit next to it

---@class xin.Hit
---@field name string
---@field start integer bytes, as string.sub counts
---@field end integer
---@field text string

---@class xin.SearchHit
---@field source_id string
---@field chunk integer
---@field title string
---@field text string
---@field heading string?
---@field source_url string?
---@field score number
---@field coverage number 0 to 1
---@field start integer
---@field end integer

---@alias xin.MetricName "answer"|"greeting"|"small_talk"|"handoff"|"off_topic"|"no_answer"|"clarification"|"feedback"|"goal_reached"|"goal_missed"

--- Native text work. A text argument is at most 1 MiB.
xin.text = {}

--- The form that the index compares: case, Arabic and Persian letter variants, digits and marks unified.
---@param text string
---@return string
function xin.text.fold(text) end

--- Folded and stemmed words, at most 10,000.
---@param text string
---@return string[]
function xin.text.tokens(text) end

--- The sentences, at most 10,000.
---@param text string
---@return string[]
function xin.text.sentences(text) end

--- Dice similarity of the two sets of tokens, 0 to 1.
---@param a string
---@param b string
---@return number
function xin.text.similarity(a, b) end

--- "fa", "en", "ar" ..., "und" when it cannot be told.
---@param text string
---@return string
function xin.text.language(text) end

--- Whether the first strong letter runs from right to left.
---@param text string
---@return boolean
function xin.text.is_rtl(text) end

--- The number of characters (code points).
---@param text string
---@return integer
function xin.text.length(text) end

--- string.sub in characters instead of bytes.
---@param text string
---@param from integer
---@param to? integer
---@return string
function xin.text.sub(text, from, to) end

--- Without control characters, odd spaces, words cut at line ends; of a list also without page numbers and lines that repeat on every page. WAITS for big lists.
---@param text string|xin.Blocks|xin.Block[]
---@return any, xin.Error?
function xin.text.clean(text) end

--- Cut along headings, blocks, sentences. `start` and `end` count characters in the blocks' texts joined by blank lines. WAITS for big lists.
---@param blocks xin.Blocks|xin.Block[]
---@param options? { max_chars: integer? }
---@return xin.Chunks?, xin.Error?
function xin.text.chunks(blocks, options) end

--- Pattern sets, declared at the top of a module.
xin.match = {}

--- Compile a set of patterns (linear time, a subset of PCRE: no lookaround, no back references). With fold, which is the default, digits of all scripts count as ASCII, ZWNJ and bidi controls are skipped.
--- Callable in: the top of a module.
---@param patterns xin.Pattern[]
---@param options? { fold: boolean? }
---@return xin.MatchSet
function xin.match.compile(patterns, options) end

--- A compiled set.
---@class xin.MatchSet
local MatchSet = {}

--- The hits, leftmost and longest, by position; at most 256.
---@param text string
---@return xin.Hit[]
function MatchSet:scan(text) end

--- Whether anything matches.
---@param text string
---@return boolean
function MatchSet:any(text) end

--- Replace every hit: by a string, by hit name, or by what a function returns (nil leaves it). Also the number replaced.
---@param text string
---@param with string|table<string, string>|fun(hit: xin.Hit): string?
---@return string, integer
function MatchSet:replace(text, with) end

--- JSON.
xin.json = {}

--- Compact JSON. Raises on functions, cycles, mixed tables, NaN.
---@param value any
---@return string
function xin.json.encode(value) end

--- Strict JSON of at most 4 MiB; null is cjson.null.
---@param text string
---@return any, xin.Error?
function xin.json.decode(text) end

--- Log lines, at most 100 in one call.
xin.log = {}

--- One log line. Strings other than identifiers that stand in the script or are the host's are written as their length.
--- Callable in: brands, guardrails, pipelines, pipeline steps, channels.
---@param event string
---@param fields? table<string, string|number|boolean>
function xin.log.info(event, fields) end

--- The same at level warning: something was coped with.
--- Callable in: brands, guardrails, pipelines, pipeline steps, channels.
---@param event string
---@param fields? table<string, string|number|boolean>
function xin.log.warn(event, fields) end

--- Time.
xin.time = {}

--- Milliseconds since 1970.
--- Callable in: brands, guardrails, pipelines, pipeline steps, channels.
---@return integer
function xin.time.now() end

--- RFC 3339 in UTC of a time in milliseconds, or of now.
--- Callable in: brands, guardrails, pipelines, pipeline steps, channels.
---@param ms? integer
---@return string
function xin.time.iso(ms) end

--- Hashes.
xin.crypto = {}

--- SHA-256 as 64 hex digits.
---@param data string
---@return string
function xin.crypto.sha256(data) end

--- Counters.
xin.metric = {}

--- Count one in xin_script_events_total under this name and the brand.
--- Callable in: brands, guardrails, pipelines, pipeline steps, channels.
---@param name xin.MetricName
function xin.metric.count(name) end

--- Small state of the brand, shared by all its calls.
xin.kv = {}

--- The value, nil when there is none. WAITS.
--- Callable in: brands, pipeline steps.
---@param key string
---@return string?, xin.Error?
function xin.kv.get(key) end

--- Keep a value of at most 64 KiB, for a day unless said. WAITS.
--- Callable in: brands, pipeline steps.
---@param key string
---@param value string
---@param ttl_seconds? integer
---@return true?, xin.Error?
function xin.kv.set(key, value, ttl_seconds) end

--- Forget a value. WAITS.
--- Callable in: brands, pipeline steps.
---@param key string
---@return boolean?, xin.Error?
function xin.kv.delete(key) end

--- The brand's knowledge.
xin.search = {}

--- Search the brand's live chunks, best first; 8 unless said, at most 50. WAITS.
--- Callable in: brands.
---@param query string
---@param options? { top_k: integer?, filter: table? }
---@return xin.SearchHit[]?, xin.Error?
function xin.search.find(query, options) end

--- Put the document's chunks into the index, aside: the host switches the version live at the end. Their number. WAITS.
--- Callable in: pipeline steps.
---@param chunks xin.Chunks|xin.Chunk[]
---@return integer?, xin.Error?
function xin.search.put(chunks) end

--- Slots of the running turn's conversation.
xin.conversation = {}

--- A slot of the conversation, or all of them as a table. WAITS.
--- Callable in: brands.
---@param key? string
---@return any, xin.Error?
function xin.conversation.get(key) end

--- Set a slot (nil removes it); 16 KiB for all of them. WAITS.
--- Callable in: brands.
---@param key string
---@param value any
---@return true?, xin.Error?
function xin.conversation.set(key, value) end

--- The document of the running step.
xin.document = {}

--- The blocks that a step before has set; raises when none has.
--- Callable in: pipeline steps.
---@return xin.Blocks
function xin.document.blocks() end

--- Keep these blocks for the steps that follow.
--- Callable in: pipeline steps.
---@param blocks xin.Blocks|xin.Block[]
function xin.document.set_blocks(blocks) end

--- The chunks that a step before has set; raises when none has.
--- Callable in: pipeline steps.
---@return xin.Chunks
function xin.document.chunks() end

--- Keep these chunks for the steps that follow.
--- Callable in: pipeline steps.
---@param chunks xin.Chunks|xin.Chunk[]
function xin.document.set_chunks(chunks) end

--- From bytes to structured text.
xin.extract = {}

--- Read the upload: its blocks and the title that the document itself names. WAITS.
--- Callable in: pipeline steps.
---@return xin.Blocks?, string|xin.Error|nil
function xin.extract.blocks() end

--- The brand's guardrails.
xin.guard = {}

--- The brand's guardrails of that stage over one text. WAITS.
--- Callable in: pipeline steps.
---@param text string
---@param stage? "document"
---@return xin.Verdict?, xin.Error?
function xin.guard.check(text, stage) end

--- The same over every chunk, in one host call: blocked chunks are left out, rewritten ones replaced. WAITS.
--- Callable in: pipeline steps.
---@param chunks xin.Chunks|xin.Chunk[]
---@return xin.Chunks?, { checked: integer, dropped: integer, rewritten: integer }|xin.Error
function xin.guard.chunks(chunks) end

--- Embeddings.
xin.embed = {}

--- Make the chunks' embeddings, kept with the list for xin.search.put; the number made, 0 without an embedding model. WAITS.
--- Callable in: pipeline steps.
---@param chunks xin.Chunks
---@return integer?, xin.Error?
function xin.embed.chunks(chunks) end

--- The language model.
xin.model = {}

--- Ask the model of XIN_MODEL_URL as it is, without passages; "unavailable" without one. WAITS.
--- Callable in: brands.
---@param request { messages: { role: "system"|"user"|"assistant", content: string }[], model: string?, max_tokens: integer?, temperature: number? }
---@return { text: string, finish_reason: string, model: string, prompt_tokens: integer, completion_tokens: integer }?, xin.Error?
function xin.model.chat(request) end

--- Do traces leave the process?
xin.telemetry = {}

--- Tracing as the OTEL_* settings say; every call after the first changes nothing. Also as require("chatbot.core.telemetry").
---@return { active: boolean, endpoint: string }
function xin.telemetry.init_tracing() end
