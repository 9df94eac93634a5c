-- Counts a queue, all at one moment, or a job on its way from one place to another would be in none.
-- keys: ready, leases, lanes that hold jobs, and where it is in the same slot: delayed
-- args: what the keys of in-flight tables start with, before the host; what those of lanes do, before the lane
-- returns: ready, delayed, for each host: its name, milliseconds its lease has left, its jobs in flight; for each lane: its
--   name, its jobs
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local hosts, lanes = {}, {}
for i = 1, #leases, 2 do
  hosts[#hosts + 1] = {leases[i], leases[i + 1] - now, redis.call('HLEN', ARGV[1] .. leases[i])}
end
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  lanes[#lanes + 1] = {lane, redis.call('LLEN', ARGV[2] .. lane)}
end
return {redis.call('LLEN', KEYS[1]), KEYS[4] and redis.call('ZCARD', KEYS[4]) or 0, hosts, lanes}
