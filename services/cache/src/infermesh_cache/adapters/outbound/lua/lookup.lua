-- ARGV: member, not_before_us, max_age_us or '', token or '', lease_ttl_ms, lru_resolution_us
-- One round trip a lookup: the entry, else the lease, else who holds it.
local P, member, token = KEYS[1], ARGV[1], ARGV[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local not_before = tonumber(ARGV[2])
if ARGV[3] ~= '' then
  not_before = now - tonumber(ARGV[3])
end

local value = redis.call('GET', P .. 'entry:' .. member)
if value then
  -- One too short to have a stamp is for the caller to refuse.
  if #value < 16 or struct.unpack('>I8', value, 9) >= not_before then
    local used = redis.call('ZSCORE', P .. 'lru', member)
    if used and now - tonumber(used) >= tonumber(ARGV[6]) then
      -- A Redis that is full refuses the write; the entry is good all the same.
      redis.pcall('ZADD', P .. 'lru', 'XX', now, member)
    end
    return {'hit', value}
  end
end
if token == '' then
  return {'miss'}
end

local generation = redis.call('GET', P .. 'generation') or '0'
local lease = P .. 'lease:' .. member
local held = redis.call('GET', lease)
-- A flight from before an invalidation is not worth waiting for: its answer will not be stored.
if held and string.sub(held, 1, #generation + 1) == generation .. ':' then
  return {'flight', redis.call('PTTL', lease), not_before}
end
redis.call('SET', lease, generation .. ':' .. token, 'PX', ARGV[5])
return {'lease'}
