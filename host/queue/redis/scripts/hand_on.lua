-- outbox → ready, delayed. Pushes jobs of an outbox's entry that lie in its slot, and takes them out of the entry, in one step.
-- keys: outbox; then lists of ready jobs and sets of delayed ones
-- args: the entry's name, its length as it was read, what is left of it without the jobs; then three for each job:
--     the number of its key; when it is due, Unix seconds ('': it is ready); its bytes
-- returns: 1, or 0 if the entry is no longer as it was read: its jobs were pushed before
if redis.call('HSTRLEN', KEYS[1], ARGV[1]) ~= tonumber(ARGV[2]) then
  return 0
end
-- A key of the wrong type fails here, before anything has moved; so does one without a value in a slot that is moving away.
for i = 4, #ARGV, 3 do
  redis.call(ARGV[i + 1] == '' and 'LLEN' or 'ZCARD', KEYS[tonumber(ARGV[i])])
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may. The jobs take no
-- more room than they did in the entry.
redis.call('HDEL', KEYS[1], '')
for i = 4, #ARGV, 3 do
  local key, due, bytes = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if due == '' then
    redis.call('RPUSH', key, bytes)
  else
    -- As in settle.lua.
    while redis.call('ZSCORE', key, bytes) do
      bytes = bytes .. ' '
    end
    redis.call('ZADD', key, due, bytes)
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
