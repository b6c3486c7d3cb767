-- ARGV: members, least recently used first
-- Notes that they were used, if they are still there. A Redis that is full may refuse.
local now = now_us()
for i, member in ipairs(ARGV) do
  redis.pcall('ZADD', LRU, 'XX', now - #ARGV + i, member)
end
return 0
