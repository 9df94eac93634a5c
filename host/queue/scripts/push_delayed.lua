-- nothing → delayed. Adds jobs, each beside an equal one if there is one (see settle.lua).
-- keys: delayed   args: for each job: its bytes, due in s
for i = 1, #ARGV, 2 do
  local bytes = ARGV[i]
  while redis.call('ZSCORE', KEYS[1], bytes) do
    bytes = bytes .. ' '
  end
  redis.call('ZADD', KEYS[1], ARGV[i + 1], bytes)
end
