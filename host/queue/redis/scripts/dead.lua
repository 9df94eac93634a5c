-- Lists the hosts whose leases have run out, and tells when the next lease will, unless it is renewed. It reads no other key,
-- so that a dead host's jobs are taken over even if another key of the queue is broken.
-- keys: leases   returns: the hosts; the ms until the next lease runs out, or -1 if there is no other
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local ends = redis.call('ZRANGE', KEYS[1], #dead, #dead, 'WITHSCORES')[2]
return {dead, ends and ends - now or -1}
