-- SPDX-License-Identifier: Apache-2.0
local xin = require("xin")

describe("limits", function()
  local server
  setup(function()
    server = xin.new():start({ XIN_USER_TURNS_PER_MINUTE = "5", XIN_MAX_UPLOAD_BYTES = "100000" })
  end)
  teardown(function() server:stop() end)

  it("are all told at /v1/limits", function()
    local limits = server:ask("GET", "/v1/limits").json
    assert.equal(100000, limits.max_upload_bytes)
    assert.equal(16384, limits.max_message_bytes)
    assert.equal(5, limits.user_turns_per_minute)
  end)

  it("refuse a user who sends too fast with 429 and Retry-After", function()
    local last
    for _ = 1, 12 do
      last = server:turn("default", "hello", { user = { id = "fast" } })
      if last.status ~= 200 then break end
    end
    assert.equal(429, last.status)
    assert.equal("rate_limited", last.json.error.code)
    assert.is_true(last.json.error.retryable)
    assert.is_true(tonumber(last.headers["retry-after"]) >= 1)
    assert.equal(200, server:turn("default", "hello", { user = { id = "calm" } }).status)
  end)

  it("refuse what is too large in words", function()
    local message = server:turn("default", ("x"):rep(20000), { user = { id = "long" } })
    assert.is_true(message.status == 400 or message.status == 413, message.text)
    local upload = server:upload("default", "big.md", ("word "):rep(40000))
    assert.equal(413, upload.status)
    assert.equal("too_large", upload.json.error.code)
    local head = server:ask("GET", "/v1/brands", nil, { ["x-long"] = ("y"):rep(20000) })
    assert.is_true(head == nil or head.status == 431)
    assert.equal(200, server:ask("GET", "/health").status)
  end)

  it("refuse JSON that has two meanings", function()
    for _, body in ipairs({ '{"message":"a","message":"b"}', '{"message":NaN}', '{"message":"\xff"}' }) do
      local answer = server:ask("POST", "/v1/brands/default/turns", body, { ["content-type"] = "application/json" })
      assert.equal(400, answer.status, body)
    end
  end)
end)
