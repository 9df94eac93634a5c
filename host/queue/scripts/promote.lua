-- delayed → ready. Moves up to `count` due jobs, the earliest first, by Redis' own clock.
-- keys: delayed, ready   args: count
-- returns: how many were moved, milliseconds until the next is due (-1: none is waiting)
redis.call('LLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local due = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.6f', now), 'BYSCORE', 'LIMIT', 0, ARGV[1])
if #due > 0 then
  redis.call('ZREM', KEYS[1], unpack(due))
  redis.call('RPUSH', KEYS[2], unpack(due))
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[2] then
  return {#due, -1}
end
-- A score may be infinite; an hour is as good as for ever, since the caller asks again long before.
return {#due, math.max(0, math.ceil(math.min((head[2] - now) * 1000, 3600000)))}
