-- delayed → delayed, claimed: the first step of a promotion to another slot. Puts due jobs off for a while, so that no other
-- host promotes them meanwhile. If this host dies, they become due again by themselves. A job that is too large to be read
-- is claimed alone, and only its beginning is returned.
-- keys: delayed   args: count, bytes that are enough, seconds to put off, bytes of the largest job that is read whole, bytes
--   returned of a larger one
-- returns: the score that marks the jobs as claimed, the jobs, and for one that is too large: {first bytes, length, SHA-1}
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function score(claimed)
  return string.format('%.17g', claimed + ARGV[3])
end
local claim, jobs, size = score(now), {}, 0
while #jobs < tonumber(ARGV[1]) and size <= tonumber(ARGV[2]) do
  local job = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.6f', now), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not job then
    break
  end
  if #job > tonumber(ARGV[4]) then
    if #jobs > 0 then
      break
    end
    -- It is removed by its score, so that nobody has to send it back: nothing else may have that.
    local claimed = now
    while redis.call('ZCOUNT', KEYS[1], score(claimed), score(claimed)) > 0 do
      claimed = claimed + 0.001
    end
    redis.call('ZADD', KEYS[1], score(claimed), job)
    return {score(claimed), {}, {string.sub(job, 1, ARGV[5]), #job, redis.sha1hex(job)}}
  end
  redis.call('ZADD', KEYS[1], claim, job)
  jobs[#jobs + 1] = job
  size = size + #job
end
return {claim, jobs}
