-- SPDX-License-Identifier: Apache-2.0
--- tests/support/model_server.py as a child of the specs; it ends with them.
local xin = require("xin")

local M = {}
M.__index = M

--- nil when python3 cannot be had.
function M.start(options)
  if xin.shell("command -v python3") == "" then
    return nil
  end
  local said = os.tmpname()
  local pipe = assert(io.popen(
    ("exec python3 tests/support/model_server.py %s >'%s'"):format(options or "", said), "w"))
  local port = xin.wait("the model server", 10, function()
    return (xin.read(said) or ""):match("^port (%d+)\n")
  end)
  os.remove(said)
  return setmetatable({ pipe = pipe, port = tonumber(port), url = ("http://127.0.0.1:%s/v1"):format(port) }, M)
end

--- Forget what was; then these faults, and maybe this reply.
function M:script(faults, more)
  self:forget()
  local body = { faults = xin.json.decode("[]") }
  for i, fault in ipairs(faults or {}) do
    body.faults[i] = fault
  end
  for name, value in pairs(more or {}) do
    body[name] = value
  end
  assert(xin.request(self.port, "POST", "/control", body).status == 200)
end

function M:forget()
  assert(xin.request(self.port, "DELETE", "/control"))
end

function M:calls()
  return xin.request(self.port, "GET", "/control").json.calls
end

function M:stop()
  self.pipe:close()
end

return M
