-- SPDX-License-Identifier: Apache-2.0
-- Recorded webhooks of every channel (item 73): the bytes and headers that a
-- sender sent once, what the channel made of them, and what it was answered. A
-- channel that exists has recordings; what changes an answer changes a file here.
--
-- fixtures/<channel>/<what it shows>.json:
--   request   path, headers (with the recorded signature), body as text
--   parsed    what the channel's parse returns, or
--   error     with what code and reason it refuses
--   answer    status and body of the gateway; "*" stands for any text
--   times     how often it is sent; the answer is that of the last time
-- The brand "recorded" answers "You said: " and the text.
package.path = "lua/?.lua;" .. package.path
local xin = require("xin")
local json = xin.json
local null = require("cjson").null

local FIXTURES = os.getenv("XIN_FIXTURES") or "tests/contract/fixtures"
local BRAND = [[
local M = {
  api = 1, name = "recorded", title = "Recorded", languages = { "en" }, channels = { "webchat" },
  guardrails = {}, pipeline = "standard", fallback = "f", no_answer = "n", blocked = "b",
}
function M.route(turn) return { route = "reply", reply = "You said: " .. turn.text } end
return M
]]

local function lines(command)
  local list = {}
  for line in xin.shell(command):gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

local function read(path)
  local text = assert(xin.read(path))
  local fixture, _, err = json.decode(text)
  return assert(fixture, path .. ": " .. tostring(err))
end

-- Where the recording says "*", any text that is there will do.
local function settle(expected, actual)
  if expected == "*" and type(actual) == "string" and actual ~= "" then return actual end
  if type(expected) ~= "table" or type(actual) ~= "table" then return expected end
  local settled = {}
  for key, value in pairs(expected) do settled[key] = settle(value, actual[key]) end
  return settled
end

describe("recorded webhooks", function()
  local server
  setup(function()
    server = xin.new()
    xin.write(server.home .. "/lua/brands/recorded.lua", BRAND)
    server:start()
  end)
  teardown(function() server:stop() end)

  it("are there for every channel", function()
    for _, path in ipairs(lines("ls lua/channels/*.lua | grep -v _spec")) do
      local channel = path:match("([^/]+)%.lua$")
      assert.is_true(#lines(("ls '%s/%s' 2>/dev/null"):format(FIXTURES, channel)) >= 5, channel .. " has too few recordings")
    end
  end)

  for _, path in ipairs(lines(("ls '%s'/*/*.json 2>/dev/null"):format(FIXTURES))) do
    local channel, name = path:match("([^/]+)/([^/]+)%.json$")
    local fixture = read(path)
    local request = fixture.request

    if fixture.parsed or fixture.error then
      it(("%s: %s is parsed"):format(channel, name), function()
        local parsed, err = require("channels." .. channel).parse({
          body = json.decode(request.body, 1, null), headers = request.headers, channel = channel,
          path_brand = request.path:match("^/[^/]+/([^/]+)/webhook$"),
        })
        assert.same(fixture.parsed, parsed)
        assert.same(fixture.error, err)
      end)
    end

    it(("%s: %s is answered"):format(channel, name), function()
      local answer
      for _ = 1, fixture.times or 1 do
        answer = assert(xin.request(server.ports.gateway, "POST", request.path, request.body, request.headers))
      end
      assert.equal(fixture.answer.status, answer.status, answer.text)
      assert.same(settle(fixture.answer.body, answer.json), answer.json)
    end)
  end
end)
