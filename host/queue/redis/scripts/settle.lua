-- in flight → done, waiting, delayed, failed or ready again. Settles a batch of deliveries, each only if it is still in the
-- host's table. One that another host has taken over is refused, and its result is not kept.
-- keys: in-flight of the host; ready, delayed, failed and the lanes that hold jobs (any key in place of one that nothing
--   goes to); the lanes that jobs go to; the outbox if notes go there; the jobs of schedules that have not ended, if such
--   jobs end; where all keys are in one slot, the results' keys
-- args: number of deliveries that are only acknowledged, number of results, how long results are kept in ms, the tags of
--   the first; for each result: tag, text; then four for each other delivery, its tag, its fate, and
--     retry: bytes, wait in s
--     fail: bytes, 0
--     failthere: what the entry has in place of the job's opening brace, the entry to write if the job has no such brace
--     wait: the lane's name, the number of the lane's key
--     limit: the lane's name within its group; the length of the group's name, a space, that name, the beginning of its keys
--     free: beside the fate of the same delivery: the lane it came from within its group, the beginning of the group's keys
--     shut: beside the fate of the same delivery and before it: the lane it came from within its group; for how many seconds
--       no job of that lane starts, a space, how many lanes may be shut at once, a space, the beginning of the group's keys
--     await: beside the fate of the same delivery and before it: that a job which is unique by its key waits for its next attempt.
--       `yield` if a newer one may take its place, else `keep`; for how many ms that is remembered, the length of the cap of the
--       key; a space after each, the cap, with `yield` the job's stamp and a space, the job's id. Then the beginning of the
--       group's keys
--     forget: beside the fate of the same delivery and before it: that one is waited for no longer. As for await, without the first two
--     note: beside the fate of the same delivery and before it: what is to be written elsewhere, the number of the outbox's key
--     close: beside the fate of the same delivery: the schedule whose job ends, with its instant in ms and a space before it,
--       and the number of the key of such jobs
--     ack, requeue: '', 0
-- returns: the tags that were refused, how many results were not kept, and why the first of them was not. Deliveries that
--   are only acknowledged are removed all at once: if one of them was not there, all count as refused
local acks, results = tonumber(ARGV[1]), tonumber(ARGV[2])
-- For how long the newest job of a key is known once none is left: one that was fetched before it may still be on its way.
local ORDER_REMEMBERED_MS = 60000
local others = 4 + acks + 2 * results
-- An unknown fate and a key of the wrong type fail here, before anything has moved. A key that nothing goes to does not
-- matter.
local function group_of(wait)
  local length, rest = string.match(wait, '^(%d+) (.*)$')
  return string.sub(rest, length + 1), string.sub(rest, 1, length)
end
local goes = {ack = false, retry = false, fail = false, failthere = false, note = false, wait = false, requeue = false, close = false, limit = false, free = false, shut = false, await = false, forget = false}
for i = others + 1, #ARGV, 4 do
  if goes[ARGV[i]] == nil then
    return redis.error_reply('ERR unknown fate: ' .. ARGV[i])
  end
  goes[ARGV[i]] = goes[ARGV[i]] or true
  if ARGV[i] == 'wait' then
    redis.call('LLEN', KEYS[tonumber(ARGV[i + 2])])
  elseif ARGV[i] == 'limit' then
    ask_for_lane(group_of(ARGV[i + 2]), ARGV[i + 1])
  elseif ARGV[i] == 'note' or ARGV[i] == 'close' then
    redis.call('HLEN', KEYS[tonumber(ARGV[i + 2])])
  end
end
if goes.requeue then
  redis.call('LLEN', KEYS[2])
end
if goes.retry then
  redis.call('ZCARD', KEYS[3])
end
if goes.fail or goes.failthere then
  redis.call('LLEN', KEYS[4])
end
if goes.wait or goes.limit then
  redis.call('SCARD', KEYS[5])
end
if goes.close then
  -- First, while it can be seen that the delivery is the host's. Nothing here takes memory.
  for i = others, #ARGV, 4 do
    if ARGV[i + 1] == 'close' and redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
      local instant, schedule = string.match(ARGV[i + 2], '^(%S+) (.*)$')
      if redis.call('HGET', KEYS[tonumber(ARGV[i + 3])], schedule) == instant then
        redis.call('HDEL', KEYS[tonumber(ARGV[i + 3])], schedule)
      end
    end
  end
