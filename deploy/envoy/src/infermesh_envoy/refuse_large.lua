-- Sends a body that is too large to the method that reads it to its end and refuses it.
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":method", "POST")
  headers:replace(":path", "/v1/refusals/large-body")
end
