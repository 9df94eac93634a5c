-- in flight → done, delayed, failed or ready again. Settles a batch of the host's deliveries, each exactly if it is
-- still in the host's table: one that another host has taken over is no longer this host's to settle.
-- keys: in-flight of the host, parked of the host, ready, and where all keys are in one slot: delayed, failed
-- args: number of acks, their tags, then for each other delivery: tag, fate (retry, fail or requeue), bytes, wait in s
-- returns: how many were refused
local acks = tonumber(ARGV[1])
if #ARGV > acks + 1 then
  redis.call('LLEN', KEYS[3]) -- A key of the wrong type fails here, before anything has moved.
  if KEYS[4] then
    redis.call('ZCARD', KEYS[4])
    redis.call('LLEN', KEYS[5])
  end
end
local refused = acks
if acks > 0 then
  refused = acks - redis.call('HDEL', KEYS[1], unpack(ARGV, 2, acks + 1))
end
for i = acks + 2, #ARGV, 4 do
  local tag, fate, bytes, wait = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local job = fate == 'requeue' and redis.call('HGET', KEYS[1], tag)
  if job then
    redis.call('SREM', KEYS[2], tag) -- Fails where the slot is moving away and nothing is parked, so it comes first.
  end
  if redis.call('HDEL', KEYS[1], tag) == 0 then
    refused = refused + 1
  elseif fate == 'retry' then
    -- A sorted set holds equal members once, but two equal jobs are two jobs: a trailing space tells them apart and
    -- means nothing in JSON.
    while redis.call('ZSCORE', KEYS[4], bytes) do
      bytes = bytes .. ' '
    end
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[4], time[1] + time[2] / 1000000 + wait, bytes)
  elseif fate == 'fail' then
    redis.call('RPUSH', KEYS[5], bytes)
  else
    redis.call('LPUSH', KEYS[3], job)
  end
end
return refused
