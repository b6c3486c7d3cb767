-- Moves an entry to the dead-letter stream, once: the replica whose acknowledgement counts does it.
-- KEYS: stream, dead-letter stream; ARGV: group, id, most dead letters, field and value pairs.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return 0
end
local fields = {}
for i = 4, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(fields))
return 1
