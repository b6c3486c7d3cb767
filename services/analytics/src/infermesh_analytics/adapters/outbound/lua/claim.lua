-- Takes over entries that a consumer has held for too long.
-- KEYS[1] stream; ARGV: group, consumer, idle time in ms, most entries.
-- Returns how many. JUSTID: they are read afterwards as the consumer's own, which tells the id of
-- entries that were trimmed meanwhile; Redis 6.2 hides it behind a nil here.
local cursor, claimed = '0-0', 0
repeat
  local reply = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor,
                           'COUNT', ARGV[4], 'JUSTID')
  cursor = reply[1]
  claimed = claimed + #reply[2]
until cursor == '0-0' or claimed >= tonumber(ARGV[4])
return claimed
