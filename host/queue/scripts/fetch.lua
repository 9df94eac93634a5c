-- ready → in flight. Moves up to `count` jobs from the head of the ready list into the host's table.
-- The lease is written in the same step: no job is ever in flight without one.
-- keys: ready, in-flight of the host, leases   args: host, lease in ms, first tag, count
-- returns: the jobs, in the order of their tags
local jobs = redis.call('LPOP', KEYS[1], ARGV[4])
if not jobs then
  return {}
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
