-- ARGV: scope, value, before_generation, cursor, batch
-- Returns the next cursor and how many live entries were removed. What was stored after the
-- invalidation began stays: the scan may meet it, its generation tells.
local scope, before = ARGV[1], tonumber(ARGV[3])
local key, found, step = LRU, nil, 2
if scope == 'all' then
  found = redis.call('ZSCAN', key, ARGV[4], 'COUNT', ARGV[5])
else
  key, step = P .. scope .. ':' .. ARGV[2], 1
  found = redis.call('SSCAN', key, ARGV[4], 'COUNT', ARGV[5])
end
local count = 0
for i = 1, #found[2], step do
  local member = found[2][i]
  local packed = redis.call('HGET', META, member)
  if packed and cmsgpack.unpack(packed)[3] < before and remove(member) then
    count = count + 1
  end
end
return {found[1], count}
