-- waiting → in flight, from a group of lanes whose jobs wait for limits across hosts. Takes up to `count` jobs, from each lane
-- one at its turn, only if every cap of the lane lets one start, and takes a place of each of these. Beyond the first job it
-- takes only as many as come to `bytes`. Of a paused queue it takes nothing.
-- Like a fetch it asks for a good lease, renews it, and takes nothing more if asked again for the same tags.
-- keys: in-flight of the host, leases, last tag of the host, orders, lanes that hold jobs
-- args: host, lease in ms, first tag, count, bytes, how long the last tag is remembered in ms, bytes of the largest job that is
--   read whole, length of the longest job it takes or 0, the beginning of the group's keys, the group's name, for how many ms a
--   place is remembered that nobody gives back; then the limits, as `read_limits` has them
-- returns: the jobs in the order of their tags, as a fetch has them; the lane of each, or '' if the tags were asked for before;
--   how many lanes hold jobs; 1 if the queue is paused, else nil; the version of the marks of cancelled jobs if there ever was
--   one. nil in place of all if the lease has run out
local time = redis.call('TIME')
local began = time[1] + time[2] / 1000000
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not lease or tonumber(lease) <= now_ms then
  return false
end
local count, bytes, longest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[8])
at = ARGV[9]
read_limits(12)
local function tag(i)
  return string.format('%.0f', ARGV[3] + i - 1)
end
local function told(job)
  if #job <= bytes then
    return job
  end
  return {string.sub(job, 1, bytes), #job, #job > tonumber(ARGV[7]) and redis.sha1hex(job)}
end
local ordered = redis.call('HMGET', KEYS[4], 'paused', 'cancels')
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  local jobs, lanes = {}, {}
  for i = 1, count do
    local job = redis.call('HGET', KEYS[1], tag(i))
    jobs[i], lanes[i] = job and told(job) or nil, ''
  end
  return {jobs, lanes, 1, false, ordered[2]}
end
if ordered[1] then
  return {{}, {}, 1, 1}
end
-- In a slot that is moving away, a key without a value cannot even be asked for one: what would fail there fails here,
-- before anything moves, or in `caps_of` before the next job does.
for _, set in ipairs({'turns', 'full'}) do
  redis.call('ZCARD', at .. set)
end
redis.call('SCARD', at .. 'lanes')
local any_shut = redis.call('ZCARD', at .. 'shut') > 0
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('ZREM', KEYS[2], '')
local jobs, lanes, size, skipped = {}, {}, 0, 0

-- Notes that the job of a key which waited runs. One that an operator put back is in a lane of its own, and not noted.
local function starts_of_key(key, lane)
  local waited = string.sub(lane, -8) ~= '|revived'
  redis.call('HSET', key, 'runs', waited and redis.call('HGET', key, 'id') or '')
  redis.call('PEXPIRE', key, ARGV[11])
  if waited then
    redis.call('HDEL', key, 'id', 'lane', 'note', 'first')
  end
end

-- Takes the first job of a lane, and a place of each cap.
local function take(lane, job, caps, clock)
  local list, holder = at .. 'lane:' .. lane, KEYS[1] .. ':' .. tag(#jobs + 1)
  jobs[#jobs + 1], lanes[#lanes + 1], size = told(job), lane, size + #job
  redis.call('HSET', KEYS[1], tag(#jobs), job)
  for _, cap in ipairs(caps) do
    if cap.places > 0 then
      redis.call('SADD', at .. 'held:' .. cap.name, holder)
      redis.call('PEXPIRE', at .. 'held:' .. cap.name, ARGV[11])
      cap.held = cap.held + 1
    end
    if cap.every > 0 then
      cap.next = math.max(cap.next, clock) + cap.every
      local forgotten = math.ceil((cap.next - began) * 1000) + 1
      redis.call('SET', at .. 'rate:' .. cap.name, string.format('%.17g', cap.next), 'PX', string.format('%.0f', forgotten))
    end
    if is_unique(cap.name) then
      starts_of_key(at .. 'key:' .. cap.name, lane)
    end
  end
  redis.call('LPOP', list)
  if redis.call('LLEN', list) == 0 then
    redis.call('ZREM', at .. 'turns', lane)
    redis.call('SREM', at .. 'lanes', lane)
  else
    redis.call('ZADD', at .. 'turns', string.format('%.17g', clock + 0.000001), lane)
  end
end

-- Each round serves a lane, blocks one or opens a gate. What rounds are left for, the next call does.
for _ = 1, 2 * count + 200 do
  -- Each job starts a microsecond after the one before, so that a lane which was served comes after all others.
  local clock = began + #jobs / 1000000
  local due = string.format('%.17g', clock)
  local first = #jobs < count and redis.call('ZRANGE', at .. 'turns', '-inf', due, 'BYSCORE', 'LIMIT', skipped, 1, 'WITHSCORES')
  if not first or #first == 0 then
    break
  end
  local lane, turn = first[1], first[2]
  if string.sub(lane, 1, 1) == '@' then
    local cap = cap_of(string.sub(lane, 2))
    redis.call('ZREM', at .. 'turns', lane)
    open(cap, clock)
  else
    local caps, blocks = caps_of(lane), nil
    for _, cap in ipairs(caps) do
      cap.opened = math.max(cap.opened - 1, 0)
      blocks = blocks or (free(cap, clock) < 1 and cap) or nil
    end
    local until_then = any_shut and tonumber(redis.call('ZSCORE', at .. 'shut', lane) or 0)
    local is_shut = until_then and until_then > clock
    local job = not blocks and not is_shut and redis.call('LINDEX', at .. 'lane:' .. lane, 0)
    local opens = true
    if is_shut then
      redis.call('ZADD', at .. 'turns', string.format('%.17g', until_then), lane)
    elseif blocks then
      redis.call('ZADD', at .. 'blocked:' .. blocks.name, turn, lane)
      redis.call('ZADD', at .. 'full', 'NX', string.format('%.0f', now_ms), blocks.name)
      redis.call('ZREM', at .. 'turns', lane)
      blocks.blocked = blocks.blocked + 1
    elseif not job then
      redis.call('ZREM', at .. 'turns', lane)
      redis.call('SREM', at .. 'lanes', lane)
    elseif longest > 0 and #job > longest then
      skipped, opens = skipped + 1, false
    elseif #jobs > 0 and size + #job > bytes then
      break
    else
      take(lane, job, caps, clock)
    end
    if opens then
      for _, cap in ipairs(caps) do
        open(cap, clock)
      end
    end
  end
end
if #jobs > 0 then
  redis.call('SET', KEYS[3], tag(#jobs), 'PX', ARGV[6])
  redis.call('ZADD', KEYS[2], now_ms + ARGV[2], ARGV[1])
  redis.call('DECRBY', at .. 'waiting', #jobs)
end
local left = redis.call('SCARD', at .. 'lanes')
if left == 0 then
  redis.call('SREM', KEYS[5], ARGV[10])
  redis.call('DEL', at .. 'turns', at .. 'full', at .. 'waiting')
end
return {jobs, lanes, left, false, ordered[2]}
