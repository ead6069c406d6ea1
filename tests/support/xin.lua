-- SPDX-License-Identifier: Apache-2.0
--- The real binary under test: own folders, own ports, a small HTTP client.
local http = require("socket.http")
local ltn12 = require("ltn12")
local socket = require("socket")
local json = require("dkjson")

local M = { json = json, sleep = socket.sleep, now = socket.gettime }
M.binary = os.getenv("XIN_BINARY") or "build/xin"
M.sanitized = M.binary:find("asan") ~= nil or M.binary:find("tsan") ~= nil
-- Sanitizers and a busy machine are slow; promises in seconds are stretched.
M.patience = M.sanitized and 5 or 2

local function shell(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return (text:gsub("%s+$", ""))
end
M.shell = shell

function M.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local root = shell("pwd")
if M.binary:sub(1, 1) ~= "/" then
  M.binary = root .. "/" .. M.binary
end

local Xin = {}
Xin.__index = Xin

--- A new server that is not started: folders only.
function M.new()
  local home = shell("mktemp -d /tmp/xin-test-XXXXXX")
  shell(("cp -r '%s/lua' '%s/lua'"):format(root, home))
  return setmetatable({ home = home, starts = 0, ports = {} }, Xin)
end

local DEFAULTS = {
  XIN_ORCHESTRATOR_LISTEN = "127.0.0.1:0",
  XIN_GATEWAY_LISTEN = "127.0.0.1:0",
  GATEWAY_METRICS_HOST = "127.0.0.1",
  INGEST_METRICS_HOST = "127.0.0.1",
  GATEWAY_METRICS_PORT = "0",
  INGEST_METRICS_PORT = "0",
  XIN_SCRIPT_POLL_MS = "200",
}

--- Start without waiting. `settings` go into the environment.
function Xin:spawn(settings)
  self.starts = self.starts + 1
  self.log_path = ("%s/log.%d"):format(self.home, self.starts)
  local environment = {
    XIN_DATA_DIR = self.home .. "/data",
    XIN_LUA_DIR = self.lua_dir or (self.home .. "/lua"),
  }
  for _, from in ipairs({ DEFAULTS, settings or {} }) do
    for name, value in pairs(from) do
      environment[name] = value
    end
  end
  local words = {}
  for name, value in pairs(environment) do
    words[#words + 1] = ("%s='%s'"):format(name, value)
  end
  for _, name in ipairs({ "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS" }) do
    if os.getenv(name) then
      words[#words + 1] = ("%s='%s'"):format(name, os.getenv(name))
    end
  end
  self.pid = shell(
    ("(cd '%s' && exec env -i PATH=\"$PATH\" %s '%s' %s >'%s' 2>'%s.err' </dev/null) & echo $!"):format(
      self.home, table.concat(words, " "), M.binary, self.command or "serve", self.log_path, self.log_path))
  return self
end

function Xin:running()
  local stat = M.read("/proc/" .. self.pid .. "/stat")
  return stat ~= nil and stat:match("%) (%a)") ~= "Z"
end

--- The log's events, in order; every line must be a JSON object. Lines leave the
--- process some milliseconds after what they tell of.
function Xin:events(name)
  socket.sleep(0.02 * M.patience)
  local found = {}
  for line in (M.read(self.log_path) or ""):gmatch("([^\n]*)\n") do
    local event = json.decode(line)
    if type(event) ~= "table" then
      error("not a JSON object: " .. line)
    end
    if not name or event.event == name then
      found[#found + 1] = event
    end
  end
  return found
end

function M.wait(what, seconds, check)
  local limit = socket.gettime() + seconds * M.patience
  while socket.gettime() < limit do
    local value = check()
    if value then
      return value
    end
    socket.sleep(0.03)
  end
  error("waited " .. seconds * M.patience .. " s for: " .. what, 2)
end

local PORTS = {
  ["xin-orchestrator"] = { "orchestrator" },
  ["xin-channel-gateway"] = { "gateway", "gateway_metrics" },
  ["xin-ingestion-worker"] = { "worker_metrics" },
}

function Xin:find_ports()
  local ports, seen = {}, {}
  for _, event in ipairs(self:events("http.listening")) do
    local who = event["for"] or event.service
    seen[who] = (seen[who] or 0) + 1
    local name = PORTS[who] and PORTS[who][seen[who]]
    if name then
      ports[name] = math.floor(event.port)
    end
  end
  self.ports = ports
  return ports.orchestrator and ports.gateway
end

function Xin:start(settings)
  self:spawn(settings)
  M.wait("xin serve to be ready", 20, function()
    -- The last line of a start: every port is open then.
    if not self:events("console.ready")[1] or not self:find_ports() then
      return false
    end
    local answer = self:ask("GET", "/health")
    return answer and answer.status == 200
  end)
  return self
end

function Xin:signal(name)
  shell(("kill -%s %s 2>/dev/null"):format(name, self.pid))
end

function Xin:kill()
  self:signal("KILL")
  M.wait("the process to end", 10, function()
    return not self:running()
  end)
end

function Xin:stop()
  if self.pid then
    self:signal("TERM")
    if not pcall(M.wait, "the process to end", 20, function()
      return not self:running()
    end) then
      self:kill()
      error("the process did not end after SIGTERM")
    end
  end
  self:sound()
  shell(("rm -rf '%s'"):format(self.home))
end

--- Nothing that a sanitizer has to say, in any log of this server.
function Xin:sound()
  local found = io.popen(("grep -hE 'Sanitizer|runtime error:' '%s'/log.* 2>/dev/null"):format(self.home))
  local report = found:read("*a")
  found:close()
  assert(report == "", "sanitizer: " .. report)
end

--- One request. `body` a table goes as JSON. Returns {status, headers, text,
--- json} or nil and an error.
function M.request(port, method, path, body, headers, timeout)
  local all = {}
  for name, value in pairs(headers or {}) do
    all[name:lower()] = value
  end
  local text = body
  if type(body) == "table" then
    text = json.encode(body, { keyorder = { "message" } })
    if next(body) == nil then
      text = "{}"
    end
    all["content-type"] = all["content-type"] or "application/json"
  end
  if text then
    all["content-length"] = #text
  end
  local got = {}
  local _, status, answered = http.request({
    url = ("http://127.0.0.1:%d%s"):format(port, path),
    method = method,
    headers = all,
    source = text and ltn12.source.string(text) or nil,
    sink = ltn12.sink.table(got),
    create = function()
      local connection = socket.tcp()
      connection:settimeout(timeout or 30)
      return connection
    end,
  })
  if type(status) ~= "number" then
    return nil, status
  end
  local answer = { status = status, headers = answered, text = table.concat(got) }
  if answered["content-type"] and answered["content-type"]:find("json", 1, true) then
    answer.json = json.decode(answer.text)
  end
  return answer
end

function Xin:ask(method, path, body, headers, timeout)
  return M.request(self.ports.orchestrator, method, path, body, headers, timeout)
end

function Xin:turn(brand, message, more, headers)
  local body = { message = message, user = { id = "tester" } }
  for key, value in pairs(more or {}) do
    body[key] = value
  end
  return assert(self:ask("POST", "/v1/brands/" .. brand .. "/turns", body, headers))
end

function Xin:upload(brand, name, text, query, fields)
  local edge = "xin7e1f2c"
  local parts = {}
  for key, value in pairs(fields or {}) do
    parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'):format(edge, key, value)
  end
  parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
    .. "Content-Type: text/markdown\r\n\r\n%s\r\n--%s--\r\n"):format(edge, name, text, edge)
  return assert(self:ask("POST", "/v1/brands/" .. brand .. "/knowledge" .. (query or ""),
    table.concat(parts), { ["content-type"] = "multipart/form-data; boundary=" .. edge }))
end

--- Upload and wait until it is ready; the source.
function Xin:ready(brand, name, text)
  local source = self:upload(brand, name, text, "?wait=20").json
  return M.wait(name .. " to be ready", 20, function()
    local now = self:ask("GET", source.links.self).json
    if now.status == "failed" then
      error(name .. " failed: " .. now.error.message)
    end
    return now.status == "ready" and now
  end)
end

--- "sha256=<hex>" as the web chat signs.
function M.sign(secret, text)
  local path = os.tmpname()
  M.write(path, text)
  local line = shell(("openssl dgst -sha256 -hmac '%s' <'%s'"):format(secret, path))
  os.remove(path)
  return "sha256=" .. line:match("(%x+)$")
end

function Xin:webhook(body, headers, secret)
  local text = type(body) == "table" and json.encode(body) or body
  headers = headers or {}
  if headers["x-signature"] == nil then
    headers["x-signature"] = M.sign(secret or "dev-web", text)
  end
  headers["content-type"] = "application/json"
  return assert(M.request(self.ports.gateway, "POST", "/webchat/webhook", text, headers))
end

function Xin:script(path, text)
  local target = self.home .. "/lua/" .. path
  M.write(target .. ".new", text)
  assert(os.rename(target .. ".new", target))
end

function Xin:reload()
  return assert(self:ask("POST", "/v1/scripts/reload", {}))
end

return M
