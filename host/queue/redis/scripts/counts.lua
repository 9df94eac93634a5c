-- Counts the jobs of a queue, all at one moment: between two moments a job could move and be counted nowhere.
-- keys: ready, leases, lanes that hold jobs, orders, and delayed if it is in the same slot
-- args: the beginning of the keys of in-flight tables, to which a host is added; that of the keys of lanes, to which a lane
--   is added; that of the keys of groups of lanes, to which a plugin is added
-- returns: ready; delayed; for each host its name, the milliseconds that its lease has left, and its jobs in flight; for
--   each lane its name and its jobs; who paused the queue, or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local hosts, lanes = {}, {}
for i = 1, #leases, 2 do
  hosts[#hosts + 1] = {leases[i], leases[i + 1] - now, redis.call('HLEN', ARGV[1] .. leases[i])}
end
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local plugin = string.match(lane, '^limits:(.*)$')
  if plugin then
    lanes[#lanes + 1] = {lane, tonumber(redis.call('GET', ARGV[3] .. plugin .. ':waiting') or 0)}
  else
    lanes[#lanes + 1] = {lane, redis.call('LLEN', ARGV[2] .. lane)}
  end
end
local paused = redis.call('HGET', KEYS[4], 'paused') or ''
return {redis.call('LLEN', KEYS[1]), KEYS[5] and redis.call('ZCARD', KEYS[5]) or 0, hosts, lanes, paused}