end
local refused, kept, lost, why = {}, 0, 0, ''
-- Has a job of a key waited for, or no longer. In a slot that is moving away, asking for a key without a value fails: then the
-- key is free until the job comes back.
local function wait_for(yields, ms, length, rest, at)
  local cap, id = string.sub(rest, 1, length), string.sub(rest, length + 1)
  local awaited = at .. 'awaited:' .. cap
  if yields then
    local newest, before = redis.pcall('HMGET', at .. 'key:' .. cap, 'at', 'newest'), redis.pcall('GET', awaited)
    id = newest[1] and newest[1] .. ' ' .. newest[2] or type(before) == 'string' and before or id
    local left = redis.pcall('PTTL', awaited)
    ms = math.max(ms, type(left) == 'number' and left or 0)
  end
  -- As below.
  redis.call('HDEL', KEYS[1], '')
  redis.call('SET', awaited, id, 'PX', string.format('%.0f', ms))
end
local function forget(length, rest, at)
  local cap, id = string.sub(rest, 1, length), string.sub(rest, length + 1)
  if redis.pcall('GET', at .. 'awaited:' .. cap) == id then
    redis.call('DEL', at .. 'awaited:' .. cap)
  end
end
-- Gives the places of deliveries back that count against a cap. For each place that was still its own, a lane that waits for one
-- gets its turn. In a slot that is moving away, each of these may fail where a key has no value: then the next sweep does it.
local function give_back(at, cap, holders, any_full)
  local back = redis.pcall('SREM', at .. 'held:' .. cap, unpack(holders))
  if type(back) ~= 'number' or back == 0 then
    return
  end
  local first = any_full and redis.pcall('ZRANGE', at .. 'blocked:' .. cap, 0, back - 1, 'WITHSCORES') or {}
  local turns, lanes = {}, {}
  for i = 1, #first, 2 do
    turns[i], turns[i + 1], lanes[#lanes + 1] = first[i + 1], first[i], first[i]
  end
  if #lanes > 0 and type(redis.pcall('ZADD', at .. 'turns', unpack(turns))) == 'number' then
    redis.call('ZREM', at .. 'blocked:' .. cap, unpack(lanes))
  end
  if string.sub(cap, 1, 7) == 'unique=' then
    local key = at .. 'key:' .. cap
    redis.pcall('HDEL', key, 'runs')
    if redis.pcall('HEXISTS', key, 'id') == 0 then
      redis.pcall('PEXPIRE', key, ORDER_REMEMBERED_MS)
    end
  end
end
-- Shuts a lane for a while. Whoever meets it at its turn puts it off until then (`serve.lua`). As above, what fails in a slot
-- that is moving away is left out: the next job that is refused shuts the lane.
local function shut(lane, wait)
  local seconds, most, at = string.match(wait, '^(%S+) (%S+) (.*)$')
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1000000
  local lanes = at .. 'shut'
  redis.pcall('ZREMRANGEBYSCORE', lanes, '-inf', string.format('%.17g', now))
  local others = redis.pcall('ZCARD', lanes)
  if type(others) == 'number' and others < tonumber(most)
    and type(redis.pcall('ZADD', lanes, 'GT', string.format('%.17g', now + seconds), lane)) == 'number' then
    local ms = math.ceil(seconds * 1000)
    if redis.call('PTTL', lanes) < ms then
      redis.call('PEXPIRE', lanes, string.format('%.0f', ms))
    end
  end
end
for i = 1, results do
  local at = 2 + acks + 2 * i
  -- Out of memory, Redis lets a script write that has written already. So the first result is written before anything is
  -- removed, and after one that was not kept no other is tried.
  local first = kept + lost == 0
  if redis.call(first and 'HEXISTS' or 'HDEL', KEYS[1], ARGV[at]) == 0 then
    refused[#refused + 1] = ARGV[at]
  else
    local err = why
    if lost == 0 then
      err = redis.pcall('SET', KEYS[#KEYS - results + i], ARGV[at + 1], 'PX', ARGV[3]).err
    end
    if err then
      lost, why = lost + 1, err
    else
      kept = kept + 1
    end
    if first then
      redis.call('HDEL', KEYS[1], ARGV[at])
    end
  end
end
if acks > 0 and redis.call('HDEL', KEYS[1], unpack(ARGV, 4, acks + 3)) < acks then
  for i = 4, acks + 3 do
    refused[#refused + 1] = ARGV[i]
  end
end
-- What is done together, once the others are settled: deliveries that go to lanes of a group, and places that are given back.
local limited, free = {}, {}
local function list_in(lists, name, new)
  if not lists[name] then
    lists[name] = new
    lists[#lists + 1] = name
  end
  return lists[name]
end
for i = others, #ARGV, 4 do
  local tag, fate, bytes, wait = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local job = (fate == 'requeue' or fate == 'wait' or fate == 'failthere') and redis.call('HGET', KEYS[1], tag)
  if job and fate == 'wait' then
    -- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
    redis.call('HDEL', KEYS[1], '')
    -- Either fails where the slot is moving away and the key has no value yet. So what takes the job away comes last.
    redis.call('SADD', KEYS[5], bytes)
    redis.call('RPUSH', KEYS[tonumber(wait)], job)
  end
  if fate == 'note' and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    -- As above. No two hosts, and no two deliveries of one, ever have the same name.
    redis.call('HDEL', KEYS[1], '')
    redis.call('HSET', KEYS[tonumber(wait)], KEYS[1] .. ':' .. tag, bytes)
  end
  if fate == 'shut' and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    -- As above.
    redis.call('HDEL', KEYS[1], '')
    shut(bytes, wait)
  end
  if fate == 'await' and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    local what, ms, length, rest = string.match(bytes, '^(%a+) (%d+) (%d+) (.*)$')
    wait_for(what == 'yield', tonumber(ms), tonumber(length), rest, wait)
  end
  if fate == 'forget' and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    local length, rest = string.match(bytes, '^(%d+) (.*)$')
    forget(tonumber(length), rest, wait)
  end
  if fate == 'close' or fate == 'note' or fate == 'shut' or fate == 'await' or fate == 'forget' then
    -- Done above.
  elseif fate == 'limit' then
    local group = list_in(limited, wait, {tags = {}, lanes = {}})
    group.tags[#group.tags + 1], group.lanes[#group.lanes + 1] = tag, bytes
  elseif fate == 'free' then
    local caps = list_in(free, wait, {})
    for cap in string.gmatch(bytes, '[^|]+') do
      local holders = list_in(caps, cap, {})
      holders[#holders + 1] = KEYS[1] .. ':' .. tag
    end
  elseif redis.call('HDEL', KEYS[1], tag) == 0 then
    refused[#refused + 1] = tag
  elseif fate == 'retry' then
    -- A sorted set holds equal members once, but two equal jobs are two jobs: a trailing space tells them apart and
    -- means nothing in JSON.
    while redis.call('ZSCORE', KEYS[3], bytes) do
      bytes = bytes .. ' '
    end
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[3], time[1] + time[2] / 1000000 + wait, bytes)
  elseif fate == 'fail' then
    redis.call('RPUSH', KEYS[4], bytes)
  elseif fate == 'failthere' then
    redis.call('RPUSH', KEYS[4], string.sub(job, 1, 1) == '{' and bytes .. string.sub(job, 2) or wait)
  elseif fate == 'requeue' then
    redis.call('LPUSH', KEYS[2], job)
  end
end
for _, wait in ipairs(limited) do
  local at, group = group_of(wait)
  for _, tag in ipairs(queue_up(KEYS[5], at, group, limited[wait].tags, limited[wait].lanes)) do
    refused[#refused + 1] = tag
  end
end
for _, at in ipairs(free) do
  -- No cap blocks a lane that is not among these.
  local any_full = redis.pcall('ZCARD', at .. 'full') ~= 0
  for _, cap in ipairs(free[at]) do
    give_back(at, cap, free[at][cap], any_full)
  end
end
return {refused, lost, why}
