-- Gives errors on a surface the shape that its SDKs expect. A success costs one look-up. What goes
-- before this defines `wrap`.
--
-- The router sends the body of an error as the metadata x-infermesh-error. It is among the headers
-- when nothing was sent before it (gRPC's "trailers-only" response), else among the trailers.
local HEADER = "x-infermesh-error"
-- An HTTP status that no gRPC status stands for.
local STATUS = "x-infermesh-status"

-- The message, as a JSON string, of what the transcoder made of a gRPC status (google.rpc.Status).
-- Only gRPC itself sends an error without the metadata, for example for a message above the router's
-- limit. Nil: not a status, but an error of Envoy's own, which has the shape.
local function message_of(text)
  local first = text:match('^{"code":%d+,"message":()"')
  if first == nil then
    return nil
  end
  local last = first
  repeat
    last = text:find('"', last + 1, true)
    local escapes = last and #text:sub(first + 1, last - 1):match("\\*$")
  until last == nil or escapes % 2 == 0
  return last and text:sub(first, last) or '"error"'
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
  if not shaped then
    local message = message_of(body:getBytes(0, body:length()))
    shaped = message and wrap(status, message, headers:get("request-id"))
  end
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
