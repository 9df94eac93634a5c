-- failed → gone. Drops the oldest entries.
-- keys: failed   args: count
-- returns: how many there were to drop
local dropped = math.min(redis.call('LLEN', KEYS[1]), ARGV[1])
redis.call('LTRIM', KEYS[1], dropped, -1)
return dropped
