std = {
  read_globals = {
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal",
    "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring",
    "type", "xpcall", "coroutine", "math", "os", "string", "table", "utf8", "cjson", "xin",
  },
}
max_line_length = 120 -- patterns may be longer
files["**/*_spec.lua"] = { std = "+busted" }
files["lib/injection.lua"] = { max_line_length = false }
files["lib/small_talk.lua"] = { max_line_length = false }
files["lib/handoff.lua"] = { max_line_length = false }
files["guardrails/*.lua"] = { max_line_length = false }
exclude_files = { "meta" }
