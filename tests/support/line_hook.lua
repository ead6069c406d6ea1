-- SPDX-License-Identifier: Apache-2.0
--- Notes which lines of lua/ ran, for `make coverage`: one "file:line" a line,
--- written to XIN_LUA_HITS when the state closes.
local path = os.getenv("XIN_LUA_HITS")
if not path then
  return
end

local hits = {}

local function on_line(_, line)
  local source = debug.getinfo(2, "S").source
  if source:find("^@") then
    local lines = hits[source]
    if not lines then
      lines = {}
      hits[source] = lines
    end
    lines[line] = true
  end
end

-- A hook belongs to one coroutine; each new one gets its own.
local create = coroutine.create
function coroutine.create(body)
  local thread = create(body)
  debug.sethook(thread, on_line, "l")
  return thread
end

function coroutine.wrap(body)
  local thread = coroutine.create(body)
  return function(...)
    local result = table.pack(coroutine.resume(thread, ...))
    if not result[1] then
      error(result[2], 0)
    end
    return table.unpack(result, 2, result.n)
  end
end

local function save()
  debug.sethook()
  local file = assert(io.open(path, "w"))
  for source, lines in pairs(hits) do
    local name = source:gsub("^@%./", ""):gsub("^@", "")
    if name:find("^lua/") then
      for line in pairs(lines) do
        file:write(name, ":", line, "\n")
      end
    end
  end
  file:close()
end

debug.sethook(on_line, "l")
return setmetatable({}, { __gc = save }) -- collected when the state closes
