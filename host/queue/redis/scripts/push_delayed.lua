-- nothing → delayed. Adds jobs, each beside an equal one if there is one (see settle.lua).
-- keys: delayed   args: for each job: its bytes, due in s; with a plus sign before it: so long from now, by Redis' own clock
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
