-- Changes values of a bucket: all that is asked for, or nothing. What comes out of an outbox is done once, and what of that
-- fails is left out: nobody is there any more to be told.
-- keys: values, versions, expiry, names, totals, done   args: bytes and keys that the bucket may hold, the id of the
--   outbox's entry or '', how long that id is remembered in ms, then for each change: key, action, value, condition ('' for
--   none, '-' for no value, else the version), ms that it lasts or ''. No key is there twice.
-- returns: 'ok', then for each change the version (0: gone) and, of one that was added to, the number, else ''; or
--   'conflict' or 'number' and the key that is not as it must be; or 'full'; or 'done'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local values, versions, expiry, names, totals, done = unpack(KEYS)
local id = ARGV[3]
local function bytes_of(key)
  return redis.call('HEXISTS', values, key) == 1 and #key + redis.call('HSTRLEN', values, key) or 0
end
local function remove(key)
  redis.call('HINCRBY', totals, 'bytes', -bytes_of(key))
  redis.call('HDEL', values, key)
  redis.call('HDEL', versions, key)
  redis.call('ZREM', names, key)
  redis.call('ZREM', expiry, key)
end
if id ~= '' and redis.call('ZSCORE', done, id) then
  return {'done'}
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 100)) do
  remove(key)
end
local more_bytes, more_keys = 0, 0
for i = 5, #ARGV, 5 do
  local key, action, value, condition = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local ends = redis.call('ZSCORE', expiry, key)
  if ends and tonumber(ends) <= now then
    remove(key)
  end
  local version = redis.call('HGET', versions, key)
  if (condition == '-' and version) or (condition ~= '' and condition ~= '-' and condition ~= version) then
    return {'conflict', key}
  end
  local before = bytes_of(key)
  if action == 'set' then
    more_bytes = more_bytes + #key + #value - before
  elseif action == 'delete' then
    more_bytes = more_bytes - before
  elseif before == 0 then
    more_bytes = more_bytes + #key + #value
  end
  if before == 0 and action ~= 'delete' then
    more_keys = more_keys + 1
  elseif before > 0 and action == 'delete' then
    more_keys = more_keys - 1
  end
end
if id == '' and (more_bytes > 0 or more_keys > 0) then
  local bytes, keys = tonumber(redis.call('HGET', totals, 'bytes') or 0), redis.call('HLEN', values)
  if bytes + more_bytes > tonumber(ARGV[1]) or keys + more_keys > tonumber(ARGV[2]) then
    return {'full'}
  end
end
-- What may fail comes first, and is taken back if something does.
local before, left_out = {}, {}
for i = 5, #ARGV, 5 do
  local key, action = ARGV[i], ARGV[i + 1]
  if action == 'add' then
    before[key] = redis.call('HGET', values, key)
    local size = bytes_of(key)
    local sum = redis.pcall('HINCRBY', values, key, ARGV[i + 2])
    if type(sum) == 'table' and sum.err then
      if not string.find(sum.err, 'not an integer') and not string.find(sum.err, 'overflow') then
        return sum
      end
      left_out[key] = true
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
    if lasts ~= '' then
      redis.call('ZADD', expiry, now + lasts, key)
    elseif action == 'set' then
      redis.call('ZREM', expiry, key)
    end
  end
  answer[#answer + 1] = version
  answer[#answer + 1] = number
end
if id ~= '' then
  redis.call('ZADD', done, now, id)
  redis.call('ZREMRANGEBYSCORE', done, '-inf', now - ARGV[4])
end
return answer
