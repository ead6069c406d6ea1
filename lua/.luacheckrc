std = {
  read_globals = {
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal",
    "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring",
    "type", "xpcall", "coroutine", "math", "os", "string", "table", "utf8", "cjson", "xin",
  },
}
max_line_length = 140
files["**/*_spec.lua"] = { std = "+busted" }
exclude_files = { "meta" }
