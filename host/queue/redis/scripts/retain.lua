-- failed → gone, as the operator configured. Deletes the oldest entries if the last of them is the one that the host has
-- read, else none, and counts them as dropped.
-- keys: failed, its older part, dropped   args: count; of the last entry to delete: its first bytes, its length
-- returns: how many were deleted
local count, older = tonumber(ARGV[1]), redis.call('LLEN', KEYS[2])
local in_older = count <= older
local last = redis.call('LINDEX', KEYS[in_older and 2 or 1], in_older and count - 1 or count - older - 1)
if not last or #last ~= tonumber(ARGV[3]) or string.sub(last, 1, #ARGV[2]) ~= ARGV[2] then
  return 0
end
redis.call('LTRIM', KEYS[2], math.min(count, older), -1)
redis.call('LTRIM', KEYS[1], math.max(0, count - older), -1)
redis.call('INCRBY', KEYS[3], count)
return count
