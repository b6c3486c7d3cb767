-- ARGV: member
-- Removes an entry, and takes the lease away from who is making its successor from old knowledge.
local removed = remove(ARGV[1])
if redis.call('DEL', P .. 'lease:' .. ARGV[1]) == 1 then
  announce(ARGV[1])
end
return removed and 1 or 0
