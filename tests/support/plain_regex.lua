-- SPDX-License-Identifier: Apache-2.0
--- A small matcher for the patterns that scripts declare, so that their specs
--- run under plain busted. It knows what vectorscan is given: literals,
--- classes, groups, alternatives, greedy and lazy counts, anchors, \d \w \s.
--- Leftmost and longest, as the native sets; slow, fit for specs only.
local M = {}

local SETS = {
  d = function(c)
    return c >= 48 and c <= 57
  end,
  w = function(c)
    return c >= 48 and c <= 57 or c >= 65 and c <= 90 or c == 95 or c >= 97 and c <= 122
  end,
  s = function(c)
    return c == 32 or c >= 9 and c <= 13
  end,
}

local function lower(c)
  return c >= 65 and c <= 90 and c + 32 or c
end

local function escape_set(c)
  local letter = utf8.char(c)
  local set = SETS[letter:lower()]
  if not set then
    return nil
  end
  if letter == letter:lower() then
    return set
  end
  return function(x)
    return not set(x)
  end
end

local ESCAPES = { n = 10, t = 9, r = 13 }

-- A recursive descent parser over code points; nodes are functions that take
-- (input, position, continuation).
local Parser = {}
Parser.__index = Parser

function Parser:peek()
  return self.regex[self.at]
end

function Parser:take()
  local c = self.regex[self.at]
  self.at = self.at + 1
  return c
end

local function single(test)
  return function(input, i, k)
    local c = input[i]
    return c and test(c) and k(i + 1)
  end
end

function Parser:literal(c)
  if self.caseless then
    local small = lower(c)
    return single(function(x)
      return lower(x) == small
    end)
  end
  return single(function(x)
    return x == c
  end)
end

function Parser:class_item()
  local c = self:take()
  if c == 92 then -- backslash
    local e = self:take()
    local set = escape_set(e)
    if set then
      return set
    end
    c = ESCAPES[utf8.char(e)] or e
  end
  if self:peek() == 45 and self.regex[self.at + 1] ~= 93 then
    self:take()
    local to = self:take()
    if to == 92 then
      to = self:take()
    end
    return function(x)
      return x >= c and x <= to
    end
  end
  return function(x)
    return x == c
  end
end

function Parser:class()
  local negated = false
  if self:peek() == 94 then
    self:take()
    negated = true
  end
  local items = {}
  repeat
    items[#items + 1] = self:class_item()
    assert(self:peek(), "class is not closed")
  until self:peek() == 93
  self:take()
  local caseless = self.caseless
  local function any(c)
    for _, item in ipairs(items) do
      if item(c) or caseless and (item(lower(c)) or c >= 97 and c <= 122 and item(c - 32)) then
        return true
      end
    end
    return false
  end
  return single(function(c)
    return any(c) ~= negated
  end)
end

function Parser:group()
  if self:peek() == 63 then -- "?:"
    self:take()
    assert(self:take() == 58, "only (?: is known")
  end
  local node = self:alternatives()
  assert(self:take() == 41, "group is not closed")
  return node
end

function Parser:atom()
  local c = self:take()
  if c == 40 then
    return self:group()
  elseif c == 91 then
    return self:class()
  elseif c == 46 then
    return single(function(x)
      return x ~= 10
    end)
  elseif c == 94 then
    return function(_, i, k)
      return i == 1 and k(i)
    end
  elseif c == 36 then
    return function(input, i, k)
      return i == #input + 1 and k(i)
    end
  elseif c == 92 then
    local e = self:take()
    local set = escape_set(e)
    if set then
      return single(set)
    end
    return self:literal(ESCAPES[utf8.char(e)] or e)
  end
  return self:literal(c)
end

function Parser:number()
  local digits = ""
  while self:peek() and SETS.d(self:peek()) do
    digits = digits .. utf8.char(self:take())
  end
  return tonumber(digits)
end

function Parser:count()
  local c = self:peek()
  if c == 42 or c == 43 or c == 63 then
    self:take()
    return c == 43 and 1 or 0, c == 63 and 1 or math.huge
  end
  if c ~= 123 or not (self.regex[self.at + 1] and SETS.d(self.regex[self.at + 1])) then
    return nil
  end
  self:take()
  local low = self:number()
  local high = low
  if self:peek() == 44 then
    self:take()
    high = self:number() or math.huge
  end
  assert(self:take() == 125, "count is not closed")
  return low, high
end

local function repeated(node, low, high)
  local function step(input, i, k, n)
    if n < high then
      local stop = node(input, i, function(j)
        return (j > i or n < low) and step(input, j, k, n + 1)
      end)
      if stop then
        return stop
      end
    end
    return n >= low and k(i)
  end
  return function(input, i, k)
    return step(input, i, k, 0)
  end
end

function Parser:sequence()
  local nodes = {}
  while self:peek() and self:peek() ~= 124 and self:peek() ~= 41 do
    local node = self:atom()
    local low, high = self:count()
    if low then
      if self:peek() == 63 then
        self:take()
      end
      node = repeated(node, low, high)
    end
    nodes[#nodes + 1] = node
  end
  return function(input, i, k)
    local function from(n, j)
      if n > #nodes then
        return k(j)
      end
      return nodes[n](input, j, function(after)
        return from(n + 1, after)
      end)
    end
    return from(1, i)
  end
end

function Parser:alternatives()
  local nodes = { self:sequence() }
  while self:peek() == 124 do
    self:take()
    nodes[#nodes + 1] = self:sequence()
  end
  if #nodes == 1 then
    return nodes[1]
  end
  return function(input, i, k)
    for _, node in ipairs(nodes) do
      local stop = node(input, i, k)
      if stop then
        return stop
      end
    end
    return false
  end
end

--- A function (code points, from) -> positions of all ends, longest first.
function M.compile(regex, caseless)
  local parser = setmetatable({ regex = {}, at = 1, caseless = caseless }, Parser)
  for _, c in utf8.codes(regex) do
    parser.regex[#parser.regex + 1] = c
  end
  local node = parser:alternatives()
  assert(not parser:peek(), "unbalanced )")
  return function(input, i)
    local ends, seen = {}, {}
    node(input, i, function(j)
      if j > i and not seen[j] then
        seen[j] = true
        ends[#ends + 1] = j
      end
      return false
    end)
    table.sort(ends, function(a, b)
      return a > b
    end)
    return ends
  end
end

return M
