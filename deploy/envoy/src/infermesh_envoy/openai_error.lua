-- An error in OpenAI's shape, of a message that is a JSON string.
local TYPES = {
  ["401"] = "authentication_error",
  ["403"] = "permission_error",
  ["429"] = "rate_limit_error",
}

local function wrap(status, message, request_id)
  local kind = TYPES[status] or (status < "500" and "invalid_request_error" or "server_error")
  return '{"error":{"message":' .. message .. ',"type":"' .. kind .. '","param":null,"code":null}}'
end
