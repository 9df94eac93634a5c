-- Takes back the places of caps that are full from deliveries that no host's table has any more: of hosts that died, and of
-- jobs that went back to their queue. Then as many lanes as there are places free get their turns. Of caps that are named it does so
-- even if they are not full and nothing waits.
-- keys: lanes that hold jobs   args: the beginning of the group's keys, the group's name, least ms between two such sweeps,
--   1 for one that is made all the same, how many places are looked at, how many caps are named; those; then the limits, as
--   `read_limits` has them
-- returns: how many places were taken back; how many jobs the group holds, and in how many lanes
at = ARGV[1]
local left, taken, named = tonumber(ARGV[5]), 0, tonumber(ARGV[6])
read_limits(7 + named)
local time = redis.call('TIME')
local now_ms, clock = time[1] * 1000 + math.floor(time[2] / 1000), time[1] + time[2] / 1000000
local function take_back(name)
  local held = at .. 'held:' .. name
  local holders = redis.call('SRANDMEMBER', held, left)
  left = left - 1 - #holders
  for _, holder in ipairs(holders) do
    local in_flight, tag = string.match(holder, '^(.*):(%d+)$')
    if not in_flight or redis.call('HEXISTS', in_flight, tag) == 0 then
      redis.call('SREM', held, holder)
      taken = taken + 1
      if is_unique(name) then
        local key = at .. 'key:' .. name
        redis.call('HDEL', key, 'runs')
        if redis.call('HEXISTS', key, 'id') == 0 then
          -- As in settle.lua.
          redis.call('PEXPIRE', key, 60000)
        end
      end
    end
  end
end
for i = 7, 6 + named do
  if left > 0 then
    take_back(ARGV[i])
  end
end
if redis.call('SISMEMBER', KEYS[1], ARGV[2]) == 0 then
  return {taken, 0, 0}
end
local jobs, lanes = tonumber(redis.call('GET', at .. 'waiting') or 0), redis.call('SCARD', at .. 'lanes')
if not redis.call('SET', at .. 'swept', 1, 'NX', 'PX', ARGV[3]) and ARGV[4] ~= '1' then
  return {taken, jobs, lanes}
end
-- Those first that were looked at longest ago.
for _, name in ipairs(redis.call('ZRANGE', at .. 'full', 0, left - 1)) do
  if left <= 0 then
    break
  end
  take_back(name)
  redis.call('ZADD', at .. 'full', string.format('%.0f', now_ms), name)
  open(cap_of(name), clock)
end
return {taken, jobs, lanes}
