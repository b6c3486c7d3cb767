-- Drops from the stream what every group has acknowledged, and counts what ours has not read.
-- KEYS[1] stream; ARGV: group, bound up to which unread entries are counted one by one.
-- Returns the number of unread entries.
--
-- One script, so that nothing is delivered between looking and trimming. The last entry delivered
-- to each group is always kept, acknowledged or not: when it is missing, somebody else has trimmed
-- past what was read.
local function before(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  -- Both halves are 64 bits and Lua's numbers have 53: compared as text, by length first.
  if a_ms ~= b_ms then
    return #a_ms < #b_ms or (#a_ms == #b_ms and a_ms < b_ms)
  end
  return #a_seq < #b_seq or (#a_seq == #b_seq and a_seq < b_seq)
end

local floor, read, pending, lag
for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #reply, 2 do
    group[reply[i]] = reply[i + 1]
  end
  local lowest = group['last-delivered-id']
  if group['pending'] > 0 then
    local oldest = redis.call('XPENDING', KEYS[1], group['name'])[2]
    if before(oldest, lowest) then
      lowest = oldest
    end
  end
  if not floor or before(lowest, floor) then
    floor = lowest
  end
  if group['name'] == ARGV[1] then
    read, pending, lag = group['last-delivered-id'], group['pending'], group['lag']
  end
end
if not read then
  return redis.error_reply('NOGROUP the consumer group is missing')
end
redis.call('XTRIM', KEYS[1], 'MINID', floor)
if lag then
  return lag
end
-- Redis before 7 does not say. Few entries are counted; many are what is in the stream less those
-- under way, which is too many by those that are acknowledged behind an older one under way.
local bound = tonumber(ARGV[2])
local unread = #redis.call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', bound)
if unread < bound then
  return unread
end
local kept = read == '0-0' and 0 or math.max(pending, 1)
return math.max(unread, redis.call('XLEN', KEYS[1]) - kept)
