-- An error in Anthropic's shape, of a message that is a JSON string.
local TYPES = {
  ["401"] = "authentication_error",
  ["403"] = "permission_error",
  ["404"] = "not_found_error",
  ["429"] = "rate_limit_error",
  ["504"] = "timeout_error",
}

local function wrap(status, message, request_id)
  local kind = TYPES[status] or (status < "500" and "invalid_request_error" or "api_error")
  local id = request_id and '"' .. request_id .. '"' or "null"
  return '{"type":"error","error":{"type":"' .. kind .. '","message":' .. message
    .. '},"request_id":' .. id .. "}"
end
