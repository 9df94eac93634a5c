-- Puts the host's lease off. A host whose lease had run out may have lost what it held.
-- keys: leases   args: host, lease in ms
-- returns: 1 if the lease was still good, else 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
-- Removed first, because a script that has written may go on where Redis has no memory left for more.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return (lease and tonumber(lease) > now) and 1 or 0
