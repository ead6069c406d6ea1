-- SPDX-License-Identifier: Apache-2.0
local channel = require("channels.webchat")

local function parse(body, path_brand)
  return channel.parse({ body = body, headers = {}, channel = "webchat", path_brand = path_brand })
end

local function good()
  return { message_id = "m1", user = { id = "u1", name = "Sara" }, text = "hello" }
end

describe("webchat", function()
  it("reads a message", function()
    local parsed = parse(good())
    assert.same({ id = "m1", user = { id = "u1", name = "Sara" }, text = "hello", attachments = {} },
      parsed.messages[1])
  end)
  it("takes whole numbers as ids", function()
    local body = good()
    body.message_id, body.user.id = 912, 77
    assert.equal("912", parse(body).messages[1].id)
    assert.equal("77", parse(body).messages[1].user.id)
  end)
  it("names what is missing", function()
    for field, reason in pairs({
      message_id = "message_id is missing", text = "text is missing",
      user = "user must be an object with an id",
    }) do
      local body = good()
      body[field] = nil
      local parsed, err = parse(body)
      assert.is_nil(parsed)
      assert.same({ code = "invalid_request", reason = reason }, err)
    end
  end)
  it("refuses wrong types and long texts", function()
    local body = good()
    body.text = { "a" }
    assert.equal("text must be a string", select(2, parse(body)).reason)
    body.text = ("x"):rep(16385)
    assert.equal("text is longer than 16384 bytes", select(2, parse(body)).reason)
    assert.equal("the body must be a JSON object", select(2, parse("x")).reason)
  end)
  it("takes the brand from body or path, not two different ones", function()
    local body = good()
    assert.equal("beta", parse(body, "beta").brand)
    body.brand = "alpha"
    assert.equal("alpha", parse(body).brand)
    assert.equal("brand differs from the one in the path", select(2, parse(body, "beta")).reason)
  end)
  it("renders the reply", function()
    local citations = { { title = "Returns" } }
    local out = channel.render({
      message_id = "m1", turn_id = "tn_1", conversation_id = "cv_1", text = "hi",
      citations = citations, duplicate = true,
    })
    assert.same({
      status = 200,
      body = {
        message_id = "m1", turn_id = "tn_1", conversation_id = "cv_1",
        reply = { text = "hi", citations = citations }, duplicate = true,
      },
    }, out)
  end)
end)
