-- ready, waiting → in flight. Moves up to `count` jobs into the host's table: first from the lanes that the host names, of
-- each at most as many as it asks for, then from the head of the ready list. Beyond the first job it takes only as many as
-- come to `bytes`. A first job that is larger is moved whole, but only its beginning is returned: so a reply stays small,
-- whatever producers push. A lane that becomes empty is removed from the set of lanes that hold jobs.
-- A host may set the length of the longest job it takes. In a lane, a longer job then stays and blocks those behind it. A
-- longer ready job moves to the lane of large jobs, and blocks none.
-- Of a paused queue it takes nothing.
-- Only a host with a good lease takes jobs, and the same step renews the lease: no job is ever in flight without a lease,
-- and a host whose lease ran out is told so first. Asked again for the same tags, it takes no further jobs and returns
-- those that are still under these tags.
-- keys: ready, in-flight of the host, leases, last tag of the host, orders; if the host names lanes: the lanes that hold jobs,
--   then each named lane, that of large jobs first
-- args: host, lease in ms, first tag, count, bytes, how long the last tag is remembered in ms, length of the largest job
--   that the host has lately met on this queue, bytes of the largest job that is read whole, length of the longest job it
--   takes or 0, the name of the lane of large jobs unless that is 0; then for each lane its name and how many jobs of it at
--   most
-- returns: the jobs in the order of their tags, each as its bytes or {first bytes, length, and SHA-1 if it is too large to
--   be read whole}, lane after lane, then ready ones; for each lane how many jobs were taken and how many it still holds,
--   or nothing if the tags were asked for before; 1 if the queue is paused, else nil; the version of the marks of cancelled
--   jobs if there ever was one, else nil; Redis' time in us. nil in place of all if the lease has run out
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
local ordered = redis.call('HMGET', KEYS[5], 'paused', 'cancels')
local function answer(jobs, lanes)
  return {jobs, lanes, false, ordered[2], string.format('%.0f', time[1] * 1000000 + time[2])}
end
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[4]) or 0) then
  local jobs = {}
  for i = 1, count do
    local job = redis.call('HGET', KEYS[2], tag(i))
    jobs[i] = job and told(job) or nil
  end
  return answer(jobs, {})
end
if ordered[1] then
  return {{}, {}, 1}
end
-- Lengths cannot be asked for, only elements. So a few are read at a time: as many as would fit were they all as large as
-- the largest so far, no more than have been read, and no more than sixteen. To read each alone takes longer, to read many
-- large ones that do not fit keeps Redis from everything else.
local entries, jobs, large, size, largest = {}, {}, {}, 0, tonumber(ARGV[7])
local longest, full = tonumber(ARGV[9]), false
-- Returns how many leave the list.
local function take(list, most, is_lane)
  local first, left = #jobs, 0
  while #jobs - first < most and not full do
    local some = math.max(1, math.min(first + most - #jobs, math.floor((bytes - size) / largest), #jobs, 16))
    local read = redis.call('LRANGE', list, left, left + some - 1)
    for _, job in ipairs(read) do
      local too_long = longest > 0 and #job > longest
      if too_long and is_lane then
        return left
      end
      size, largest = size + #job, math.max(largest, #job)
      if #jobs + #large > 0 and size > bytes then
        full = true
        break
      end
      left = left + 1
      if too_long then
        large[#large + 1] = job
      else
        jobs[#jobs + 1] = told(job)
        entries[2 * #jobs - 1] = tag(#jobs)
        entries[2 * #jobs] = job
      end
    end
    if #read < some then
      break
    end
  end
  return left
end
-- In a slot that is moving away, a key without a value cannot even be asked for one: what would fail there is asked before
-- anything moves.
local lanes, empty = {}, {}
local first_key, first_arg = 7, 10
if longest > 0 then
  first_key, first_arg = 8, 11
end
for i = first_arg, #ARGV, 2 do
  local list = KEYS[first_key + (i - first_arg) / 2]
  local held = redis.pcall('LLEN', list)
  -- One that cannot be read keeps no other from being fetched.
  local taken = type(held) == 'number' and take(list, math.min(held, ARGV[i + 1], count - #jobs), true) or 0
  lanes[#lanes + 1] = taken
  lanes[#lanes + 1] = type(held) == 'number' and held - taken or 1
  if lanes[#lanes] == 0 and redis.call('SISMEMBER', KEYS[6], ARGV[i]) == 1 then
    empty[#empty + 1] = ARGV[i]
  end
end
local taken = take(KEYS[1], count - #jobs, false)
if #jobs + #large > 0 then
  -- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
  redis.call('ZREM', KEYS[3], '')
  -- Each of these may fail, be it that its key is of the wrong type or that its slot is moving away and it has no value
  -- yet. So what takes the jobs off their lists comes last.
  if #large > 0 then
    redis.call('SADD', KEYS[6], ARGV[10])
    redis.call('RPUSH', KEYS[7], unpack(large))
  end
  if #jobs > 0 then
    redis.call('SET', KEYS[4], tag(#jobs), 'PX', ARGV[6])
    redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
    redis.call('HSET', KEYS[2], unpack(entries))
  end
  if taken > 0 then
    redis.call('LTRIM', KEYS[1], taken, -1)
  end
  for i = 1, #lanes, 2 do
    if lanes[i] > 0 then
      redis.call('LTRIM', KEYS[first_key + (i - 1) / 2], lanes[i], -1)
    end
  end
end
if #empty > 0 then
  redis.call('SREM', KEYS[6], unpack(empty))
end
return answer(jobs, lanes)
