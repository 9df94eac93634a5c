-- Tells when the first delayed job, or the first turn of a lane, is due by Redis' clock. Moves nothing.
-- keys: delayed, or turns
-- returns: milliseconds until then, rounded up; 0: it is due; -1: there is none
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[2] then
  return -1
end
local time = redis.call('TIME')
-- A score may be infinite; an hour is as good as for ever, since the caller looks again long before.
return math.max(0, math.ceil(math.min((head[2] - time[1]) * 1000 - time[2] / 1000, 3600000)))
