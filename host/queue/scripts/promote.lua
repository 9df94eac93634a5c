-- delayed → ready, where both are in one slot. Moves up to `count` due jobs, the earliest first, by Redis' own clock.
-- keys: delayed, ready   args: count
-- returns: how many were moved
redis.call('LLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
if #due > 0 then
  redis.call('ZREM', KEYS[1], unpack(due))
  redis.call('RPUSH', KEYS[2], unpack(due))
end
return #due
