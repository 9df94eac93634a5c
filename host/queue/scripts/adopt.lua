-- in flight → in flight elsewhere. Takes up to `count` jobs over from a host whose lease has run out, into the table of
-- the host that asks, which then settles them as its own. The last one takes the dead host's lease away.
-- keys: leases, in-flight of the dead host, in-flight of the host
-- args: dead host, host, lease in ms, first tag, count, bytes that are enough
-- returns: the jobs, in the order of their tags
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now then
  return {}
end
redis.call('HLEN', KEYS[3]) -- A key of the wrong type fails here, before anything has moved.
local tags = redis.call('HRANDFIELD', KEYS[2], ARGV[5])
local jobs, size = {}, 0
for _, tag in ipairs(tags) do
  if size > tonumber(ARGV[6]) then
    break
  end
  local job = redis.call('HGET', KEYS[2], tag)
  redis.call('HDEL', KEYS[2], tag)
  redis.call('HSET', KEYS[3], string.format('%.0f', ARGV[4] + #jobs), job)
  jobs[#jobs + 1] = job
  size = size + #job
end
if #jobs > 0 then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return jobs
