-- ready → in flight. Moves jobs from the head of the ready list into the host's table: up to `count`, and beyond the
-- first only as many as come to `bytes` together, so that one reply stays small whatever producers push.
-- Only a host with a good lease takes anything, and the same step puts the lease off: no job is ever in flight without
-- one, and a host whose lease ran out hears of it first. Asked twice for the same tags, however late, it takes nothing
-- more and gives what is still under them.
-- keys: ready, in-flight of the host, leases, last tag of the host
-- args: host, lease in ms, first tag, count, bytes, how long the last tag is remembered in ms
-- returns: the jobs, in the order of their tags; nil if the lease has run out
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) <= now then
  return false
end
local function tag(i)
  return string.format('%.0f', ARGV[3] + i - 1)
end
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[4]) or 0) then
  local jobs = {}
  for i = 1, tonumber(ARGV[4]) do
    jobs[i] = redis.call('HGET', KEYS[2], tag(i)) or nil
  end
  return jobs
end
redis.call('HLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
-- Some at a time, as many as would fit were they all as large as the largest so far: to ask for each alone takes longer.
local count, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local jobs, size, largest = {}, 0, bytes
local full = false
while #jobs < count and not full do
  local some = math.max(1, math.min(count - #jobs, math.floor((bytes - size) / largest), 32))
  local popped = redis.call('LPOP', KEYS[1], some) or {}
  for i, job in ipairs(popped) do
    size, largest = size + #job, math.max(#jobs > 0 and largest or 1, #job)
    if #jobs > 0 and size > bytes then
      for back = #popped, i, -1 do
        redis.call('LPUSH', KEYS[1], popped[back])
      end
      full = true
      break
    end
    jobs[#jobs + 1] = job
  end
  full = full or #popped < some
end
if #jobs == 0 then
  return {}
end
local entries = {}
for i, job in ipairs(jobs) do
  entries[2 * i - 1] = tag(i)
  entries[2 * i] = job
end
redis.call('HSET', KEYS[2], unpack(entries))
redis.call('SET', KEYS[4], tag(#jobs), 'PX', ARGV[6])
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
return jobs
