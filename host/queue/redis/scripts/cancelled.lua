-- Reads the marks of cancelled jobs: those made since a version, or all if some were taken away since. Forgets marks that
-- have ended.
-- keys: cancelled, cancelled-until, orders   args: the version that is known
-- returns: the version; 1 if these are all marks, else 0; the ids, each with the ms at which its mark ends
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[3], 'cancels', 'uncancels')
local since, version, undone = tonumber(ARGV[1]), tonumber(known[1] or 0), tonumber(known[2] or 0)
if version == 0 then
  return {0, 1, {}}
end
-- A version that is ahead was read from a Redis whose last changes are lost.
local all = since < undone or since > version
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 5000)
if #old > 0 then
  redis.call('ZREM', KEYS[1], unpack(old))
  redis.call('ZREM', KEYS[2], unpack(old))
end
local from = all and '(0' or string.format('(%.0f', since)
local marks = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf')) do
  marks[#marks + 1] = id
  marks[#marks + 1] = redis.call('ZSCORE', KEYS[2], id) or 0
end
return {version, all and 1 or 0, marks}
