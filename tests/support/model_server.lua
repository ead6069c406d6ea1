-- SPDX-License-Identifier: Apache-2.0
--- tests/support/model_server.py as a child of the specs, and its control.
local xin = require("xin")
local child = require("child")

local M = {}
M.__index = M

--- nil when python3 cannot be had.
function M.start(options)
  local process = child.start("model_server.py", options)
  if not process then
    return nil
  end
  return setmetatable({ process = process, port = process.port, url = process.url .. "/v1" }, M)
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
  self.process:stop()
end

return M
