-- in flight → waiting in a lane of a group, of a job that is unique by its key: perhaps in place of one that waited. Or it is
-- found to be one too many, and nothing moves.
-- Who has the place of a key is asked of the in-flight tables. So no place outlives its job, whatever became of its host.
-- Where only the newest is to run, hosts may ask about two jobs in another order than they were fetched in: the one that was
-- fetched first is one too many then. Should the clock have been set back since, that is not told.
-- keys: in-flight of the host, lanes that hold jobs, outbox
-- args: tag; rule: drop, latest, debounce or throttle; how it comes: new, again or revived; its id; its stamp, which orders it by
--   when it was fetched first, and which no other job has; the job's bytes from now on;
--   what goes into the outbox if another takes its place, or ''; the beginning of the group's keys, the group's name, the lane's
--   name within it, the cap of the key; of a throttle how many ms it lasts, of a debounce how many ms none must have come;
--   of that, how many ms it takes at most; for how many ms a place is remembered that nobody gives back
-- returns: gone, if the host does not hold it; goes; duplicate, and the id of the one that runs or is to, or ''; waits, and the
--   id of the one in whose place it does, or ''
local tag, rule, comes, id, stamp, job, note = unpack(ARGV, 1, 7)
local at, group, lane, cap, lasts_ms, most_ms, remembered_ms = unpack(ARGV, 8, 14)
local key, awaited_key, list = at .. 'key:' .. cap, at .. 'awaited:' .. cap, at .. 'lane:' .. lane
local me = KEYS[1] .. ':' .. tag
if redis.call('HEXISTS', KEYS[1], tag) == 0 then
  return {'gone', ''}
end
if rule == 'throttle' then
  local started = redis.call('GET', at .. 'started:' .. cap)
  -- A host that hears no answer asks again, perhaps much later, and must not find its own job in its way.
  if started and string.sub(started, 1, #stamp + 1) ~= stamp .. ' ' then
    return {'duplicate', string.match(started, ' (.*)$')}
  end
  if not started then
    redis.call('SET', at .. 'started:' .. cap, stamp .. ' ' .. id, 'PX', lasts_ms)
  end
  redis.call('HSET', KEYS[1], tag, job)
  return {'goes', ''}
end
local awaited = redis.call('GET', awaited_key)
local known = redis.call('HMGET', key, 'id', 'lane', 'note', 'first', 'runs', 'newest', 'at')
local waits = known[1]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local lost, runs = {}, false
for _, holder in ipairs(redis.call('SMEMBERS', at .. 'held:' .. cap)) do
  local in_flight, of = string.match(holder, '^(.*):(%d+)$')
  -- If this very delivery has the place, its host does not know: it comes back to its lane.
  if holder ~= me and redis.call('HEXISTS', in_flight, of) == 1 then
    runs = true
  else
    lost[#lost + 1] = holder
  end
end
local rival
if rule == 'drop' and comes ~= 'revived' then
  rival = waits or runs and (known[5] or '') or awaited and awaited ~= id and awaited
elseif rule ~= 'drop' and comes ~= 'revived' then
  -- The newest that was ever admitted, as far as it is known, and when it was fetched.
  local newest, newest_at = known[6], known[7]
  if not newest_at and awaited then
    newest_at, newest = string.match(awaited, '^(%S*) (.*)$')
  end
  if comes == 'again' then
    rival = waits or newest_at and newest_at ~= stamp and newest
  elseif newest_at and stamp < newest_at then
    local now = string.format('%016.0f', time[1] * 1000000 + time[2])
    rival = string.sub(newest_at, 1, 16) <= now and newest
  end
end
if rival then
  if rule == 'drop' and awaited == id then
    -- It is waited for no longer. Else that one, if it has to be admitted once more, might find itself one too many as well.
    redis.call('DEL', awaited_key)
  end
  return {'duplicate', rival}
end
-- In a slot that is moving away, a key without a value cannot even be asked for one: what would fail there fails here.
local empty = redis.call('LLEN', list) == 0
local replaces = comes ~= 'revived' and waits and at .. 'lane:' .. known[2]
local alone = replaces and replaces ~= list and redis.call('LLEN', replaces) == 1
redis.call('ZCARD', at .. 'turns')
redis.call('GET', at .. 'waiting')
redis.call('SCARD', at .. 'lanes')
redis.call('SCARD', KEYS[2])
redis.call('HLEN', KEYS[3])
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('HDEL', KEYS[1], '')
for _, holder in ipairs(lost) do
  redis.call('SREM', at .. 'held:' .. cap, holder)
end
local turn, first_ms = time[1] + time[2] / 1000000, tonumber(waits and known[4] or now_ms)
if rule == 'debounce' and comes == 'new' then
  turn = math.min(first_ms + most_ms, now_ms + lasts_ms) / 1000
end
turn = string.format('%.17g', turn)
redis.call('SADD', KEYS[2], group)
redis.call('SADD', at .. 'lanes', lane)
redis.call('RPUSH', list, job)
if empty then
  redis.call('ZADD', at .. 'turns', turn, lane)
elseif rule == 'debounce' and not redis.call('ZSCORE', at .. 'turns', lane) then
  for name in string.gmatch(lane, '[^|]+') do
    redis.pcall('ZADD', at .. 'blocked:' .. name, 'XX', turn, lane)
  end
elseif rule == 'debounce' then
  redis.call('ZADD', at .. 'turns', turn, lane)
end
if comes ~= 'revived' then
  redis.call('HSET', key, 'id', id, 'lane', lane, 'note', note, 'first', string.format('%.0f', first_ms))
  if rule == 'drop' then
    redis.call('DEL', awaited_key)
  else
    redis.call('HSET', key, 'newest', id, 'at', stamp)
    if awaited and comes == 'new' then
      -- The one that waits for its next attempt is to find that it is not the newest.
      redis.call('SET', awaited_key, stamp .. ' ' .. id, 'KEEPTTL')
    end
  end
  redis.call('PEXPIRE', key, remembered_ms)
end
if replaces then
  if known[3] ~= '' then
    redis.call('HSET', KEYS[3], me, known[3])
  end
  redis.call('LPOP', replaces)
  if alone then
    redis.call('SREM', at .. 'lanes', known[2])
    redis.call('ZREM', at .. 'turns', known[2])
    for name in string.gmatch(known[2], '[^|]+') do
      redis.pcall('ZREM', at .. 'blocked:' .. name, known[2])
    end
  end
else
  redis.call('INCR', at .. 'waiting')
end
redis.call('HDEL', KEYS[1], tag)
return {'waits', replaces and waits or ''}
