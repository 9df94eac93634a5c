-- failed → gone. Drops the oldest entries.
-- keys: failed, its older part   args: count
-- returns: how many there were to drop
local count = tonumber(ARGV[1])
local older = math.min(redis.call('LLEN', KEYS[2]), count)
local newer = math.min(redis.call('LLEN', KEYS[1]), count - older)
redis.call('LTRIM', KEYS[2], older, -1)
redis.call('LTRIM', KEYS[1], newer, -1)
return older + newer
