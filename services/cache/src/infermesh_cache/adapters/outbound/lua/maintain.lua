-- ARGV: max_bytes or '', batch
-- Returns how many entries were evicted and whether there is more to do.
local batch = tonumber(ARGV[2])
local expired = remove_expired(now_us(), batch)
local evicted = 0
if ARGV[1] ~= '' then
  evicted = evict(tonumber(ARGV[1]), nil, batch)
end
return {evicted, (expired == batch or evicted == batch) and 1 or 0}
