-- ARGV: member, token or '', answer, ttl_ms, max_bytes, batch, model, tags...
-- Returns version (0: lease lost), entries evicted, whether the tenant is still above its bound.
local member, token, batch = ARGV[1], ARGV[2], tonumber(ARGV[6])
local lease = P .. 'lease:' .. member
local generation = redis.call('GET', P .. 'generation') or '0'
if token ~= '' and redis.call('GET', lease) ~= generation .. ':' .. token then
  return {0, 0, 0}
end

local now, ttl_ms, version = now_us(), tonumber(ARGV[4]), 1
local packed = redis.call('HGET', META, member)
if packed and redis.call('EXISTS', P .. 'entry:' .. member) == 1 then
  version = cmsgpack.unpack(packed)[2] + 1
end
local value = struct.pack('>I8I8', version, now) .. ARGV[3]
-- First of all writes: a Redis that is full refuses it and nothing has changed.
redis.call('SET', P .. 'entry:' .. member, value, 'PX', ttl_ms)
local tags = {}
for i = 8, #ARGV do
  tags[#tags + 1] = ARGV[i]
end
unindex(member)
local meta = {#value, version, tonumber(generation), ARGV[7], tags}
index(member, meta, now, now + ttl_ms * 1000)
if token ~= '' then
  redis.call('DEL', lease)
end
announce(member)

remove_expired(now, batch)
local evicted = evict(tonumber(ARGV[5]), member, batch)
return {version, evicted, evicted == batch and 1 or 0}
