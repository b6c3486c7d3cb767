-- Sends a body that is too large to the method that reads it to its end and refuses it, in the shape
-- of the surface that was asked.
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":method", "POST")
  headers:replace(":path", REFUSAL)
end
