-- ARGV: member, not_before_us, max_age_us or '', token or '', lease_ttl_ms
-- In one piece: the entry if it is fresh, else the lease, else how long another holds it.
local P, member, token = KEYS[1], ARGV[1], ARGV[4]
local not_before = tonumber(ARGV[2])
if ARGV[3] ~= '' then
  local time = redis.call('TIME')
  not_before = tonumber(time[1]) * 1000000 + tonumber(time[2]) - tonumber(ARGV[3])
end

local value = redis.call('GET', P .. 'entry:' .. member)
if value then
  -- One too short to have a stamp is for the caller to refuse.
  if #value < 16 or struct.unpack('>I8', value, 9) >= not_before then
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
