-- Changes values of a bucket: makes all changes, or none. The changes of an outbox's entry are made once, however often
-- they are sent. Those of them that cannot be made are left out: the job has ended, so nobody can be told.
-- keys: values, versions, expiry, names, totals, done
-- args: most bytes and most keys that the bucket may hold, the name of the outbox's entry or '', how long the name is
--   remembered in ms, then five for each change, no key twice:
--     key
--     action: set, delete or add
--     value, of add the number
--     condition: '' for none, '-' for no value, else the version
--     ms that the value lasts: '' for good; after a plus sign those of a value that has no end so far
-- returns: one of
--     'ok', then for each change the version (0: deleted) and, of add, the number, else ''
--     'conflict' or 'number', then the key that is not as it must be
--     'full'
--     for an outbox's entry: 'done' if its changes were made before; 'left' and how many changes were left out
--
-- `done` holds the names of the entries that were written. A name has no end while the outbox holds its entry. Once a host
-- has removed the entry there (HDEL), it sets the time of that as the name's score (ZADD), from which on the name lasts for
-- the given time: an hour. If the host dies in between, the name stays until `done` expires as a whole: 30 days, 720 times
-- the given time, after the last entry was written to the bucket.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local values, versions, expiry, names, totals, done = unpack(KEYS)
local id = ARGV[3]
local function bytes_of(key)
  return redis.call('HEXISTS', values, key) == 1 and #key + redis.call('HSTRLEN', values, key) or 0
end
local function remove(key)
  local bytes = bytes_of(key)
  if bytes == 0 then
    return
  end
  redis.call('HINCRBY', totals, 'bytes', -bytes)
  redis.call('HDEL', values, key)
  redis.call('HDEL', versions, key)
  redis.call('ZREM', names, key)
  redis.call('ZREM', expiry, key)
end
-- A key of the wrong type, and totals that are none, fail here, before anything is written.
redis.call('HLEN', values)
redis.call('HLEN', versions)
redis.call('ZCARD', expiry)
redis.call('ZCARD', names)
redis.call('ZCARD', done)
for _, total in ipairs(redis.call('HMGET', totals, 'bytes', 'version')) do
  if total and not string.match(total, '^%-?%d+$') then
    return redis.error_reply('ERR the totals of the bucket are no numbers')
  end
end
if id ~= '' then
  if redis.call('ZSCORE', done, id) then
    return {'done'}
  end
  -- First, so that no fault of what follows can make anything be added twice; and for good, until the outbox holds the entry
  -- no more.
  redis.call('ZADD', done, '+inf', id)
  redis.call('PEXPIRE', done, ARGV[4] * 24 * 30)
  local old = redis.call('ZRANGEBYSCORE', done, '-inf', now - ARGV[4], 'LIMIT', 0, 100)
  if #old > 0 then
    redis.call('ZREM', done, unpack(old))
  end
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 100)) do
  remove(key)
end
local bytes, keys = tonumber(redis.call('HGET', totals, 'bytes') or 0), redis.call('HLEN', values)
local before, left_out, left = {}, {}, 0
for i = 5, #ARGV, 5 do
  local key, action, value, condition = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local ends = redis.call('ZSCORE', expiry, key)
  if ends and tonumber(ends) <= now then
    bytes, keys = bytes - bytes_of(key), keys - 1
    remove(key)
  end
  local version = redis.call('HGET', versions, key)
  if (condition == '-' and version) or (condition ~= '' and condition ~= '-' and condition ~= version) then
    return {'conflict', key}
  end
  local size, more_bytes, more_keys = bytes_of(key), 0, 0
  if action == 'set' then
    more_bytes = #key + #value - size
  elseif action == 'delete' then
    more_bytes = -size
  elseif size == 0 then
    more_bytes = #key + #value
  end
  if size == 0 and action ~= 'delete' then
    more_keys = 1
  elseif size > 0 and action == 'delete' then
    more_keys = -1
  end
  bytes, keys = bytes + more_bytes, keys + more_keys
  local full = bytes > tonumber(ARGV[1]) or keys > tonumber(ARGV[2])
  if id ~= '' and full and (more_bytes > 0 or more_keys > 0) then
    bytes, keys = bytes - more_bytes, keys - more_keys
    left_out[key], left = true, left + 1
  end
end
if id == '' and (bytes > tonumber(ARGV[1]) or keys > tonumber(ARGV[2])) then
  local had = tonumber(redis.call('HGET', totals, 'bytes') or 0)
  if bytes > had or keys > redis.call('HLEN', values) then
    return {'full'}
  end
end
-- What may fail comes first, and is taken back if something does.
for i = 5, #ARGV, 5 do
  local key, action = ARGV[i], ARGV[i + 1]
  if action == 'add' and not left_out[key] then
    before[key] = redis.call('HGET', values, key)
    local size = bytes_of(key)
    local sum = redis.pcall('HINCRBY', values, key, ARGV[i + 2])
    if type(sum) == 'table' and sum.err then
      if not string.find(sum.err, 'not an integer') and not string.find(sum.err, 'overflow') then
        return sum
      end
      left_out[key], left = true, left + 1
      if id == '' then
        for j = 5, i - 5, 5 do
          local other = ARGV[j]
          if ARGV[j + 1] == 'add' then
            local now_bytes = bytes_of(other)
            if before[other] then
              redis.call('HSET', values, other, before[other])
            else
              redis.call('HDEL', values, other)
            end
            redis.call('HINCRBY', totals, 'bytes', bytes_of(other) - now_bytes)
          end
        end
        return {'number', key}
      end
    else
      redis.call('HINCRBY', totals, 'bytes', bytes_of(key) - size)
    end
  end
end
local answer = {'ok'}
for i = 5, #ARGV, 5 do
  local key, action, value, lasts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
  local version, number = 0, ''
  if action == 'delete' then
    remove(key)
  elseif not left_out[key] then
    version = redis.call('HINCRBY', totals, 'version', 1)
    if action == 'set' then
      local size = bytes_of(key)
      redis.call('HSET', values, key, value)
      redis.call('HINCRBY', totals, 'bytes', bytes_of(key) - size)
    else
      number = redis.call('HGET', values, key)
    end
    redis.call('HSET', versions, key, version)
    redis.call('ZADD', names, 0, key)
    if string.sub(lasts, 1, 1) == '+' then
      redis.call('ZADD', expiry, 'NX', now + lasts, key)
    elseif lasts ~= '' then
      redis.call('ZADD', expiry, now + lasts, key)
    elseif action == 'set' then
      redis.call('ZREM', expiry, key)
    end
  end
  answer[#answer + 1] = version
  answer[#answer + 1] = number
end
if left > 0 then
  return {'left', left}
end
return answer
