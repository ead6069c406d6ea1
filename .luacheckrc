std = "lua54+busted"
max_line_length = 160
ignore = { "211/_.*", "311" }
