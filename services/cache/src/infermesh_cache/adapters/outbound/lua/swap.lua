-- ARGV: tuner key suffix, expected version, document
-- Saves the next version of a document unless somebody else has.
local key = KEYS[1] .. ARGV[1]
local version = tonumber(redis.call('HGET', key, 'version') or '0')
if version ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', key, 'version', version + 1, 'document', ARGV[3])
return 1
