-- Lists the hosts whose leases have run out. It reads no other key, so that a dead host's jobs are taken over even if
-- another key of the queue is broken.
-- keys: leases   returns: the hosts
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
