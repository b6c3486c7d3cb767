-- Gives errors on the OpenAI surface OpenAI's shape. A success costs one look-up.
--
-- The router sends the body of an error as the metadata x-infermesh-error. It is among the headers
-- when nothing was sent before it (gRPC's "trailers-only" response), else among the trailers.
local HEADER = "x-infermesh-error"
-- An HTTP status that no gRPC status stands for.
local STATUS = "x-infermesh-status"
local TYPES = {
  ["401"] = "authentication_error",
  ["403"] = "permission_error",
  ["429"] = "rate_limit_error",
}

-- What the transcoder made of a gRPC status (google.rpc.Status) in OpenAI's shape. Only gRPC itself
-- sends an error without the metadata, for example for a message above the router's limit.
local function wrap(status, text)
  local first = text:match('^{"code":%d+,"message":()"')
  if first == nil then
    return nil -- Not a status: an error of Envoy's own, which has the shape.
  end
  local last = first
  repeat
    last = text:find('"', last + 1, true)
    local escapes = last and #text:sub(first + 1, last - 1):match("\\*$")
  until last == nil or escapes % 2 == 0
  local message = last and text:sub(first, last) or '"error"'
  local kind = TYPES[status] or (status < "500" and "invalid_request_error" or "server_error")
  return '{"error":{"message":' .. message .. ',"type":"' .. kind .. '","param":null,"code":null}}'
end

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  if status < "400" then
    return
  end
  -- Waiting for the body ends the life of what was taken before it, and lets headers change after.
  local body = handle:body(true)
  local headers = handle:headers()
  local shaped = headers:get(HEADER)
  local trailers = not shaped and handle:trailers()
  local exact = headers:get(STATUS)
  if trailers then
    shaped = trailers:get(HEADER)
    exact = trailers:get(STATUS)
    local retry_after = trailers:get("retry-after")
    if retry_after then
      headers:replace("retry-after", retry_after)
    end
  end
  shaped = shaped or wrap(status, body:getBytes(0, body:length()))
  if exact then
    headers:remove(STATUS)
    headers:replace(":status", exact)
  end
  if shaped then
    headers:remove(HEADER)
    headers:replace("content-type", "application/json")
    headers:replace("content-length", tostring(body:setBytes(shaped)))
  end
end
