-- nothing → delayed. Adds one job, beside an equal one if there is one (see settle.lua).
-- keys: delayed   args: bytes, due in s
local bytes = ARGV[1]
while redis.call('ZSCORE', KEYS[1], bytes) do
  bytes = bytes .. ' '
end
redis.call('ZADD', KEYS[1], ARGV[2], bytes)
