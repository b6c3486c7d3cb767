-- ARGV: member, SHA-1 of the value that could not be decoded
-- Removes that value, but not one that took its place meanwhile.
local value = redis.call('GET', P .. 'entry:' .. ARGV[1])
if value and redis.sha1hex(value) == ARGV[2] then
  remove(ARGV[1])
end
return 0
