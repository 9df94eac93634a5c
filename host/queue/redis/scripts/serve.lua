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
redis.call('ZCARD', at .. 'turns')
redis.call('SCARD', at .. 'lanes')
any_full = redis.call('ZCARD', at .. 'full') > 0
local any_shut = redis.call('ZCARD', at .. 'shut') > 0
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('ZREM', KEYS[2], '')
local jobs, lanes, size, skipped = {}, {}, 0, 0

-- The lanes that were looked at. Of each its caps, how many jobs it holds, how many of these are taken and not yet written, and
-- the time of its next turn if that is not yet written.
local seen = {}
local function look(name)
  local lane = seen[name]
  if not lane then
    lane = {name = name, list = at .. 'lane:' .. name, caps = caps_of(name), taken = 0}
    lane.held = redis.call('LLEN', lane.list)
    seen[name] = lane
  end
  return lane
end

-- Notes that the job of a key which waited runs. One that an operator put back is in a lane of its own, and not noted.
local function starts_of_key(key, lane)
  local waited = string.sub(lane, -8) ~= '|revived'
  redis.call('HSET', key, 'runs', waited and redis.call('HGET', key, 'id') or '')
  redis.call('PEXPIRE', key, ARGV[11])
  if waited then
    redis.call('HDEL', key, 'id', 'lane', 'note', 'first')
  end
end

-- What was taken and is not yet written: tags and jobs, and the lanes that these come from.
local entries, from = {}, {}

-- Takes the first job of a lane, and a place of each cap.
local function take(lane, job, clock)
  jobs[#jobs + 1], lanes[#lanes + 1], size = told(job), lane.name, size + #job
  entries[#entries + 1], entries[#entries + 2] = tag(#jobs), job
  for _, cap in ipairs(lane.caps) do
    take_place(cap, KEYS[1] .. ':' .. tag(#jobs), clock)
  end
  if lane.taken == 0 then
    from[#from + 1] = lane
  end
  lane.taken = lane.taken + 1
  lane.turn = lane.taken < lane.held and string.format('%.17g', clock + 0.000001)
end

-- Writes what was taken: the jobs and their places first, and last what takes the jobs out of their lanes.
local function write()
  if #entries == 0 then
    return
  end
  redis.call('HSET', KEYS[1], unpack(entries))
  local turns, empty = {}, {}
  for _, lane in ipairs(from) do
    for _, cap in ipairs(lane.caps) do
      write_cap(cap, began, ARGV[11])
      if is_unique(cap.name) then
        starts_of_key(at .. 'key:' .. cap.name, lane.name)
      end
    end
    redis.call('LPOP', lane.list, lane.taken)
    lane.held, lane.taken = lane.held - lane.taken, 0
    if lane.held == 0 then
      empty[#empty + 1] = lane.name
    elseif lane.turn then
      turns[#turns + 1], turns[#turns + 2], lane.turn = lane.turn, lane.name, false
    end
  end
  if #turns > 0 then
    redis.call('ZADD', at .. 'turns', unpack(turns))
  end
  if #empty > 0 then
    redis.call('ZREM', at .. 'turns', unpack(empty))
    redis.call('SREM', at .. 'lanes', unpack(empty))
  end
  entries, from = {}, {}
end

-- The lanes that are due, each followed by its turn, in this order: read once, and each that was served follows those after it.
-- They are read anew where other lanes were given their turns meanwhile.
local due, next_due, are_all, changed = {}, 1, false, true
local function next_lane(clock)
  if next_due > #due and not are_all or changed then
    write()
    local most = count - #jobs
    due = redis.call('ZRANGE', at .. 'turns', '-inf', string.format('%.17g', clock), 'BYSCORE', 'LIMIT', skipped, most, 'WITHSCORES')
    next_due, are_all, changed = 1, #due < 2 * most, false
  end
  next_due = next_due + 2
  return due[next_due - 2], due[next_due - 1]
end

-- Each round serves a lane, blocks one or opens a gate. What rounds are left for, the next call does.
for _ = 1, 2 * count + 200 do
  if #jobs == count then
    break
  end
  -- Each job starts a microsecond after the one before, so that a lane which was served comes after all others.
  local clock = began + #jobs / 1000000
  local name, turn = next_lane(clock)
  if not name then
    break
  end
  if string.sub(name, 1, 1) == '@' then
    redis.call('ZREM', at .. 'turns', name)
    changed = open(cap_of(string.sub(name, 2)), clock) or changed
  else
    local lane, blocks = look(name), nil
    for _, cap in ipairs(lane.caps) do
      cap.opened = math.max(cap.opened - 1, 0)
      blocks = blocks or (free(cap, clock) < 1 and cap) or nil
    end
    local until_then = any_shut and tonumber(redis.call('ZSCORE', at .. 'shut', name) or 0)
    local is_shut = until_then and until_then > clock
    local job = not blocks and not is_shut and redis.call('LINDEX', lane.list, lane.taken)
    local opens = true
    if is_shut then
      redis.call('ZADD', at .. 'turns', string.format('%.17g', until_then), name)
      lane.turn = false
    elseif blocks then
      redis.call('ZADD', at .. 'blocked:' .. blocks.name, turn, name)
      redis.call('ZADD', at .. 'full', 'NX', string.format('%.0f', now_ms), blocks.name)
      redis.call('ZREM', at .. 'turns', name)
      blocks.blocked, blocks.in_full, lane.turn = blocks.blocked + 1, true, false
    elseif not job then
      redis.call('ZREM', at .. 'turns', name)
      redis.call('SREM', at .. 'lanes', name)
    elseif longest > 0 and #job > longest then
      skipped, opens = skipped + 1, false
    elseif #jobs > 0 and size + #job > bytes then
      break
    else
      take(lane, job, clock)
      if lane.turn and are_all then
        due[#due + 1], due[#due + 2] = name, lane.turn
      end
    end
    for _, cap in ipairs(opens and lane.caps or {}) do
      changed = open(cap, clock) or changed
    end
  end
end
write()
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
