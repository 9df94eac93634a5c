-- in flight → done, waiting, delayed, failed or ready again. Settles a batch of the host's deliveries, each exactly if it is
-- still in the host's table: one that another host has taken over is no longer this host's to settle, nor is its result.
-- keys: in-flight of the host, ready, delayed, failed, the lanes that hold jobs (each of these four only if something goes
--   there, else any key), the lanes that something goes to, the outbox if something goes there, and where all keys are in
--   one slot, those of results
-- args: number of deliveries that are only acknowledged, number of results, how long those are kept in ms, the tags of the
--   first, for each result: its tag and text, then for each other delivery: tag, fate, and for retry: bytes, wait in s; for
--   fail: bytes, 0; for failthere: what the entry has in place of the job's opening brace, the entry if there is none; for
--   wait: the lane's name, the number of its key; for commit: what is to be written elsewhere, the number of the outbox's key;
--   for ack and requeue: '', 0
-- returns: the tags that were refused, how many results were not kept, and why the first of them was not. What is only
--   acknowledged is removed at once: if one of those was not there, all of them count as refused
local acks, results = tonumber(ARGV[1]), tonumber(ARGV[2])
local others = 4 + acks + 2 * results
-- An unknown fate and a key of the wrong type fail here, before anything has moved. A key that nothing goes to does not
-- matter.
local goes = {ack = false, retry = false, fail = false, failthere = false, commit = false, wait = false, requeue = false}
for i = others + 1, #ARGV, 4 do
  if goes[ARGV[i]] == nil then
    return redis.error_reply('ERR unknown fate: ' .. ARGV[i])
  end
  goes[ARGV[i]] = true
  if ARGV[i] == 'wait' then
    redis.call('LLEN', KEYS[tonumber(ARGV[i + 2])])
  elseif ARGV[i] == 'commit' then
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
if goes.wait then
  redis.call('SCARD', KEYS[5])
end
local refused, kept, lost, why = {}, 0, 0, ''
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
  if fate == 'commit' and redis.call('HEXISTS', KEYS[1], tag) == 1 then
    -- As above. No two hosts, and no two deliveries of one, ever have the same name.
    redis.call('HDEL', KEYS[1], '')
    redis.call('HSET', KEYS[tonumber(wait)], KEYS[1] .. ':' .. tag, bytes)
  end
  if redis.call('HDEL', KEYS[1], tag) == 0 then
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
return {refused, lost, why}
