-- in flight → in flight of another host. Takes up to `count` jobs over from a host whose lease has run out. They move into
-- the table of the asking host, which then settles them as its own. Taking the last job also deletes the dead host's lease.
-- Only a host with a good lease takes jobs over. With a patience, it does so only if some host noted at least that long ago
-- that the other is dead. If no host has noted it, the script does. Asked again for the same tags, it takes no further jobs
-- and returns those that are still under these tags.
-- keys: leases, in-flight of the dead host, in-flight of the host, last tag of the host, when the dead host was found
-- args: dead host, host, lease in ms, first tag, count, bytes that are enough, how long the last tag and the note are
--   remembered in ms, patience in ms, bytes of the largest job that is read whole
-- returns: the jobs in the order of their tags, each as its bytes or, if those are more than enough, as {first bytes,
--   length, and SHA-1 if it is too large to be read whole}; nil if the asking host's lease has run out
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not own or tonumber(own) <= now then
  return false
end
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now then
  return {}
end
if tonumber(ARGV[8]) > 0 then
  local found = tonumber(redis.call('GET', KEYS[5]) or 0)
  if found < tonumber(lease or 1) then
    -- Nobody did, or it has come back since. (Out of memory, a script may write once it has: see below.)
    redis.call('ZREM', KEYS[1], '')
    redis.call('SET', KEYS[5], string.format('%.0f', now), 'PX', ARGV[7])
    return {}
  end
  if now - found < tonumber(ARGV[8]) then
    return {}
  end
end
local function own_tag(i)
  return string.format('%.0f', ARGV[4] + i - 1)
end
local bytes = tonumber(ARGV[6])
local function told(job)
  if #job <= bytes then
    return job
  end
  return {string.sub(job, 1, bytes), #job, #job > tonumber(ARGV[9]) and redis.sha1hex(job)}
end
redis.call('HLEN', KEYS[3]) -- A key of the wrong type fails here, before anything has moved.
if tonumber(ARGV[4]) <= tonumber(redis.call('GET', KEYS[4]) or 0) then
  local jobs = {}
  for i = 1, tonumber(ARGV[5]) do
    local job = redis.call('HGET', KEYS[3], own_tag(i))
    jobs[i] = job and told(job) or nil
  end
  return jobs
end
-- In a slot that is moving away, a key without a value cannot even be asked for one: so this is asked before anything
-- moves, and from then on only keys are touched that have one.
local left = redis.call('HLEN', KEYS[2])
local tags = redis.call('HRANDFIELD', KEYS[2], ARGV[5])
table.sort(tags, function(a, b) return tonumber(a) < tonumber(b) end)
local jobs, size = {}, 0
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('ZREM', KEYS[1], '')
for _, tag in ipairs(tags) do
  if size > bytes then
    break
  end
  local job = redis.call('HGET', KEYS[2], tag)
  redis.call('HSET', KEYS[3], own_tag(#jobs + 1), job)
  redis.call('HDEL', KEYS[2], tag)
  jobs[#jobs + 1] = told(job)
  left = left - 1
  size = size + #job
end
if #jobs > 0 then
  redis.call('SET', KEYS[4], own_tag(#jobs), 'PX', ARGV[7])
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
end
if left == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return jobs
