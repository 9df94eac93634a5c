-- failed → gone, by the operator's wish. Drops the oldest entries, exactly if the last of them is the one that the host
-- has looked at, and counts them.
-- keys: failed, dropped   args: count, the last entry to drop
-- returns: how many were dropped
local count = tonumber(ARGV[1])
if redis.call('LINDEX', KEYS[1], count - 1) ~= ARGV[2] then
  return 0
end
redis.call('LTRIM', KEYS[1], count, -1)
redis.call('INCRBY', KEYS[2], count)
return count
