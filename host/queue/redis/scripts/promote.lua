-- delayed → ready, where both are in one slot. Moves due jobs, the earliest first, by Redis' own clock: up to `count`, and
-- no more than it takes to come to `bytes` together.
-- keys: delayed, ready   args: count, bytes that are enough
-- returns: how many were moved
redis.call('LLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)
local moved, size = 0, 0
while moved < tonumber(ARGV[1]) and size <= tonumber(ARGV[2]) do
  local job = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not job then
    break
  end
  redis.call('ZREM', KEYS[1], job)
  redis.call('RPUSH', KEYS[2], job)
  moved = moved + 1
  size = size + #job
end
return moved
