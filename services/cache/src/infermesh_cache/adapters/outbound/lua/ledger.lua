-- Put before the scripts that change entries: keeps what is known of a tenant's entries in step
-- with the entries. KEYS[1] is the prefix of all keys of the tenant; the others are made from it, as
-- which entries a script touches is found out inside. For one Redis, not for Redis Cluster.
--
--   entry:<member>   stamp (version, store time) and the answer as encoded; has a TTL
--   lease:<member>   <generation>:<token> of the flight; has a TTL
--   meta             hash   member -> {size, version, generation, model, tags}
--   lru              zset   member by last use, microseconds
--   expiry           zset   member by end of life, microseconds
--   bytes            sum of the sizes in meta
--   generation       raised by every invalidation of many
--   model:<model>    set    members
--   tag:<tag>        set    members
local P = KEYS[1]
local META, LRU, EXPIRY, BYTES = P .. 'meta', P .. 'lru', P .. 'expiry', P .. 'bytes'

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function stored_bytes()
  return tonumber(redis.call('GET', BYTES) or '0')
end

-- Wakes those who wait for the flight, in every process.
local function announce(member)
  redis.call('PUBLISH', '-:cache:flights', P .. 'lease:' .. member)
end

local function index(member, meta, now, expiry)
  redis.call('HSET', META, member, cmsgpack.pack(meta))
  redis.call('ZADD', LRU, now, member)
  redis.call('ZADD', EXPIRY, expiry, member)
  redis.call('INCRBY', BYTES, meta[1])
  redis.call('SADD', P .. 'model:' .. meta[4], member)
  for _, tag in ipairs(meta[5]) do
    redis.call('SADD', P .. 'tag:' .. tag, member)
  end
end

local function unindex(member)
  local packed = redis.call('HGET', META, member)
  redis.call('ZREM', LRU, member)
  redis.call('ZREM', EXPIRY, member)
  if not packed then
    return
  end
  local meta = cmsgpack.unpack(packed)
  redis.call('HDEL', META, member)
  redis.call('DECRBY', BYTES, meta[1])
  redis.call('SREM', P .. 'model:' .. meta[4], member)
  for _, tag in ipairs(meta[5]) do
    redis.call('SREM', P .. 'tag:' .. tag, member)
  end
  -- With nothing left the sum is known: a key less, and no drift that stays.
  if redis.call('EXISTS', META) == 0 then
    redis.call('DEL', BYTES)
  end
end

-- Whether there was an entry; one whose time was over does not count.
local function remove(member)
  unindex(member)
  return redis.call('UNLINK', P .. 'entry:' .. member) == 1
end

local function remove_expired(now, limit)
  local members = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, limit)
  for _, member in ipairs(members) do
    remove(member)
  end
  return #members
end

-- Removes what was used least recently, but never `keep`, until the tenant is within its bound.
local function evict(max_bytes, keep, limit)
  local evicted = 0
  while evicted < limit and stored_bytes() > max_bytes do
    local oldest = redis.call('ZRANGE', LRU, 0, 1)
    local victim = oldest[1] ~= keep and oldest[1] or oldest[2]
    if not victim then
      break
    end
    remove(victim)
    evicted = evicted + 1
  end
  return evicted
end
