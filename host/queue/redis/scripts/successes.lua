-- When the jobs of schedules last succeeded. A schedule that is new counts as a success from now on.
-- keys: successes: schedule → ms   args: most schedules remembered; then each schedule
-- returns: for each when that was, in ms
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local known, last = redis.call('HLEN', KEYS[1]), {}
for i = 2, #ARGV do
  local at = redis.call('HGET', KEYS[1], ARGV[i])
  if not at then
    at = now
    if known < tonumber(ARGV[1]) then
      redis.call('HSET', KEYS[1], ARGV[i], now)
      known = known + 1
    end
  end
  last[#last + 1] = at
end
return last
