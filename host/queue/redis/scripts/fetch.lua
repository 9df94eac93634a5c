-- ready → in flight. Moves jobs from the head of the ready list into the host's table: up to `count`, and beyond the
-- first only as many as come to `bytes` together. A first one that is larger is moved whole and told of in part, so that
-- one reply stays small whatever producers push.
-- Only a host with a good lease takes anything, and the same step puts the lease off: no job is ever in flight without
-- one, and a host whose lease ran out hears of it first. Asked twice for the same tags, however late, it takes nothing
-- more and gives what is still under them.
-- keys: ready, in-flight of the host, leases, last tag of the host
-- args: host, lease in ms, first tag, count, bytes, how long the last tag is remembered in ms, the length of the largest
--   job that the host has lately met here, the largest that is brought
-- returns: the jobs, in the order of their tags, each its bytes or {first bytes, length, SHA-1 if it is not brought}; nil if
--   the lease has run out
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) <= now then
  return false
end
local count, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local function tag(i)
  return string.format('%.0f', ARGV[3] + i - 1)
end
local function told(job)
  if #job <= bytes then
    return job
  end
  return {string.sub(job, 1, bytes), #job, #job > tonumber(ARGV[8]) and redis.sha1hex(job)}
end
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[4]) or 0) then
  local jobs = {}
  for i = 1, count do
    local job = redis.call('HGET', KEYS[2], tag(i))
    jobs[i] = job and told(job) or nil
  end
  return jobs
end
-- Lengths cannot be asked for, only elements. So a few are read at a time: as many as would fit were they all as large as
-- the largest so far, no more than have been read, and no more than sixteen. To read each alone takes longer, to read many
-- large ones that do not fit keeps Redis from everything else.
local entries, jobs, size, largest = {}, {}, 0, tonumber(ARGV[7])
local full = false
while #jobs < count and not full do
  local some = math.max(1, math.min(count - #jobs, math.floor((bytes - size) / largest), #jobs, 16))
  local read = redis.call('LRANGE', KEYS[1], #jobs, #jobs + some - 1)
  full = #read < some
  for _, job in ipairs(read) do
    size, largest = size + #job, math.max(largest, #job)
    if #jobs > 0 and size > bytes then
      full = true
      break
    end
    jobs[#jobs + 1] = told(job)
    entries[2 * #jobs - 1] = tag(#jobs)
    entries[2 * #jobs] = job
  end
end
if #jobs == 0 then
  return {}
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('ZREM', KEYS[3], '')
-- Each of these may fail, be it that its key is of the wrong type or that its slot is moving away and it has no value
-- yet. So what takes the jobs off the list comes last.
redis.call('SET', KEYS[4], tag(#jobs), 'PX', ARGV[6])
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], unpack(entries))
redis.call('LTRIM', KEYS[1], #jobs, -1)
return jobs
