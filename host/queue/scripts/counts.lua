-- Counts a queue, all at one moment, or a job on its way from one place to another would be in none.
-- keys: ready, delayed, leases   args: what the keys of in-flight tables start with, before the host
-- returns: ready, delayed, in flight, then for each host: its name, milliseconds its lease has left
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
local hosts, in_flight = {}, 0
for i = 1, #leases, 2 do
  in_flight = in_flight + redis.call('HLEN', ARGV[1] .. leases[i])
  hosts[#hosts + 1] = {leases[i], leases[i + 1] - now}
end
return {redis.call('LLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), in_flight, hosts}
