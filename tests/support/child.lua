-- SPDX-License-Identifier: Apache-2.0
--- A server of the specs as a child process that prints "port N" when it is up.
local xin = require("xin")

local M = {}
M.__index = M

--- `script` is a Python file of tests/support; nil when python3 cannot be had.
function M.start(script, options)
  if xin.shell("command -v python3") == "" then
    return nil
  end
  local said = os.tmpname()
  -- Its standard input is ours: who reads it ends with us.
  local pipe = assert(io.popen(("echo $$ >'%s.pid'; exec python3 tests/support/%s %s >'%s'"):format(
    said, script, options or "", said), "w"))
  local port = xin.wait(script .. " to listen", 10, function()
    return (xin.read(said) or ""):match("^port (%d+)\n")
  end)
  local pid = xin.read(said .. ".pid"):match("%d+")
  os.remove(said)
  os.remove(said .. ".pid")
  return setmetatable({ pipe = pipe, pid = pid, port = tonumber(port), url = "http://127.0.0.1:" .. port }, M)
end

function M:stop()
  xin.shell("kill " .. self.pid)
  self.pipe:close()
end

return M
