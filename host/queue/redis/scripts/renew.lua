-- Renews the host's lease. A host whose lease had run out may have lost the jobs that it held.
-- keys: leases   args: host, lease in ms
-- returns: 1 if the lease was still good, else 0; Redis' time in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may. (To remove the
-- lease itself would remove the key with the last, and in a slot that is moving away it could not come back.)
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return {(lease and tonumber(lease) > now) and 1 or 0, now}
