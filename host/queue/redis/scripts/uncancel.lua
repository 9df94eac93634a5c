-- Takes marks of cancelled jobs away.
-- keys: cancelled, cancelled-until, orders   args: the ids, none twice
-- returns: for each id 1 if there was a mark, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HLEN', KEYS[3]) -- A key of the wrong type fails here, before anything has changed.
local were, any = {}, false
for i, id in ipairs(ARGV) do
  local ends = redis.call('ZSCORE', KEYS[2], id)
  were[i] = ends and tonumber(ends) > now and 1 or 0
  any = redis.call('ZREM', KEYS[1], id) == 1 or any
  redis.call('ZREM', KEYS[2], id)
end
if any then
  -- Whoever knows an older version has to read all marks anew, to learn which are gone.
  redis.call('HSET', KEYS[3], 'uncancels', redis.call('HINCRBY', KEYS[3], 'cancels', 1))
end
return were
