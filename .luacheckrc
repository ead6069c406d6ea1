-- What scripts may name: the sandbox's own list, nothing of stock Lua besides.
std = {
  read_globals = {
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal",
    "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring",
    "type", "xpcall", "coroutine", "math", "os", "string", "table", "utf8", "cjson", "xin",
  },
}
max_line_length = 120
-- Patterns stand on one line where a break would hide what they say.
files["lua/lib/*.lua"] = { max_line_length = false }
files["lua/guardrails/*.lua"] = { max_line_length = false }
files["**/*_spec.lua"] = { std = "+busted" }
files["tests/support/*.lua"] = { std = "lua54", globals = { "xin" }, max_line_length = 160 }
exclude_files = { "lua/meta" }
