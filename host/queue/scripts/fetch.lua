-- ready → in flight. Moves jobs from the head of the ready list into the host's table: up to `count`, and beyond the
-- first only as many as come to `bytes` together, so that one reply stays small whatever producers push.
-- The lease is written in the same step: no job is ever in flight without one.
-- keys: ready, in-flight of the host, leases   args: host, lease in ms, first tag, count, bytes
-- returns: the jobs, in the order of their tags
redis.call('HLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
redis.call('ZCARD', KEYS[3])
local jobs = redis.call('LPOP', KEYS[1], ARGV[4])
if not jobs then
  return {}
end
local size, taken = 0, 0
while taken < #jobs and (taken == 0 or size + #jobs[taken + 1] <= tonumber(ARGV[5])) do
  taken = taken + 1
  size = size + #jobs[taken]
end
for i = #jobs, taken + 1, -1 do
  redis.call('LPUSH', KEYS[1], jobs[i])
  jobs[i] = nil
end
local entries = {}
for i, job in ipairs(jobs) do
  entries[2 * i - 1] = string.format('%.0f', ARGV[3] + i - 1)
  entries[2 * i] = job
end
redis.call('HSET', KEYS[2], unpack(entries))
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
return jobs
