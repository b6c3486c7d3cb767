-- ARGV: scope, value, batch
-- Returns whether expired entries are left that would be counted, the entries of the scope, and the
-- bytes of the tenant.
local batch = tonumber(ARGV[3])
if remove_expired(now_us(), batch) == batch then
  return {1, 0, 0}
end
local count
if ARGV[1] == 'all' then
  count = redis.call('HLEN', META)
else
  count = redis.call('SCARD', P .. ARGV[1] .. ':' .. ARGV[2])
end
return {0, count, stored_bytes()}
