std = "lua54+busted"
max_line_length = 160
ignore = { "211/_.*", "311" }
exclude_files = { "lua/meta" }
files["lua"] = { read_globals = { "xin", "cjson" } }
files["tests/support/xin_plain.lua"] = { globals = { "xin", "cjson" } }
files["lua/lib/injection.lua"] = { max_line_length = false } -- long patterns
files["tests/lua"] = { read_globals = { "xin" } }
files["tests/support/line_hook.lua"] = { globals = { "coroutine" } }
