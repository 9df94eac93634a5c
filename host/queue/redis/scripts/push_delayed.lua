-- nothing → delayed. Adds jobs. A job that is equal to a delayed one is added beside it (see settle.lua).
-- keys: delayed   args: for each job its bytes and when it is due: Unix seconds, or with a plus sign seconds from now, by
--   Redis' clock
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i = 1, #ARGV, 2 do
  local bytes, due = ARGV[i], ARGV[i + 1]
  if string.sub(due, 1, 1) == '+' then
    due = now + due
  end
  while redis.call('ZSCORE', KEYS[1], bytes) do
    bytes = bytes .. ' '
  end
  redis.call('ZADD', KEYS[1], due, bytes)
end
