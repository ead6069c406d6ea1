-- SPDX-License-Identifier: Apache-2.0
--- A plain-Lua stand-in of `xin`, so that specs run under busted without the
--- program. Small and slow; only what scripts use in their specs.
require("line_hook")
local regex = require("plain_regex")

local DIGIT_ZEROS = { 0x660, 0x6F0, 0x966, 0xFF10 }

local function ascii_digit(c)
  for _, zero in ipairs(DIGIT_ZEROS) do
    if c >= zero and c <= zero + 9 then
      return 48 + c - zero
    end
  end
  return c
end

local function is_skipped(c)
  return c == 0x200C or c == 0x200E or c == 0x200F or c >= 0x202A and c <= 0x202E
    or c >= 0x2066 and c <= 0x2069
end

-- Code points and, for each, its first byte; one more for the end.
local function unpack_text(text, fold)
  local points, bytes = {}, {}
  for at, c in utf8.codes(text) do
    if not (fold and is_skipped(c)) then
      points[#points + 1] = fold and ascii_digit(c) or c
      bytes[#bytes + 1] = at
    end
  end
  bytes[#bytes + 1] = #text + 1
  return points, bytes
end

local function digits_of(points, from, to)
  local digits = {}
  for i = from, to do
    if points[i] >= 48 and points[i] <= 57 then
      digits[#digits + 1] = points[i] - 48
    end
  end
  return digits
end

local checks = {}

function checks.luhn(digits)
  local sum = 0
  for i = #digits, 1, -1 do
    local d = digits[i]
    if (#digits - i) % 2 == 1 then
      d = d * 2 > 9 and d * 2 - 9 or d * 2
    end
    sum = sum + d
  end
  return #digits >= 12 and sum % 10 == 0
end

function checks.ir_national_id(digits)
  if #digits ~= 10 then
    return false
  end
  local sum, same = 0, true
  for i = 1, 9 do
    sum = sum + digits[i] * (11 - i)
    same = same and digits[i] == digits[10]
  end
  local rest = sum % 11
  return not same and digits[10] == (rest < 2 and rest or 11 - rest)
end

local function is_word(c)
  return c ~= nil and (c >= 48 and c <= 57 or c >= 65 and c <= 90 or c >= 97 and c <= 122
    or c >= 0xC0 and c ~= 0xD7 and c ~= 0xF7 and c ~= 0x60C and c ~= 0x61B and c ~= 0x61F and not (c >= 0x2000 and c <= 0x206F))
end

local function longest(pattern, points, i)
  if pattern.word_edges and is_word(points[i - 1]) then
    return nil
  end
  for _, stop in ipairs(pattern.match(points, i)) do
    local edges = not pattern.word_edges or not is_word(points[stop])
    if edges and (not pattern.check or checks[pattern.check](digits_of(points, i, stop - 1))) then
      return stop
    end
  end
  return nil
end

local Set = {}
Set.__index = Set

function Set:scan(text)
  local points, bytes = unpack_text(text, self.fold)
  local hits, busy = {}, {}
  for i = 1, #points do
    for _, pattern in ipairs(self.patterns) do
      if (busy[pattern.name] or 0) <= i then
        local stop = longest(pattern, points, i)
        if stop then
          busy[pattern.name] = stop
          local first, last = bytes[i], bytes[stop] - 1
          hits[#hits + 1] =
            { name = pattern.name, start = first, ["end"] = last, text = text:sub(first, last) }
        end
      end
    end
  end
  return hits
end

function Set:any(text)
  return #self:scan(text) > 0
end

function Set:replace(text, with)
  local out, done, count = {}, 1, 0
  for _, hit in ipairs(self:scan(text)) do
    local new = with
    if type(with) == "table" then
      new = with[hit.name]
    elseif type(with) == "function" then
      new = with(hit)
    end
    if hit.start >= done and new then
      out[#out + 1] = text:sub(done, hit.start - 1)
      out[#out + 1] = new
      done = hit["end"] + 1
      count = count + 1
    end
  end
  return table.concat(out) .. text:sub(done), count
end

local match = {}

function match.compile(patterns, options)
  local set = setmetatable({ patterns = {}, fold = not options or options.fold ~= false }, Set)
  for i, pattern in ipairs(patterns) do
    assert(not pattern.check or checks[pattern.check], "unknown check")
    local ok, compiled = pcall(regex.compile, pattern.regex, pattern.caseless)
    if not ok then
      error(("pattern %d (%s): %s"):format(i, pattern.name, compiled), 2)
    end
    set.patterns[i] = {
      name = pattern.name,
      check = pattern.check,
      word_edges = pattern.word_edges,
      match = compiled,
    }
  end
  return set
end

local text = {}

function text.length(s)
  return utf8.len(s)
end

function text.sub(s, from, to)
  local count = utf8.len(s)
  to = math.min(to or count, count)
  if from > to then
    return ""
  end
  return s:sub(utf8.offset(s, from), utf8.offset(s, to + 1) - 1)
end

function text.language(s)
  for _, c in utf8.codes(s) do
    if c >= 0x600 and c <= 0x6FF then
      return "fa"
    elseif c >= 65 and c <= 122 then
      return "en"
    end
  end
  return "und"
end

function text.sentences(s)
  local sentences = {}
  for sentence in s:gmatch("%s*([^.!?\n]+[.!?]*)") do
    sentences[#sentences + 1] = sentence
  end
  return sentences
end

function text.clean(blocks)
  return blocks
end

function text.chunks(blocks)
  local chunks = {}
  for i, block in ipairs(blocks) do
    chunks[i] = { text = block.text, start = 0, ["end"] = utf8.len(block.text), heading = "" }
  end
  return chunks
end

--- What a spec hands to steps: xin.plain.document, and what it finds there.
local plain = {}

function plain.reset(upload)
  plain.upload = upload or {}
  plain.blocks, plain.chunks, plain.indexed, plain.logged = nil, nil, nil, {}
end

xin = {
  plain = plain,
  match = match,
  text = text,
  log = {
    info = function() end,
    warn = function(event, fields)
      plain.logged[#plain.logged + 1] = { event = event, fields = fields }
    end,
  },
  metric = { count = function() end },
  extract = {
    blocks = function()
      if plain.upload.error then
        return nil, plain.upload.error
      end
      return plain.upload.blocks, plain.upload.title
    end,
  },
  document = {
    blocks = function()
      return assert(plain.blocks, "the document has no blocks yet")
    end,
    set_blocks = function(blocks)
      plain.blocks = blocks
    end,
    chunks = function()
      return assert(plain.chunks, "the document has no chunks yet")
    end,
    set_chunks = function(chunks)
      plain.chunks = chunks
    end,
  },
  guard = {
    chunks = function(chunks)
      local kept = {}
      for _, chunk in ipairs(chunks) do
        if not chunk.text:find("ignore all", 1, true) then
          kept[#kept + 1] = chunk
        end
      end
      return kept, { checked = #chunks, dropped = #chunks - #kept, rewritten = 0 }
    end,
  },
  model = {
    -- A spec gives what the model says: xin.plain.said = { text = "..." } or
    -- { error = { code = "unavailable", reason = "..." } }.
    chat = function(request)
      plain.asked = request
      local said = plain.said or { error = { code = "unavailable", reason = "no model" } }
      if said.error then
        return nil, said.error
      end
      return said
    end,
  },
  embed = {
    chunks = function()
      return 0
    end,
  },
  search = {
    put = function(chunks)
      plain.indexed = chunks
      return #chunks
    end,
  },
}
plain.reset()
