-- Looks which hosts' leases have run out. No other key of the queue matters: whatever is wrong with those, what a dead host
-- held is taken over.
-- keys: leases   returns: the hosts
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
