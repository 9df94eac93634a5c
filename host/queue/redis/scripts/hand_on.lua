-- outbox → ready, delayed. Pushes jobs of entries of an outbox that lie in its slot, and takes them out of the entries, in one step.
-- keys: outbox; then lists of ready jobs and sets of delayed ones
-- args: for each entry its name, its length as it was read, what is left of it without the jobs, how many jobs these are; then three
--     for each of its jobs: the number of its key; when it is due, Unix seconds ('': it is ready); its bytes
-- returns: for each entry 1, or 0 if it is no longer as it was read: its jobs were pushed before
local answers, ready, delayed, rests, at = {}, {}, {}, {}, 1
while at <= #ARGV do
  local jobs = tonumber(ARGV[at + 3])
  local is_there = redis.call('HSTRLEN', KEYS[1], ARGV[at]) == tonumber(ARGV[at + 1])
  answers[#answers + 1] = is_there and 1 or 0
  if is_there then
    rests[#rests + 1], rests[#rests + 2] = ARGV[at], ARGV[at + 2]
    for i = at + 4, at + 1 + 3 * jobs, 3 do
      local key, due, bytes = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
      local to = due == '' and ready or delayed
      to[key] = to[key] or {}
      to[key][#to[key] + 1] = due == '' and bytes or {due, bytes}
    end
  end
  at = at + 4 + 3 * jobs
end
if #rests == 0 then
  return answers
end
-- A key of the wrong type fails here, before anything has moved; so does one without a value in a slot that is moving away.
for key = 2, #KEYS do
  if ready[key] or delayed[key] then
    redis.call(ready[key] and 'LLEN' or 'ZCARD', KEYS[key])
  end
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may. The jobs take no
-- more room than they did in the entries.
redis.call('HDEL', KEYS[1], '')
for key = 2, #KEYS do
  -- Lua passes on some thousands at once.
  for i = 1, #(ready[key] or {}), 1000 do
    redis.call('RPUSH', KEYS[key], unpack(ready[key], i, math.min(i + 999, #ready[key])))
  end
  for _, job in ipairs(delayed[key] or {}) do
    local due, bytes = job[1], job[2]
    -- As in settle.lua.
    while redis.call('ZSCORE', KEYS[key], bytes) do
      bytes = bytes .. ' '
    end
    redis.call('ZADD', KEYS[key], due, bytes)
  end
end
redis.call('HSET', KEYS[1], unpack(rests))
return answers
