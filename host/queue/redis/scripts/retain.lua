-- failed → gone, by the operator's wish. Drops the oldest entries, exactly if the last of them is the one that the host
-- has looked at, and counts them.
-- keys: failed, dropped   args: count, of the last entry to drop: its first bytes, its length
-- returns: how many were dropped
local count = tonumber(ARGV[1])
local last = redis.call('LINDEX', KEYS[1], count - 1)
if not last or #last ~= tonumber(ARGV[3]) or string.sub(last, 1, #ARGV[2]) ~= ARGV[2] then
  return 0
end
redis.call('LTRIM', KEYS[1], count, -1)
redis.call('INCRBY', KEYS[2], count)
return count
