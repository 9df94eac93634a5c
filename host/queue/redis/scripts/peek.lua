-- Reads the beginnings of some jobs of a queue, for operators. Moves nothing.
-- keys: ready, delayed or leases, as the place is   args: the place: ready, delayed or in_flight; jobs to skip; count;
--   bytes of each; of all jobs looked at; the beginning of the keys of in-flight tables, to which a host is added
-- returns: for each job its first bytes, its length, and when it is due or which host holds it, or ''
local place, skip, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local bytes, most, size, found = tonumber(ARGV[4]), tonumber(ARGV[5]), 0, {}
-- Returns whether there is room for more. Redis copies each job whole, so a few large ones are enough.
local function add(job, more)
  found[#found + 1] = {string.sub(job, 1, bytes), #job, more}
  size = size + #job
  return #found < count and size < most
end
if place == 'ready' then
  for i = skip, skip + count - 1 do
    local job = redis.call('LINDEX', KEYS[1], i)
    if not job or not add(job, '') then
      break
    end
  end
elseif place == 'delayed' then
  for i = skip, skip + count - 1 do
    local job = redis.call('ZRANGE', KEYS[1], i, i, 'WITHSCORES')
    if #job == 0 or not add(job[1], job[2]) then
      break
    end
  end
else
  for _, host in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local table = ARGV[6] .. host
    for _, tag in ipairs(redis.call('HKEYS', table)) do
      if skip > 0 then
        skip = skip - 1
      elseif not add(redis.call('HGET', table, tag), host) then
        return found
      end
    end
  end
end
return found
