-- in flight → waiting in a lane of a group, of a job that is unique by its key: perhaps in place of one that waited. Or it is
-- found to be one too many, and nothing moves.
-- Who has the place of a key is asked of the in-flight tables. So no place outlives its job, whatever became of its host.
-- keys: in-flight of the host, lanes that hold jobs, outbox
-- args: tag; rule: drop, latest, debounce or throttle; how it comes: new, again or revived; its id; the job's bytes from now on;
--   what goes into the outbox if another takes its place, or ''; the beginning of the group's keys, the group's name, the lane's
--   name within it, the cap of the key; of a throttle how many ms it lasts, of a debounce how many ms none must have come;
--   of that, how many ms it takes at most; for how many ms a place is remembered that nobody gives back
-- returns: gone, if the host does not hold it; goes; duplicate, and the id of the one that runs or is to, or ''; waits, and the
--   id of the one in whose place it does, or ''
local tag, rule, comes, id, job, note = unpack(ARGV, 1, 6)
local at, group, lane, cap, lasts_ms, most_ms, remembered_ms = unpack(ARGV, 7, 13)
local key, awaited_key, list = at .. 'key:' .. cap, at .. 'awaited:' .. cap, at .. 'lane:' .. lane
local me = KEYS[1] .. ':' .. tag
if redis.call('HEXISTS', KEYS[1], tag) == 0 then
  return {'gone', ''}
end
if rule == 'throttle' then
  local started = redis.call('GET', at .. 'started:' .. cap)
  -- A host that hears no answer asks again, and must not find its own job in its way.
  if started and string.sub(started, 1, #me + 1) ~= me .. ' ' then
    return {'duplicate', string.match(started, ' (.*)$')}
  end
  if not started then
    redis.call('SET', at .. 'started:' .. cap, me .. ' ' .. id, 'PX', lasts_ms)
  end
  redis.call('HSET', KEYS[1], tag, job)
  return {'goes', ''}
end
local awaited = redis.call('GET', awaited_key)
local known = redis.call('HMGET', key, 'id', 'lane', 'note', 'first', 'runs', 'newest')
local waits = known[1]
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
elseif comes == 'again' then
  local newest = known[6] or awaited
  rival = waits or newest ~= id and newest
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
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
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
    redis.call('HSET', key, 'newest', id)
    if awaited and comes == 'new' then
      -- The one that waits for its next attempt is to find that it is not the newest.
      redis.call('SET', awaited_key, id, 'KEEPTTL')
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
