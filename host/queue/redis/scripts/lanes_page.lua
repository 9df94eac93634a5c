-- Reads lanes of a group, for operators, a page at a time. Moves nothing.
-- keys: lanes that hold jobs   args: the beginning of the group's keys; where the page before ended, or 0; about how many
-- returns: where this page ended, or 0 if nothing is left; of each lane its name, its jobs, when its turn is in Unix seconds or
--   '' while a cap is full, and for each of its caps the name and the places that are taken
redis.call('SCARD', KEYS[1])
local at = ARGV[1]
local page = redis.call('SSCAN', at .. 'lanes', ARGV[2], 'COUNT', ARGV[3])
local lanes = {}
for _, lane in ipairs(page[2]) do
  local caps = {}
  for cap in string.gmatch(lane, '[^|]+') do
    caps[#caps + 1] = {cap, redis.call('SCARD', at .. 'held:' .. cap)}
  end
  local turn = redis.call('ZSCORE', at .. 'turns', lane) or ''
  lanes[#lanes + 1] = {lane, redis.call('LLEN', at .. 'lane:' .. lane), turn, caps}
end
return {tonumber(page[1]), lanes}
