-- Reads the leases of a queue.
-- keys: leases
-- returns: host, milliseconds left (below zero: run out), in turns
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #leases, 2 do
  leases[i] = leases[i] - now
end
return leases
