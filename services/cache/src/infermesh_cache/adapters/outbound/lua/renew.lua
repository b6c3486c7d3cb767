-- ARGV: member, token, lease_ttl_ms
-- Returns whether the lease is held; one from before an invalidation is not.
local lease = P .. 'lease:' .. ARGV[1]
local generation = redis.call('GET', P .. 'generation') or '0'
if redis.call('GET', lease) ~= generation .. ':' .. ARGV[2] then
  return 0
end
return redis.call('PEXPIRE', lease, ARGV[3])
