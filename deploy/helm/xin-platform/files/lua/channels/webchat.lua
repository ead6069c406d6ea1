-- SPDX-License-Identifier: Apache-2.0
--- The web chat's own JSON: one message in, one reply out. The signature was
--- verified before; what is missing or odd is named in words.
---@class channel.webchat : xin.Channel
local M = { api = 1, name = "webchat" }

local MAX_TEXT_BYTES = 16384
local MAX_ID_BYTES = 128
local MAX_NAME_BYTES = 256
local MAX_ATTACHMENTS = 10

local function invalid(reason)
  return nil, { code = "invalid_request", reason = reason }
end

-- A field that may be left out or null; other types than the wanted are an
-- error. Numbers pass for strings where ids are concerned.
local function field(object, key, max_bytes, number_too)
  local value = object[key]
  if value == nil or type(value) == "userdata" then
    return nil
  end
  if number_too and math.type(value) == "integer" then
    value = string.format("%d", value)
  end
  if type(value) ~= "string" then
    return nil, key .. " must be a string"
  end
  if #value > max_bytes then
    return nil, key .. " is longer than " .. max_bytes .. " bytes"
  end
  if value == "" then
    return nil
  end
  return value
end

local function user_of(body)
  local user = body.user
  if type(user) ~= "table" then
    return nil, "user must be an object with an id"
  end
  local id, err = field(user, "id", MAX_ID_BYTES, true)
  if not id then
    return nil, err and "user." .. err or "user.id is missing"
  end
  local name
  name, err = field(user, "name", MAX_NAME_BYTES)
  if err then
    return nil, "user." .. err
  end
  return { id = id, name = name }
end

local function attachments_of(body)
  local list = body.attachments
  if list == nil or type(list) == "userdata" then
    return {}
  end
  if type(list) ~= "table" or (next(list) ~= nil and #list == 0) then
    return nil, "attachments must be an array"
  end
  if #list > MAX_ATTACHMENTS then
    return nil, "more than " .. MAX_ATTACHMENTS .. " attachments"
  end
  return list
end

local function brand_of(body, request)
  local brand, err = field(body, "brand", 63)
  if err then
    return nil, err
  end
  if brand and request.path_brand and brand ~= request.path_brand then
    return nil, "brand differs from the one in the path"
  end
  return brand or request.path_brand
end

---@param request xin.ChannelRequest
---@return { messages: xin.ChannelMessage[], brand: string? }?, xin.Error?
function M.parse(request)
  local body = request.body
  if type(body) ~= "table" then
    return invalid("the body must be a JSON object")
  end
  local user, err = user_of(body)
  if not user then
    return invalid(err)
  end
  local message = { user = user }
  message.id, err = field(body, "message_id", MAX_ID_BYTES, true)
  if not message.id then
    return invalid(err or "message_id is missing")
  end
  message.text, err = field(body, "text", MAX_TEXT_BYTES)
  if not message.text or not message.text:find("%S") then
    return invalid(err or "text is missing")
  end
  message.conversation_id, err = field(body, "conversation_id", MAX_ID_BYTES)
  if err then
    return invalid(err)
  end
  message.locale, err = field(body, "locale", 35)
  if err then
    return invalid(err)
  end
  message.attachments, err = attachments_of(body)
  if not message.attachments then
    return invalid(err)
  end
  local brand
  brand, err = brand_of(body, request)
  if err then
    return invalid(err)
  end
  return { brand = brand, messages = { message } }
end

---@param reply xin.ChannelReply
---@return { status: integer, body: table }
function M.render(reply)
  return {
    status = 200,
    body = {
      message_id = reply.message_id,
      turn_id = reply.turn_id,
      conversation_id = reply.conversation_id,
      reply = { text = reply.text, citations = reply.citations },
      duplicate = reply.duplicate == true,
    },
  }
end

return M
