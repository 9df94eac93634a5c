-- Adds to the sums of one span of time.
-- keys: the sums   args: for how many ms they are kept; most sums; then for each its name, its name among what has no sums of
--   its own, and how much more
local sums = redis.call('HLEN', KEYS[1])
for i = 3, #ARGV, 3 do
  local name = ARGV[i]
  if sums >= tonumber(ARGV[2]) and redis.call('HEXISTS', KEYS[1], name) == 0 then
    name = ARGV[i + 1]
  end
  if redis.call('HINCRBY', KEYS[1], name, ARGV[i + 2]) == tonumber(ARGV[i + 2]) then
    sums = sums + 1
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
