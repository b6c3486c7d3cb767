-- ARGV: member, token
-- Gives the lease up if it is the holder who asks, of whatever generation.
local lease = P .. 'lease:' .. ARGV[1]
local held = redis.call('GET', lease)
if held and string.match(held, '^%d+:(.*)$') == ARGV[2] then
  redis.call('DEL', lease)
  announce(ARGV[1])
end
return 0
