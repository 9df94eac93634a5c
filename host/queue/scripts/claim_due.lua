-- delayed → delayed, claimed: the first step of a promotion to another slot. Puts due jobs off for a while, so that no
-- other host promotes them meanwhile; if this one dies, they fall due again by themselves.
-- keys: delayed   args: count, bytes that are enough, for how many seconds
-- returns: the score that marks them as claimed, the jobs
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local claim = string.format('%.17g', now + ARGV[3])
local jobs, size = {}, 0
while #jobs < tonumber(ARGV[1]) and size <= tonumber(ARGV[2]) do
  local job = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.6f', now), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not job then
    break
  end
  redis.call('ZADD', KEYS[1], claim, job)
  jobs[#jobs + 1] = job
  size = size + #job
end
return {claim, jobs}
